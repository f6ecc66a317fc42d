"""Changing the embedder of spaces in the background, while the old indexes serve.

New embeddings are kept beside the memories, page by page, each page a commit; a killed worker
loses the page that it was at. When none is missing, one transaction puts them in the place of the
old ones and raises the version, so that every cached index is loaded anew. What is stored or
updated meanwhile has a later version and is embedded after the rest.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import Compact
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import BespokeError, Transient
from bespoke_workers.memories import reembedding_statements as sql
from bespoke_workers.memories.archived_vectors import PAGE
from bespoke_workers.memories.embedders import Embedders, Kind, Unloadable
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import to_bytes
from bespoke_workers.memories.target import Target
from bespoke_workers.observe import events
from bespoke_workers.outbox import Outbox

SLICE_S = 10.0
"""How long one message may keep a worker of upkeep from other work, seconds, plus a page."""
LANES = 2
"""How many spaces are changed at a time, in all workers together."""
RING_S = 5.0
WANT_AGAIN_S = 60.0
MOST_WANTED = 10_000
NIL = UUID(int=0)
BEFORE_ALL = -1


@dataclass(frozen=True)
class Hold:
    """A space in this worker's hands, on its way to an embedder."""

    user_id: str
    owner: str
    embedder: Embedder

    @property
    def names(self) -> dict[str, object]:
        """Return the parameters that name the space, the owner and the embedder."""
        return {
            "user_id": self.user_id,
            "owner": self.owner,
            "embedder": self.embedder.name,
            "dim": self.embedder.dim,
        }


