"""Checkpoints: versions with a name, made on request or by an optimization, and restored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs import announcing
from bespoke_workers.programs.library import Library


@dataclass(frozen=True)
class _Source:
    """What a checkpoint is made of."""

    state: Mapping[str, Any]
    optimizer: str | None = None
    score: float | None = None
    optimization_result: Mapping[str, Any] = field(default_factory=dict)
    parent_id: UUID | None = None


class Checkpoints:
    """Saves and restores checkpoints."""

    def __init__(self, database: Database, library: Library) -> None:
        self._database = database
        self._library = library

    async def save(self, payload: programs.Checkpoint) -> programs.Checkpointed:
        """Save a checkpoint under the payload's id.

        Raises Refused if the program is unknown, the version is not there for this user, or the
        state is not one of the program.
        """
        saved: list[ProgramVersion] = []

        async def effect(session: AsyncSession) -> programs.Checkpointed:
            source = await self._source(session, payload)
            version = await self._library.save_version(
                session,
                version_id=payload.id,
                user_id=payload.user_id,
                program=payload.program,
                state=source.state,
                optimizer=source.optimizer,
                score=source.score if payload.score is None else payload.score,
                optimization_result=source.optimization_result,
                parent_id=source.parent_id,
                description=payload.description,
                metadata=payload.metadata,
                checkpoint=payload.name,
            )
            saved.append(version)
            return programs.Checkpointed(
                program_id=version.id, name=payload.name, saved_at=version.saved_at
            )

        result = await once(self._database, payload, effect)
        for version in saved:
            self._library.announce(version)
        return result

    async def restore(self, payload: programs.RestoreCheckpoint) -> programs.Restored:
        """Load the newest checkpoint of the name, or put its state into use as a new version.

        Raises Refused if it is to be put into use and does not fit the program.
        """
        if not payload.activate:
            with announcing.loading(payload.user_id, payload.program) as found:
                async with self._database.transaction() as session:
                    found.extend(await _newest(session, payload))
                    return await self._restored(session, found, active=False)
        done = await self._activate(payload)
        async with self._database.transaction() as session:
            made = select(ProgramVersion).where(
                col(ProgramVersion.id) == payload.id, col(ProgramVersion.user_id) == payload.user_id
            )
            return await self._restored(session, list(await session.exec(made)), active=done.active)

    async def _activate(self, payload: programs.RestoreCheckpoint) -> programs.Restored:
        """Save a version with the checkpoint's state and put it into use, once.

        What is recorded of it holds no state: that is in the version.
        """
        saved: list[ProgramVersion] = []

        async def effect(session: AsyncSession) -> programs.Restored:
            for checkpoint in await _newest(session, payload):
                version = await self._version_of(session, payload, checkpoint)
                await self._library.activate(
                    session, payload.user_id, payload.program, version.id, reason="restored"
                )
                saved.append(version)
            return programs.Restored(version=None, active=bool(saved))

        done = await once(self._database, payload, effect)
        for version in saved:
            self._library.announce(version)
        return done

    async def _source(self, session: AsyncSession, payload: programs.Checkpoint) -> _Source:
        if payload.state is not None:
            return _Source(payload.state)
        owner = col(ProgramVersion.user_id)
        found = await session.exec(
            select(ProgramVersion).where(
                col(ProgramVersion.id) == payload.program_id,
                col(ProgramVersion.program) == payload.program,
                or_(owner == payload.user_id, owner.is_(None)),
            )
        )
        version = found.one_or_none()
        if version is None:
            raise Refused(
                f"no version {payload.program_id} of program {payload.program!r} that this user "
                "may use; give the id of another one, or a state"
            )
        self._library.module_for(payload.program, version)  # refused if it does not fit
        return _Source(
            version.state,
            version.optimizer,
            version.score,
            version.optimization_result,
            version.id,
        )

    async def _version_of(
        self,
        session: AsyncSession,
        payload: programs.RestoreCheckpoint,
        checkpoint: ProgramVersion,
    ) -> ProgramVersion:
        self._library.module_for(payload.program, checkpoint)  # refused if it does not fit
        return await self._library.save_version(
            session,
            version_id=payload.id,
            user_id=payload.user_id,
            program=payload.program,
            state=checkpoint.state,
            optimizer=checkpoint.optimizer,
            score=checkpoint.score,
            optimization_result=checkpoint.optimization_result,
            parent_id=checkpoint.id,
            tags=checkpoint.tags,
            description=checkpoint.description,
            metadata={**checkpoint.meta, "restored_from": payload.name},
        )

    async def _restored(
        self, session: AsyncSession, found: list[ProgramVersion], *, active: bool
    ) -> programs.Restored:
        loaded = await self._library.answer(session, found)
        return programs.Restored(
            version=loaded.version, base=loaded.base, own=loaded.own, active=active
        )


async def _newest(
    session: AsyncSession, payload: programs.RestoreCheckpoint
) -> list[ProgramVersion]:
    """Return the owner's newest checkpoint of the name, in a list, or an empty one."""
    statement = (
        select(ProgramVersion)
        .where(
            col(ProgramVersion.program) == payload.program,
            col(ProgramVersion.user_id) == payload.user_id,
            col(ProgramVersion.checkpoint) == payload.name,
        )
        .order_by(col(ProgramVersion.saved_at).desc(), col(ProgramVersion.id).desc())
        .limit(1)
    )
    return list(await session.exec(statement))
