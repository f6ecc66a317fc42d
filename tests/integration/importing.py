"""An import that stops in the middle and waits to be killed: run as a process of its own.

Arguments: database URL, storage URL, the job's id, the source, and the page before whose commit
to stop. Says ``here`` on stdout when it has stopped.
"""

import asyncio
import sys
from typing import Any
from uuid import UUID

from bespoke_schemas.memories import Import
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import import_progress, record_source
from bespoke_workers.memories.embedding import load_embedder
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.policy import DEFAULT
from bespoke_workers.memories.store import Memories
from bespoke_workers.storage.places import Storage

record_source.PAGE_RECORDS = 10


def stop() -> None:
    sys.stdout.write("here\n")
    sys.stdout.flush()
    sys.stdin.read()


async def main(url: str, storage: str, job_id: str, source: str, stop_at: str) -> None:
    write, pages = import_progress.write, iter(range(1, 1000))

    async def stopping(*arguments: Any) -> None:
        await write(*arguments)
        if next(pages) == int(stop_at):
            stop()

    import_progress.write = stopping  # type: ignore[assignment]  # the real one, with a stop
    database = Database(url, pool_size=2)
    embedder, cache = load_embedder(None), IndexCache(2**24)
    memories = Memories(database, embedder, DEFAULT, cache, storage=Storage(storage))
    payload = Import(id=UUID(job_id), user_id="ada", source=source)
    while await memories.import_(payload) is None:
        pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