class Reembedding:
    """Embeds spaces anew. ``outbox`` carries the compactions that follow and calls for more work.

    ``lease`` is how long a space stays in the hands of a worker that gives no sign of life.
    """

    def __init__(
        self,
        database: Database,
        embedders: Embedders,
        target: Target,
        outbox: Outbox,
        lease: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._target = target
        self._outbox = outbox
        self._lease_s = lease.total_seconds()
        self._clock = clock
        self._wanted: dict[str, float] = {}
        self._rang = float("-inf")

    async def want(self, user_id: str) -> None:
        """Have a user's space changed before others, whose job met that it is an older one's.

        Does nothing if the database is away: whoever looks for older spaces finds this one.
        """
        now = self._clock()
        if now < self._wanted.get(user_id, float("-inf")) + WANT_AGAIN_S:
            return
        if len(self._wanted) >= MOST_WANTED:
            self._wanted.clear()
        self._wanted[user_id] = now
        with suppress(Transient):
            await self._target.announce()
            async with self._database.autocommit() as connection:
                await connection.execute(sql.WANT, {"user_id": user_id})
        if now >= self._rang + RING_S:
            self._rang = now
            self._outbox.reembed()

    async def work(self, seconds: float = SLICE_S) -> None:
        """Change spaces for so long, and ask to go on if there may be more to do."""
        ends = self._clock() + seconds
        target = await self._target.announce()
        await self._compact_swapped(target)
        try:
            embedder = self._embedders.of(target)
        except Unloadable:
            return  # a worker of another version has it
        while self._clock() < ends:
            hold = await self._hold(target, embedder)
            if hold is None or not await self._change(hold, ends):
                return
            await self._compact_swapped(target)
        self._outbox.reembed()

    async def _hold(self, target: Kind, embedder: Embedder) -> Hold | None:
        sought = {"embedder": target[0], "dim": target[1]}
        async with self._database.autocommit() as connection:
            user_id = (await connection.execute(sql.FIND_OLDER, sought)).scalar()
            if user_id is None:
                return None
            hold = Hold(user_id, uuid4().hex, embedder)
            limits = {"lease_s": self._lease_s, "lanes": LANES}
            claimed = (await connection.execute(sql.CLAIM, hold.names | limits)).first()
        if claimed is None:
            return None
        events.emit("dspy.memory.reembed_start", user_id=user_id, embedder=embedder.name)
        return hold

    async def _change(self, hold: Hold, ends: float) -> bool:
        """Change one space as far as time allows; False if that failed or it is another's now."""
        try:
            is_ours, after, after_id = True, BEFORE_ALL, NIL
            while is_ours and self._clock() < ends:
                page = await self._missing(hold, after, after_id)
                if page:
                    is_ours = await self._embed(hold, page)
                    after, after_id = page[-1].version, page[-1].id
                elif await self._swap(hold):
                    break
                else:
                    after, after_id = BEFORE_ALL, NIL
        except BespokeError as error:
            await self._release(hold, failed=True)
            events.emit("dspy.memory.reembed_failed", user_id=hold.user_id, reason=str(error))
            return False
        await self._release(hold, failed=False)
        return is_ours

    async def _missing(self, hold: Hold, after: int, after_id: UUID) -> list[Row[tuple[object]]]:
        page = {"after": after, "after_id": after_id, "page": PAGE}
        async with self._database.autocommit() as connection:
            rows = await connection.execute(sql.READ_MISSING, hold.names | page)
            return list(rows.all())

    async def _embed(self, hold: Hold, page: list[Row[tuple[object]]]) -> bool:
        """Embed a page and keep it, whoever holds the space by then; False if it is another."""
        vectors = hold.embedder.embed([row.content for row in page])
        written = {
            "ids": [row.id for row in page],
            "versions": [row.version for row in page],
            "embeddings": [to_bytes(vector) for vector in vectors],
        }
        async with self._database.transaction() as session:
            connection = await session.connection()
            await connection.execute(sql.WRITE_PAGE, hold.names | written)
            lease = hold.names | {"lease_s": self._lease_s}
            renewed = (await connection.execute(sql.RENEW, lease)).first()
        events.emit("dspy.memory.reembed_page", user_id=hold.user_id, embedded_count=len(page))
        return renewed is not None

    async def _swap(self, hold: Hold) -> bool:
        """Put the new embeddings in the place of the old ones, if there is one for each memory."""
        async with self._database.transaction() as session:
            swapped = await _swapped(await session.connection(), hold)
        if swapped is not None:
            events.emit(
                "dspy.memory.reembed_complete",
                user_id=hold.user_id,
                embedder=hold.embedder.name,
                embedded_count=swapped,
            )
        return swapped is not None

    async def _release(self, hold: Hold, *, failed: bool) -> None:
        async with self._database.autocommit() as connection:
            await connection.execute(sql.RELEASE, hold.names | {"failed": failed})

    async def _compact_swapped(self, target: Kind) -> None:
        """Send the compaction of each space that was changed: what was apart may be alike now."""
        async with self._database.autocommit() as connection:
            rows = (await connection.execute(sql.FIND_SWAPPED, {"page": PAGE})).all()
            for row in rows:
                self._outbox.enqueue(compaction(row.user_id, row.swapped_version))
                finished = {"user_id": row.user_id, "version": row.swapped_version}
                await connection.execute(sql.FINISHED, finished)
            sought = {"embedder": target[0], "dim": target[1]}
            await connection.execute(sql.DROP_NEEDLESS, sought)


def compaction(user_id: str, version: int) -> Compact:
    """Return the compaction after a change; sent twice, it takes effect once."""
    job_id = uuid5(NAMESPACE_OID, f"bespoke.memories.reembedded:{version}:{user_id}")
    return Compact(id=job_id, user_id=user_id)


async def _swapped(connection: AsyncConnection, hold: Hold) -> int | None:
    """Swap and return how many memories there are; None if some are missing."""
    space = (await connection.execute(sql.LOCK_ALL, hold.names)).first()
    if space is None or (space.embedder, space.dim) == hold.embedder.kind:
        return 0
    first = {"after": BEFORE_ALL, "after_id": NIL, "page": 1}
    if (await connection.execute(sql.READ_MISSING, hold.names | first)).first() is not None:
        return None
    await connection.execute(sql.DEFER)
    swapped = await connection.execute(sql.SWAP, hold.names)
    version = (await connection.execute(sql.SWAP_SPACE, hold.names)).scalar_one()
    await connection.execute(sql.DROP_BESIDE, hold.names)
    await connection.execute(sql.SWAPPED, hold.names | {"version": version})
    return swapped.rowcount
