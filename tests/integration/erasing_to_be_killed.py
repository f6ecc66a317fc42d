"""Erases a user in a process of its own that kills itself after so many statements."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import event

from bespoke_schemas.exports import EraseUser
from tests.integration.memory_workers import opened
from tests.integration.test_erasing import ADA, tools


async def erase(url: str, redis_url: str, folder: str, job_id: str, statements: str) -> None:
    from bespoke_workers.users.erasing import Erasing

    left = int(statements)

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


if __name__ == "__main__":
    asyncio.run(erase(*sys.argv[1:]))
