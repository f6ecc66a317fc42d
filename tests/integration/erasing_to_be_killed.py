"""Erases a user in processes of its own, one after the other, each killed after so many statements.

For each, the signal that ended it is printed.
"""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import event

from bespoke_schemas.exports import EraseUser
from bespoke_workers.users.erasing import Erasing
from tests.integration.memory_workers import opened
from tests.integration.test_erasing import ADA, tools


async def erase(statements: int, url: str, redis_url: str, folder: str, job_id: str) -> None:
    left = statements

    async with opened(url) as database:

        @event.listens_for(database.engine.sync_engine, "after_cursor_execute")
        @event.listens_for(database.engine.sync_engine, "commit")
        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        eraser = Erasing(tools(database, Path(folder), redis_url))
        payload = EraseUser(id=UUID(job_id), user_id=ADA)
        while await eraser.erase(payload) is None:
            pass


def killed(where: Sequence[str], statements: int) -> int:
    """Erase in a child; return the signal that ended it, or what it returned."""
    if process := os.fork():
        return -os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        asyncio.run(erase(statements, *where))
    finally:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    *where, statements = sys.argv[1:]
    for number in statements.split(","):
        sys.stdout.write(f"{killed(where, int(number))}\n")
        sys.stdout.flush()  # or a child writes it once more
