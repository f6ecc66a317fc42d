"""Plans a batch in a process that is killed after so many statements, for every such number.

Another process is then given the same payload, as a redelivery would. What it leaves is printed,
a line for each kill: the statements before it, users planned, users queued, batches.
"""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from bespoke_schemas.optimization import OptimizeTier
from bespoke_workers.optimization.batches import planning
from tests.integration.optimizing import MODULE, PROGRAM, Worker, working

PAGE = 3  # users of the test in a page of the planner
FURTHER = 2  # statements later is the next kill


def child(work: Callable[[Worker], Awaitable[object]], url: str, home: str) -> int:
    """Do some work in a process of its own; return the signal that killed it, or 0."""

    async def run() -> None:
        async with working(url, Path(home), lm="http://127.0.0.1:1") as worker:
            await work(worker)

    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    failed = True
    try:
        asyncio.run(run())
        failed = False
    finally:
        sys.stdout.flush()
        os._exit(failed)


def killed_after(payload: OptimizeTier, statements: int) -> Callable[[Worker], Awaitable[object]]:
    async def plan(worker: Worker) -> None:
        left = statements

        @event.listens_for(worker.database.engine.sync_engine, "after_cursor_execute")
        @event.listens_for(worker.database.engine.sync_engine, "commit")
        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        await worker.batches.plan(payload)

    return plan


def redelivered(payload: OptimizeTier, statements: int) -> Callable[[Worker], Awaitable[object]]:
    async def plan(worker: Worker) -> None:
        await worker.batches.plan(payload)
        states = await worker.states()
        batches = await worker.execute("SELECT count(*) FROM batch")
        told = statements, len(states), states.count("queued"), *batches
        sys.stdout.write(" ".join(map(str, told)) + "\n")
        await worker.execute("DELETE FROM optimization_job")
        await worker.execute("DELETE FROM batch")

    return plan


def main(url: str, home: str) -> None:
    importlib.import_module(MODULE)  # once, and not in each of the processes
    planning.PAGE = PAGE  # type: ignore[misc]  # a constant but for this process
    statements, killed = 1, True
    while killed:
        payload = OptimizeTier(program=PROGRAM, tier="basic", max_concurrent=2)
        status = child(killed_after(payload, statements), url, home)
        killed = status == -signal.SIGKILL
        if (status and not killed) or child(redelivered(payload, statements), url, home):
            sys.exit(1)
        statements += FURTHER


if __name__ == "__main__":
    main(*sys.argv[1:])
