"""How long the exports before large compactions are kept: as long as the archive."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from bespoke_workers.memories.safeguard import FOLDER
from bespoke_workers.storage.offload import in_thread
from bespoke_workers.storage.places import Storage

_UUID7 = 7  # the version whose first 48 bits are milliseconds since the epoch
_TIME_SHIFT = 80


class SafeguardPruning:
    """Removes the files whose job is older than the archive is kept."""

    def __init__(self, storage: Storage, clock: Callable[[], datetime], archive_days: int) -> None:
        self._storage = storage
        self._clock = clock
        self._kept = timedelta(days=archive_days)

    async def prune(self) -> int:
        """Remove what is too old; return how many files that were."""
        before = self._clock() - self._kept
        names = await in_thread(self._storage.names, FOLDER)
        old = [name for name in names if (at := _asked_at(name)) is not None and at < before]
        for name in old:
            await in_thread(self._storage.remove, name)
        return len(old)


def _asked_at(name: str) -> datetime | None:
    """Return when the job was asked for after which a file is named; None if that does not tell.

    A listing of an object store need not have times, and to ask for each file's would take long.
    """
    try:
        job_id = UUID(name.rpartition("/")[2].partition(".")[0])
    except ValueError:
        return None
    if job_id.version != _UUID7:
        return None
    return datetime.fromtimestamp((job_id.int >> _TIME_SHIFT) / 1000, UTC)
