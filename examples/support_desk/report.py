"""The demo's report: a text for whoever sees the project for the first time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.table import Table

from bespoke_schemas.optimization import Optimized
from examples.support_desk.work import Done, Remembered

MAX_MEMORIES = 100  # of the default 1,000, so that compaction has something to do here
STANDIN = (
    "a stand-in on this machine (BESPOKE_LM is not set): it labels a message like the most\n"
    "  similar demonstration that its prompt shows, and otherwise guesses. It is no language\n"
    "  model; set BESPOKE_LM to one that DSPy knows to see real scores"
)
LEXICAL = "lexical, the default: it compares words and letters, not meaning"


def show(console: Console, path: Path, model: str, embedder: str | None, done: Done) -> None:
    """Print the report."""
    console.print()
    _say(console, f"Messages: {path}", f"Language model: {model}")
    _say(console, f"Embedder: {embedder or LEXICAL}", "", "A program for each person")
    console.print(_programs(done.optimized))
    _say(console, "Scores are the share of held-out messages that the program labels as the person")
    _say(console, "does, before and after.", *_not_promoted(done.optimized), "")
    _say(console, "Memories of each person")
    console.print(_memories(done.remembered))
    _say(console, f"Compaction keeps a person at {MAX_MEMORIES} memories or fewer here.", "")
    _say(console, *_batches(done), *_bundle(done))


def _say(console: Console, *lines: str) -> None:
    """Print lines as they are: a path that is broken into two cannot be copied."""
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _table(columns: Mapping[str, JustifyMethod]) -> Table:
    """Return a table that fits into 80 characters."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in columns.items():
        table.add_column(heading, justify=justify, no_wrap=True)
    return table


def _programs(optimized: list[Optimized]) -> Table:
    table = _table(
        {
            "person": "left",
            "examples": "right",
            "tier": "left",
            "optimizer": "left",
            "score": "left",
            "held out": "right",
            "calls": "right",
        }
    )
    for result in optimized:
        table.add_row(
            result.user_id,
            str(result.examples),
            result.tier,
            result.optimizer or "-",
            f"{_score(result.score_before)} → {_score(result.score_after)}",
            str(result.held_out),
            str(result.lm_calls),
        )
    return table


def _not_promoted(optimized: list[Optimized]) -> Iterator[str]:
    for result in optimized:
        if not result.promoted:
            yield f"{result.user_id} keeps the program in use: {result.reason}"


def _memories(remembered: dict[str, Remembered]) -> Table:
    table = _table(
        {
            "person": "left",
            "stored": "right",
            "merged": "right",
            "compacted": "right",
            "left": "right",
        }
    )
    for user_id, seen in remembered.items():
        counts = (seen.stored, seen.merged, seen.compacted, seen.left)
        table.add_row(user_id, *(str(count) for count in counts))
    return table


def _batches(done: Done) -> Iterator[str]:
    for batch in done.batches:
        yield (
            f"Batch of tier {batch.tier}: {batch.eligible} eligible, {batch.promoted} promoted, "
            f"{batch.unchanged} unchanged, {batch.failed} failed"
        )


def _bundle(done: Done) -> Iterator[str]:
    if done.exported is not None:
        bundle = done.exported
        yield f"Export: {bundle.count} versions, {bundle.size_bytes:,} bytes, in {bundle.url}"
    if done.imported is not None:
        again = done.imported
        yield f"Imported again: {again.imported} new, {again.unchanged} unchanged"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.0%}"
