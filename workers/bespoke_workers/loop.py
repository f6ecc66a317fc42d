"""The event loop of one worker process, on which the coroutines of its jobs run."""

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import TypeVar

from bespoke_workers.errors import Permanent

T = TypeVar("T")


class Loop:
    """Runs coroutines, one job's after the other's."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[object, object, T], *, seconds: float | None = None) -> T:
        """Run ``work`` and return its result.

        Raises Permanent if it takes longer than ``seconds``; it is cancelled and awaited
        first, so that no connection stays checked out.
        """
        # A runner keeps the context of its first job, whose id every log line would carry.
        return self._runner.run(_bounded(work, seconds), context=copy_context())

    def stop_jobs(self) -> None:
        """Stop what a signal has interrupted."""
        self._runner.run(_stop_the_others())

    def close(self) -> None:
        """Close the loop, on which nothing runs any more."""
        self._runner.close()


async def _stop_the_others() -> None:
    """Cancel and await the loop's other tasks: a run would go on calling its LM until the end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _bounded(work: Coroutine[object, object, T], seconds: float | None) -> T:
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await work
    except TimeoutError:
        if not deadline.expired():  # the work's own, of some server
            raise
        raise Permanent(f"stopped: the job took longer than {seconds:g} seconds") from None
