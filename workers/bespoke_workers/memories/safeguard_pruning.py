"""How long the exports before large compactions are kept: as long as the archive."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

from bespoke_workers.memories.safeguard import DAY, FOLDER, UUID7
from bespoke_workers.storage.offload import in_thread
from bespoke_workers.storage.places import Storage

_TIME_SHIFT = 80
_ID_LENGTH = 36
_A_DAY = timedelta(days=1)  # it was at some time of the day, or no later than its end


class SafeguardPruning:
    """Removes the files whose job is older than the archive is kept."""

    def __init__(self, storage: Storage, clock: Callable[[], datetime], archive_days: int) -> None:
        self._storage = storage
        self._clock = clock
        self._kept = timedelta(days=archive_days)

    async def prune(self, seconds: float) -> bool:
        """Remove what is too old.

        Returns whether that was all; False where ``seconds`` were too few, and some are left.
        """
        before, until = self._clock() - self._kept, monotonic() + seconds
        names = await in_thread(self._storage.names, FOLDER)
        for name in names:
            asked_at = _asked_at(name)
            if asked_at is not None and asked_at < before:
                await in_thread(self._storage.remove, name)
                if monotonic() > until:
                    return False
        return True


def _asked_at(name: str) -> datetime | None:
    """Return when the job was asked for after which a file is named; None if that does not tell.

    A listing of an object store need not have times, and to ask for each file's would take long.
    """
    stem = name.rpartition("/")[2].partition(".")[0]
    try:
        job_id = UUID(stem[:_ID_LENGTH])
        if job_id.version != UUID7:
            return datetime.strptime(f"{stem[_ID_LENGTH:]}+0000", f"-{DAY}%z") + _A_DAY
    except ValueError:
        return None
    return datetime.fromtimestamp((job_id.int >> _TIME_SHIFT) / 1000, UTC)
