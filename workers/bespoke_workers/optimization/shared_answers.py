"""What a run has paid for, where a worker on any machine that takes the run up finds it.

Answers are kept on the machine first (``lm_cache``) and told to the database each second, so that
another machine pays again for what was answered in the last second, and for nothing else.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import bindparam, delete, insert
from sqlmodel import col, select

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import LmAnswers, OptimizationJob
from bespoke_workers.optimization.answers import ENDED
from bespoke_workers.optimization.language_model import lm_cache_folders
from bespoke_workers.optimization.leases import Claim

LOOK_SECONDS: Final = 1.0
"""How often new answers are told to the database."""

_TOLD: Final = insert(LmAnswers).values(
    job_id=bindparam("job_id"), user_id=bindparam("user_id"), answers=bindparam("answers")
)

_log = structlog.get_logger("bespoke.optimization")


class SharedAnswers:
    """The answers of one run, in its file on this machine and in the database."""

    def __init__(self, database: Database, home: Path, claim: Claim) -> None:
        self._database = database
        self._claim = claim
        self._path = lm_cache_folders.directory(home, claim.job_id) / lm_cache_folders.FILE
        self._told: set[str] = set()
        self._read = 0

    async def fetch(self) -> None:
        """Bring the file up to what the database has; before the run opens it.

        Only a run that is taken up again has something there.
        """
        if not self._claim.is_taken_up:
            return
        row = LmAnswers
        async with self._database.transaction() as session:
            found = await session.exec(
                select(row.answers)
                .where(row.job_id == self._claim.job_id, row.user_id == self._claim.user_id)
                .order_by(col(row.number))
            )
            parts = found.all()
        self._told = await asyncio.to_thread(self._add, parts)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Tell the database of new answers while the block goes on."""
        telling = asyncio.create_task(self._keep_telling())
        try:
            yield
        except asyncio.CancelledError:  # its worker is shut down, and another may go on elsewhere
            await _ended(telling)
            await self._tell_quietly()
            raise
        finally:
            await _ended(telling)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._tell_quietly()

    async def _tell_quietly(self) -> None:
        try:
            await self._tell()
        except Exception as error:  # noqa: BLE001  # the run's own result is what counts
            _log.warning("answers not shared yet", error=type(error).__name__)

    async def _tell(self) -> None:
        new, size = await asyncio.to_thread(self._unread)
        if new:
            told = {
                "job_id": self._claim.job_id,
                "user_id": self._claim.user_id,
                "answers": "\n".join(new.values()),
            }
            async with self._database.direct() as connection:
                await connection.execute(_TOLD, told)
        self._told.update(new)
        self._read += size

    def _unread(self) -> tuple[dict[str, str], int]:
        """Return what the file has that was not told, by its keys, and how many bytes that is.

        Of a line that is still being written, nothing.
        """
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
            lines = {_key(line): line for line in whole.decode().splitlines()}
            new = {key: line for key, line in lines.items() if key not in self._told}
            return new, len(whole + newline)
        return {}, 0

    def _add(self, parts: Iterable[str]) -> set[str]:
        """Add to the file what it lacks of what was told; return the keys of what was."""
        lines = {_key(line): line for part in parts for line in part.splitlines()}
        there = {_key(line) for line in lm_cache_folders.mended(self._path)}
        missing = [f"{line}\n" for key, line in lines.items() if key not in there]
        if missing:
            self._path.parent.mkdir(mode=lm_cache_folders.OWNER_ONLY, parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.writelines(missing)
        return set(lines)


async def remove_ended(database: Database) -> None:
    """Remove the answers of all runs that have ended."""
    row, job = LmAnswers, OptimizationJob
    ended = select(job.id).where(col(job.id) == col(row.job_id), col(job.state).in_(ENDED))
    async with database.autocommit() as connection:
        await connection.execute(delete(row).where(ended.exists()))


async def _ended(telling: "asyncio.Task[None]") -> None:
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling


def _key(line: str) -> str:
    return str(json.loads(line)["key"])
