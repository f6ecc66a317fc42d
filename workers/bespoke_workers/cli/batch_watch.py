"""`bespoke batches watch`: how far a batch is, again and again until it ends."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bespoke_schemas.optimization import BatchGot, GetBatch
from bespoke_workers import settings
from bespoke_workers.cli import asking, showing, units
from bespoke_workers.cli.payload_commands import leaving
from bespoke_workers.errors import BespokeError
from bespoke_workers.settings import Settings

ASK_EVERY_SECONDS: Final = 1.0
UNPLANNED_SECONDS: Final = 5.0
"""A batch that was asked for just now is known once a worker has begun to plan it."""
BAR_WIDTH: Final = 40
ENDED: Final = ("done", "over_budget", "cancelled")

Show = Callable[[BatchGot], None]


def watch() -> click.Command:
    """Return the command that follows a batch to its end."""
    return click.Command(
        "watch",
        params=[
            click.Argument(["batch_id"], type=click.UUID),
            click.Option(
                ["--errors"],
                type=click.IntRange(0, 1000),
                default=0,
                help="Tell at the end why so many users' runs failed, and whose.",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print each change as a line."),
        ],
        callback=_watch,
        help="Follow a batch to its end: a table on a terminal, a line for each change with "
        "--json.\n\nCtrl-C ends the watching and not the batch.",
    )


def table(got: BatchGot) -> Table:
    """Return what is shown of a batch while it runs."""
    batch = got.batch
    assert batch is not None
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_row(Text("batch"), Text(units.harmless(f"{batch.program}, {batch.tier}")))
    shown.add_row(Text("state"), Text(batch.state))
    bar = ProgressBar(total=max(batch.users, 1), completed=batch.ended, width=BAR_WIDTH)
    shown.add_row(Text(f"{batch.ended:,} of {batch.users:,}"), bar)
    for name, told in _rows(got):
        shown.add_row(Text(name), Text(told))
    return shown


def _rows(got: BatchGot) -> Iterator[tuple[str, str]]:
    batch = got.batch
    assert batch is not None
    runs = got.runs
    yield "running", f"{runs.get('running', 0):,}, {runs.get('queued', 0):,} queued"
    yield "promoted", f"{got.promoted:,}, {got.unchanged:,} unchanged, {batch.failed:,} failed"
    if got.score_before is not None and got.score_after is not None:
        yield "score", f"{got.score_before:.3f} before, {got.score_after:.3f} after"
    tokens = got.prompt_tokens + got.completion_tokens
    yield "LM calls", f"{batch.lm_calls:,}, {tokens:,} tokens"
    unknown = f", {got.unpriced_calls:,} calls of unknown price" if got.unpriced_calls else ""
    yield "cost", units.number("cost_usd", batch.cost_usd) + unknown


def _watch(*, batch_id: UUID, errors: int, as_json: bool) -> None:
    config = settings.load()
    asking.prepare(config)
    with leaving(batch_id):
        if as_json:
            last = _follow(config, batch_id, errors, lambda got: click.echo(got.model_dump_json()))
        else:
            last = _on_a_table(config, batch_id, errors)
    if not as_json:
        showing.print_result(last)
    assert last.batch is not None
    if last.batch.state == "cancelled":
        raise BespokeError("the batch was cancelled")


def _on_a_table(config: Settings, batch_id: UUID, errors: int) -> BatchGot:
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        return _follow(config, batch_id, errors, lambda got: None)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        return _follow(config, batch_id, errors, lambda got: live.update(table(got), refresh=True))


def _follow(config: Settings, batch_id: UUID, errors: int, show: Show) -> BatchGot:
    """Show each change until the batch has ended; return how it ended."""
    begun, before = time.monotonic(), None
    while True:
        got = _ask(config, GetBatch(batch_id=batch_id))
        if got.batch is None:
            if time.monotonic() - begun > UNPLANNED_SECONDS:
                raise BespokeError(
                    f"no batch {batch_id} is known; `bespoke batches list` shows those that are"
                )
        elif got.batch.state in ENDED:
            got = _ask(config, GetBatch(batch_id=batch_id, errors=errors)) if errors else got
            show(got)
            return got
        elif got != before:
            show(got)
            before = got
        time.sleep(ASK_EVERY_SECONDS)


def _ask(config: Settings, payload: GetBatch) -> BatchGot:
    asking.send(payload)
    look = asking.answer_to(payload, config, timeout=None, tell=_nothing)
    asking.forget(payload.id)  # one answer a second would add up
    return BatchGot.model_validate(look.answer)


def _nothing(_: Any) -> None:
    """Tell of no single question."""
