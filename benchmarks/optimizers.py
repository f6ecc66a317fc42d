"""What each optimizer makes of 40, 80 and 250 examples, and what ``auto`` makes of them.

``python -m benchmarks.optimizers`` prints the table and writes optimizers.json; it takes some
minutes, so it is no part of ``make bench``. The language model is the stand-in. Scores are on
held-out examples, as a run reports them, and on messages that no run has seen at all.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

import dspy

from bespoke_schemas.optimization import AUTO, Choice, Optimizer
from bespoke_workers.learning.embeddings import ExampleVectors
from bespoke_workers.optimization.budget import Budget
from bespoke_workers.optimization.choosing.ladder import ORDER, Rung, ladder
from bespoke_workers.optimization.choosing.tiers import STANDARD
from bespoke_workers.optimization.language_model.lm_cache import JobCache
from bespoke_workers.optimization.language_model.pace import LocalPace, Rate
from bespoke_workers.optimization.language_model.usage import Usage
from bespoke_workers.optimization.run import Assignment, Improvement, improve
from bespoke_workers.optimization.stopping import Stop
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.programs import state
from bespoke_workers.programs.embedder import embedder
from bespoke_workers.programs.registry import Program
from bespoke_workers.settings import Settings
from examples.support_desk import desk, task
from examples.support_desk.standin_lm import StandinLM

SIZES: Final = (40, 80, 250)  # examples of one person
UNSEEN: Final = 150  # messages more of the same person, which no run is given
SECONDS: Final = 3600.0  # deadline of one run
RESULTS: Final = Path(__file__).with_name("optimizers.json")
SAMPLE: Final = Path(desk.__file__).with_name("sample.csv")


@dataclass(frozen=True)
class Row:
    """What one run came to. ``base`` and ``score`` are means over ``held_out`` examples."""

    examples: int
    optimizer: str
    chosen: str
    base: float
    score: float
    held_out: int
    unseen: float
    promoted: bool
    lm_calls: int
    seconds: float


def judged(example: Any, prediction: Any, trace: object = None) -> dspy.Prediction:
    """Score an answer, and say what was wanted where it was another, for those that reflect."""
    right = task.same_label(example, prediction)
    feedback = "Right." if right else f"Wanted: {example.label}"
    return dspy.Prediction(score=float(right), feedback=feedback)


PROGRAM: Final = Program("support", task.Support, ("text",), judged)


def optimizers() -> tuple[Choice, ...]:
    """Return the optimizers that ``auto`` tries, from the cheapest up, and ``auto``."""
    there: list[Optimizer] = [one for one in get_args(Optimizer) if one in ORDER]
    return (*sorted(there, key=ORDER.index), AUTO)


def measure(sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """Run each optimizer on each number of examples."""
    for size in sizes:
        known, unseen = _examples(size)
        for optimizer in optimizers():
            yield _run(optimizer, known, unseen)


def _examples(size: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a person's examples, and more of the same person's."""
    (person,) = desk.desks(desk.load(SAMPLE), [size + UNSEEN])
    fields: list[dict[str, Any]] = [dict(one.fields()) for one in person.examples]
    return fields[UNSEEN:], fields[:UNSEEN]


def _run(optimizer: Choice, known: list[dict[str, Any]], unseen: list[dict[str, Any]]) -> Row:
    band = STANDARD.band(STANDARD.tier_for(len(known)))
    own = None
    if band.optimizer is not None and band.optimizer != AUTO:
        own = Rung(band.optimizer, band.options)
    vectors = ExampleVectors(embedder(Settings()), {})
    assignment = Assignment(
        program=PROGRAM,
        optimizer=optimizer,
        in_use=state.fresh(PROGRAM),
        student=lambda: state.fresh(PROGRAM),
        examples=known,
        seed="ada/support",
        vectors=vectors,
        ladder=ladder({}, len(known), own) if optimizer == AUTO else None,
    )
    with StandinLM() as standin, tempfile.TemporaryDirectory() as folder:
        model = dspy.LM("openai/standin", api_base=standin.url, api_key="none", temperature=0.0)
        with JobCache(Path(folder)) as cache:
            usage, stop = Usage(), Stop(Budget(SECONDS))
            began = time.perf_counter()
            watch, pace = Watch(stop, usage), LocalPace(Rate())
            improvement = improve(assignment, model, cache, stop, usage, watch, pace)
            seconds = time.perf_counter() - began
        calls = standin.calls
        score = _score(improvement, model, unseen)
    comparison = improvement.comparison
    return Row(
        examples=len(known),
        optimizer=optimizer,
        chosen=improvement.optimizer or "base",
        base=comparison.before,
        score=comparison.after,
        held_out=comparison.held_out,
        unseen=score,
        promoted=comparison.better,
        lm_calls=calls,
        seconds=seconds,
    )


def _score(improvement: Improvement, model: Any, unseen: list[dict[str, Any]]) -> float:
    """Score the program that would be in use on messages that no run was given."""
    module = improvement.module if improvement.comparison.better else state.fresh(PROGRAM)
    examples = [dspy.Example(**one).with_inputs("text") for one in unseen]
    with dspy.context(lm=model):
        right = sum(task.same_label(one, module(**one.inputs())) for one in examples)
    return right / len(examples)


def main() -> int:
    """Print the table and write the results."""
    print(f"{'examples':>8}  {'optimizer':33}{'base':>6}{'score':>7}{'on':>5}{'unseen':>8}"
          f"{'calls':>7}{'s':>7}")  # fmt: skip
    rows = []
    for row in measure([int(size) for size in sys.argv[1:]] or SIZES):
        rows.append(row)
        name = row.optimizer if row.optimizer != AUTO else f"auto: {row.chosen}"
        kept = "" if row.promoted else "  not promoted"
        print(f"{row.examples:8}  {name:33}{row.base:6.2f}{row.score:7.2f}{row.held_out:5}"
              f"{row.unseen:8.2f}{row.lm_calls:7}{row.seconds:7.1f}{kept}", flush=True)  # fmt: skip
    RESULTS.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
