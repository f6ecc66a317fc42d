"""What beat remembers of what it has sent, in a file that may be damaged."""

from contextlib import suppress
from typing import Any

from celery.beat import PersistentScheduler


class Schedule(PersistentScheduler):
    """Celery's schedule, begun anew where its file cannot be read.

    After a loss of power, or on a full disk, the file may be cut off. Celery itself goes on after
    some kinds of damage; after the others it would never start again, and lost runs would stay so.
    """

    _store: Any

    def setup_schedule(self) -> None:
        """Read the file, or make it anew."""
        try:
            super().setup_schedule()
        except Exception as error:  # noqa: BLE001  # what unpickling may raise is anything
            damaged, self._store = self._store, None
            with suppress(Exception):
                damaged.close()  # what is left open would write into the new one
            self._store = self._destroy_open_corrupted_schedule(error)  # type: ignore[attr-defined]  # celery-types leaves it out
            super().setup_schedule()
