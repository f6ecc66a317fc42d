"""A space is exported before a compaction removes more than a set share of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bespoke_schemas.memories import Compaction
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import translated
from bespoke_workers.errors import BespokeError, Transient, Unusable
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compaction import Report, is_more_than
from bespoke_workers.memories.record_file import ROWS_AT_ONCE, write_records
from bespoke_workers.memories.record_statements import EXPORT_PAGE
from bespoke_workers.observe import events
from bespoke_workers.storage.places import Storage

EXPORT_SECONDS = 60.0
"""Then the job waits for a better moment: a little later it would be stopped for good."""
FOLDER = "before-compaction"
DAY = "%Y%m%d"
UUID7 = 7
"""The version of ids whose first 48 bits are milliseconds since the epoch."""
_SETTING = "BESPOKE_EXPORT_BEFORE_SHARE"


class Safeguard:
    """Writes the space as it is before a large compaction, under a name that the job tells.

    ``share``, from 0 to 1, is what may go without it; None lets every compaction pass.
    """

    def __init__(self, storage: Storage, share: float | None = None) -> None:
        self._storage = storage
        self._share = share

    def guards(self, removed: int, before: int) -> bool:
        """Whether a space is exported before so many of its memories are removed."""
        return self._share is not None and is_more_than(self._share, removed, before)

    async def report(
        self, connection: Connection, archive: Archive, planned: Report, before: int
    ) -> Compaction:
        """Return the report of a compaction that is about to be done, and where the space lies.

        ``before`` is how many memories there are until then. The space is read by the
        transaction that holds it and is going to remove. Raises Transient or Unusable if the
        file cannot be completed: then nothing may be removed, and the job is tried again.
        """
        report = Compaction.model_validate(planned.as_dict())
        if not self.guards(planned.total_compacted, before):
            return report
        url = await self._exported(connection, archive)
        return report.model_copy(update={"exported_to": url})

    async def _exported(self, connection: Connection, archive: Archive) -> str:
        user_id, run_id = archive.user_id, archive.run_id
        try:
            place = self._storage.place(name_of(user_id, run_id, archive.now))
            async with asyncio.timeout(EXPORT_SECONDS):
                pages = _pages(connection, user_id)
                await write_records(self._storage, place, str(run_id), user_id, pages)
        except (Transient, Unusable):
            raise
        except BespokeError as error:
            raise Unusable(
                f"{_SETTING}: the space cannot be exported, so nothing is removed: {error}"
            ) from None
        except Exception as error:  # noqa: BLE001  # whichever way the storage fails, nothing goes
            raise Transient(
                f"{_SETTING}: the export failed, so nothing is removed: {type(error).__name__}"
            ) from None
        return place.url


def name_of(user_id: str, run_id: UUID, now: datetime) -> str:
    """Return the name of the file before a job's compaction: the same at another delivery.

    Where the job's id tells no time, as at night, the day is in the name.
    """
    day = "" if run_id.version == UUID7 else f"-{now.astimezone(UTC):{DAY}}"
    # The user's own folder, by a name that does not tell who it is.
    return f"{FOLDER}/{events.hashed(user_id)}/{run_id}{day}.jsonl.gz"


async def _pages(connection: Connection, user_id: str) -> AsyncGenerator[Sequence[Any], None]:
    """Yield a user's memories; the space is locked, so none comes, goes or changes its version."""
    after: dict[str, object] = {"after": 0, "after_id": UUID(int=0)}
    while True:
        sought = {"user_id": user_id, "limit": ROWS_AT_ONCE, **after}
        with translated():
            page = (await connection.execute(EXPORT_PAGE, sought)).all()
        yield page
        if len(page) < ROWS_AT_ONCE:
            return
        after = {"after": page[-1].version, "after_id": page[-1].id}
