"""How far a job is, on the standard error: a bar on a terminal, and what else is to be known."""

import sys
import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bespoke_schemas.jobs import Progress as JobProgress
from bespoke_workers.cli import units
from bespoke_workers.cli.asking import Look

WAITING = "waiting"
SHOW_AFTER_SECONDS = 0.5
"""Most jobs have ended by then, and a bar would only flicker."""


class Bar:
    """Shows each look at a job. Without a terminal there is no bar, only why a job waits."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._reason = ""
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, look: Look) -> None:
        """Show one look at the job."""
        if look.state == "RETRY" and look.reason != self._reason:
            self._reason = look.reason
            line = f"bespoke: not done yet, and tried again: {units.harmless(look.reason)}"
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        if time.monotonic() - self._begun < SHOW_AFTER_SECONDS:
            return
        if self._task is None:
            self._task = self._bar.add_task(WAITING, total=None, said="")
            self._bar.start()
        if look.progress is not None:
            done = look.progress
            step = units.harmless(done.step) or "running"
            self._bar.update(
                self._task,
                description=step,
                completed=done.done,
                total=done.total,
                said=_said(done),
            )


def note(line: str) -> None:
    """Say something on the standard error that is no failure."""
    click.echo(f"bespoke: {line}", err=True)


def _said(progress: JobProgress) -> str:
    total = "" if progress.total is None else f"/{progress.total:,}"
    parts = [f"{progress.done:,}{total}"]
    if progress.best_score is not None:
        parts.append(f"best {progress.best_score:.3f}")
    if progress.lm_calls:
        parts.append(f"{progress.lm_calls:,} LM calls")
    if progress.cost_usd:
        parts.append(units.number("cost_usd", progress.cost_usd))
    return " · ".join(parts)
