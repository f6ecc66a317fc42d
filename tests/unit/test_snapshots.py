"""A run keeps the best program it has seen, and hands it over every so many evaluations."""

from typing import Any

from bespoke_workers.optimization.snapshots import Snapshot, Snapshots


def dumped(program: Any) -> dict[str, Any]:
    return {"program": program}


def test_the_best_so_far_is_handed_over_at_each_nth_evaluation() -> None:
    snapshots = Snapshots(2, dumped)
    handed = []
    for program, score in [("a", 0.2), ("b", 0.6), ("c", 0.1), ("d", 0.5), ("e", 0.9), ("f", 0.9)]:
        snapshots.evaluated(program, score)
        if waiting := snapshots.waiting:
            handed.append(waiting)
            snapshots.saved(waiting)

    assert handed == [
        Snapshot(2, 0.6, {"program": "b"}),
        Snapshot(4, 0.6, {"program": "b"}),
        Snapshot(6, 0.9, {"program": "e"}),
    ]


def test_a_newer_snapshot_takes_the_place_of_one_that_still_waits() -> None:
    snapshots = Snapshots(1, dumped)
    snapshots.evaluated("a", 0.1)
    older = snapshots.waiting
    assert older is not None
    snapshots.evaluated("b", 0.2)

    snapshots.saved(older)

    assert snapshots.waiting == Snapshot(2, 0.2, {"program": "b"})


def test_a_program_that_cannot_be_dumped_is_no_failure() -> None:
    def broken(program: Any) -> dict[str, Any]:
        if program == "broken":
            raise ValueError
        return dumped(program)

    snapshots = Snapshots(1, broken)
    snapshots.evaluated("broken", 0.9)
    assert snapshots.waiting is None
    snapshots.evaluated("a", 0.1)

    assert snapshots.waiting == Snapshot(2, 0.1, {"program": "a"})


def test_scores_on_more_examples_go_before_higher_ones_on_a_few() -> None:
    snapshots = Snapshots(None, dumped)
    for program, score, examples in [("few", 1.0, 3), ("many", 0.6, 30), ("lucky", 1.0, 3)]:
        snapshots.evaluated(program, score, examples)

    assert snapshots.best == Snapshot(3, 0.6, {"program": "many"})
    assert snapshots.waiting is None
