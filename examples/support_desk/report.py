"""The demo's report: a text for whoever sees the project for the first time."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from bespoke_schemas.optimization import Optimized
from examples.support_desk.work import Done, Remembered

STANDIN = (
    "a stand-in on this machine (BESPOKE_LM is not set): it labels a message like the most\n"
    "  similar demonstration that its prompt shows, and otherwise guesses. It is no language\n"
    "  model; set BESPOKE_LM to one that DSPy knows to see real scores"
)
LEXICAL = "lexical, the default: it compares words and letters, not meaning"


def text(path: Path, model: str, embedder: str | None, done: Done) -> RenderableType:
    """Return the report."""
    return Group(
        "",
        f"Messages: {path}",
        f"Language model: {model}",
        f"Embedder: {embedder or LEXICAL}",
        "",
        _programs(done.optimized),
        "Scores are the share of held-out messages that the program labels as the person does.",
        "",
        _memories(done.remembered),
        "",
        *_batches(done),
        *_bundle(done),
    )


def _programs(optimized: list[Optimized]) -> Table:
    table = Table(title="A program for each person", title_justify="left")
    for heading in ("person", "examples", "tier", "optimizer", "held out", "score", "LM calls", ""):
        numeric = heading in {"examples", "held out", "LM calls"}
        table.add_column(heading, justify="right" if numeric else "left")
    for result in optimized:
        table.add_row(
            result.user_id,
            str(result.examples),
            result.tier,
            result.optimizer or "-",
            str(result.held_out),
            f"{_score(result.score_before)} → {_score(result.score_after)}",
            str(result.lm_calls),
            "promoted" if result.promoted else result.reason,
        )
    return table


def _memories(remembered: dict[str, Remembered]) -> Table:
    table = Table(title="Memories of each person", title_justify="left")
    table.add_column("person")
    for heading in ("stored", "merged as duplicates", "compacted", "left"):
        table.add_column(heading, justify="right")
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
