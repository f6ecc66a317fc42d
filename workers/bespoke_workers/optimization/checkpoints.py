"""Checkpoints that a long optimization makes by itself, as long as its row is its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid5

import structlog
from sqlalchemy import Integer, delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.optimization.leases import Claim, Leases
from bespoke_workers.optimization.snapshots import Snapshot, Snapshots
from bespoke_workers.optimization.stopping import LostLease
from bespoke_workers.programs import state
from bespoke_workers.programs.library import Library

KEPT: Final = 3
"""Checkpoints of one job; each holds the best program so far, so older ones are worth less."""
LOOK_SECONDS: Final = 0.5
"""How often it is looked whether there is a new one to save."""

_log = structlog.get_logger("bespoke.optimization")


class RunCheckpoints:
    """Saves the best program so far of a run, every so many evaluations."""

    def __init__(
        self,
        database: Database,
        library: Library,
        leases: Leases,
        every: int | None,
        *,
        last: bool = True,
    ) -> None:
        """``every`` is None where no intermediate results are to be saved.

        ``last`` says whether the best of a run that comes to no end is.
        """
        self._database = database
        self._library = library
        self._leases = leases
        self._every = every
        self._last = last

    def snapshots(self) -> Snapshots:
        """Return what a run's threads fill."""
        return Snapshots(self._every, state.dump)

    @asynccontextmanager
    async def kept(self, claim: Claim, optimizer: str, snapshots: Snapshots) -> AsyncIterator[None]:
        """Save snapshots as they come, and the last one at the end of a block that went well."""
        saving = asyncio.create_task(self._keep_saving(claim, optimizer, snapshots))
        try:
            yield
        finally:
            saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await saving
        await self._save_waiting(claim, optimizer, snapshots)

    async def save(self, claim: Claim, optimizer: str, snapshot: Snapshot) -> bool:
        """Save a snapshot; False if the job has one as far along, from before its worker died.

        Raises LostLease, with nothing written, if the row is not this run's any more.
        """
        async with self._database.transaction() as session:
            version = await self._save(session, claim, optimizer, snapshot)
        if version is not None:
            self._library.announce(version)
        return version is not None

    async def save_last(
        self, session: AsyncSession, claim: Claim, optimizer: str, snapshots: Snapshots
    ) -> str | None:
        """Save the best of a run that is to be ended without a result; return its name, if any.

        In the caller's transaction, which ends the row. Raises LostLease like ``save``.
        """
        best = snapshots.best
        if best is None or not self._last:
            return None
        await self._save(session, claim, optimizer, best)
        return _name(max(best.evaluation, await _evaluations(session, claim)))

    async def _save(
        self, session: AsyncSession, claim: Claim, optimizer: str, snapshot: Snapshot
    ) -> ProgramVersion | None:
        name = _name(snapshot.evaluation)
        await self._leases.hold(session, claim)
        if await _evaluations(session, claim) >= snapshot.evaluation:
            return None
        version = await self._library.save_version(
            session,
            version_id=uuid5(claim.job_id, name),
            user_id=claim.user_id,
            program=claim.program,
            state=snapshot.state,
            optimizer=optimizer,
            score=snapshot.score,
            optimization_result={},
            parent_id=None,
            metadata={"evaluation": snapshot.evaluation},
            checkpoint=name,
            checkpoint_of=claim.job_id,
        )
        await _delete_older(session, claim)
        return version

    async def _keep_saving(self, claim: Claim, optimizer: str, snapshots: Snapshots) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._save_waiting(claim, optimizer, snapshots)

    async def _save_waiting(self, claim: Claim, optimizer: str, snapshots: Snapshots) -> None:
        """Save what waits; what cannot be saved is tried again, and is no reason to fail."""
        snapshot = snapshots.waiting
        if snapshot is None:
            return
        try:
            await self.save(claim, optimizer, snapshot)
        except LostLease:
            pass  # the run learns of it by itself, and ends
        except Exception as error:  # noqa: BLE001  # the run's own result is what counts
            _log.warning("checkpoint not saved", error=type(error).__name__)
            return
        snapshots.saved(snapshot)


def _name(evaluation: int) -> str:
    return f"auto_checkpoint_{evaluation}"


def _own(claim: Claim) -> tuple[Any, ...]:
    """Return the conditions of a job's own checkpoints."""
    return (
        col(ProgramVersion.program) == claim.program,
        col(ProgramVersion.user_id) == claim.user_id,
        col(ProgramVersion.checkpoint).is_not(None),
        col(ProgramVersion.checkpoint_of) == claim.job_id,
    )


_EVALUATION = col(ProgramVersion.meta)["evaluation"].astext.cast(Integer)


async def _evaluations(session: AsyncSession, claim: Claim) -> int:
    """Return the number of evaluations at a job's last checkpoint, 0 if it has none."""
    found = await session.exec(
        select(_EVALUATION).where(*_own(claim)).order_by(_EVALUATION.desc()).limit(1)
    )
    return found.first() or 0


async def _delete_older(session: AsyncSession, claim: Claim) -> None:
    newest = select(ProgramVersion.id).where(*_own(claim)).order_by(_EVALUATION.desc()).limit(KEPT)
    await session.exec(
        delete(ProgramVersion).where(*_own(claim), col(ProgramVersion.id).not_in(newest))
    )
