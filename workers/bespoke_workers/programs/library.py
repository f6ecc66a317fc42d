"""The library of saved versions. A version never changes; which one is in use is a pointer."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import programs
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import ProgramVersion, UserModel
from bespoke_workers.errors import BespokeError, Refused
from bespoke_workers.programs import announcing, finding, pointer, registry, versions
from bespoke_workers.programs import state as states  # save_version has a parameter `state`
from bespoke_workers.programs.frozen import frozen
from bespoke_workers.programs.registry import Program
from bespoke_workers.programs.user_models import UserModels, model_of
from bespoke_workers.settings import Settings
from bespoke_workers.storage.offload import in_thread

if TYPE_CHECKING:
    import dspy


_log = structlog.get_logger("bespoke.programs")


class Library:
    """Saves and loads versions of the registered programs."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._modules = settings.programs
        self._models = UserModels(settings)

    def registered(self, name: str) -> Program:
        """Return a program that the application's modules register; Refused if none does."""
        modules.load(self._modules)
        return registry.get(name)

    def module_for(
        self,
        program: str,
        version: ProgramVersion | None,
        base: ProgramVersion | None = None,
        model: UserModel | None = None,
    ) -> "dspy.Module":
        """Make a module of ``program`` with the state of ``version``, or with none.

        ``base`` gives the predictors that are not the user's own; ``base_for`` finds it.
        ``model`` is the one that the version is called with, which ``model_of`` finds; with it,
        this blocks. Raises Refused if the program is unknown, or has another shape than the
        version, and where the model cannot be reached.
        """
        registered = self.registered(program)
        module = states.fresh(registered)
        own = states.own_predictors(registered)
        plain = states.assemble(module, version, base=base, own=own)
        if plain:
            _log.warning("the shared base has another shape", program=program, predictors=plain)
        if model is not None:
            self._models.give(module, model, own)
        return module

    def student_for(self, program: str, base: ProgramVersion | None) -> "dspy.Module":
        """Make the module that an optimizer changes: the base's shared predictors are frozen."""
        return frozen(self.module_for(program, None, base), self.own_predictors(program))

    def own_predictors(self, program: str) -> tuple[str, ...] | None:
        """Return the names of the predictors that are each user's own; None where all are.

        None too where the program is not registered here: its versions can be read all the same.
        """
        try:
            modules.load(self._modules)
        except BespokeError as error:
            _log.error("a program may be unknown here", reason=str(error))
        registered = registry.find(program)
        return None if registered is None else states.own_predictors(registered)

    async def base_for(
        self, session: AsyncSession, program: str, version: ProgramVersion | None
    ) -> ProgramVersion | None:
        """Return the shared version in use, where it completes a user's version or the lack of one.

        None where there is no base, or none is needed: a version of the base is whole, and so is
        that of a program all of whose predictors are the user's own.
        """
        whole = version is not None and version.user_id is None
        if whole or self.own_predictors(program) is None:
            return None
        return await self.active(session, None, program)

    async def save(self, payload: programs.Save) -> programs.Saved:
        """Save a version under the payload's id, and put it into use if that is asked for.

        Raises Refused if the program is unknown or the state is not one of it.
        """
        saved: list[ProgramVersion] = []

        async def effect(session: AsyncSession) -> programs.Saved:
            version = await self.save_version(
                session,
                version_id=payload.id,
                user_id=payload.user_id,
                program=payload.program,
                state=payload.state,
                optimizer=payload.optimizer,
                score=payload.score,
                optimization_result=payload.optimization_result,
                parent_id=payload.parent_id,
                tags=payload.tags,
                description=payload.description,
                metadata=payload.metadata,
            )
            if payload.activate:
                await self.activate(
                    session, payload.user_id, payload.program, version.id, reason="saved"
                )
            saved.append(version)
            return programs.Saved(
                program_id=version.id, saved_at=version.saved_at, active=payload.activate
            )

        result = await once(self._database, payload, effect)
        for version in saved:
            self.announce(version)
        return result

    async def load(self, payload: programs.Load) -> programs.Loaded:
        """Load a version by its id; with a user, only if it is that user's or shared."""
        query = select(ProgramVersion).where(col(ProgramVersion.id) == payload.program_id)
        if payload.user_id is not None:
            owner = col(ProgramVersion.user_id)
            query = query.where(or_(owner == payload.user_id, owner.is_(None)))
        async with self._loading(payload.user_id) as (session, found):
            found.extend(await session.exec(query))
            return await self.answer(session, found)

    async def load_active(self, payload: programs.LoadActive) -> programs.Loaded:
        """Load the version that a user has in use, else the shared base's."""
        async with self._loading(payload.user_id, payload.program) as (session, found):
            version = await self.active(session, payload.user_id, payload.program)
            found.extend([version] if version else [])
            return await self.answer(session, found)

    async def best(self, payload: programs.Best) -> programs.Loaded:
        """Load the version of the highest score, the newest on a tie; Refused without a name."""
        query = finding.best(payload)
        async with self._loading(payload.user_id, payload.program) as (session, found):
            await finding.plan_each_time(await session.connection())
            found.extend(await session.exec(query))
            return await self.answer(session, found)

    async def answer(
        self, session: AsyncSession, found: Sequence[ProgramVersion]
    ) -> programs.Loaded:
        """Return the answer that a version was found, with what completes it, or that none was."""
        if not found:
            return programs.Loaded(version=None)
        version = found[0]
        if version.user_id is None:
            return programs.Loaded(version=versions.answer(version))
        base = await self.base_for(session, version.program, version)
        model = await model_of(session, version)
        return programs.Loaded(
            version=versions.answer(version),
            base=versions.answer(base) if base else None,
            own=self.own_predictors(version.program),
            model=None if model is None else await in_thread(self._models.told, model),
        )

    async def save_version(
        self,
        session: AsyncSession,
        *,
        version_id: UUID,
        user_id: str | None,
        program: str,
        state: Mapping[str, Any],
        optimizer: str | None,
        score: float | None,
        optimization_result: Mapping[str, Any],
        parent_id: UUID | None,
        tags: Sequence[str] = (),
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        checkpoint: str | None = None,
        checkpoint_of: UUID | None = None,
    ) -> ProgramVersion:
        """Insert a version, or a checkpoint by its name, in the session's transaction.

        A user's version holds what of the program is the user's own; what the state has for
        shared predictors is left out. Call ``announce`` after the commit. Raises Refused if the
        program is unknown, the state is not one of it, or the id is taken.
        """
        with announcing.saving(user_id, program, version_id):
            registered = self.registered(program)
            module = states.pattern(registered)
            own = None if user_id is None else states.own_predictors(registered)
            kept = states.own_part(module, state, own)
            statement = insert(ProgramVersion).values(
                id=version_id,
                user_id=user_id,
                program=program,
                signature=states.signature_text(module),
                optimizer=optimizer,
                score=score,
                state=kept,
                optimization_result=dict(optimization_result),
                tags=list(tags),
                description=description,
                meta=versions.with_versions(metadata or {}),
                fingerprint=states.fingerprint(module, own),
                parent_id=parent_id,
                size_bytes=versions.size_bytes(kept),
                saved_at=datetime.now(UTC),
                checkpoint=checkpoint,
                checkpoint_of=checkpoint_of,
            )
            inserting = statement.on_conflict_do_nothing().returning(ProgramVersion)
            version: ProgramVersion | None = (await session.exec(inserting)).scalar_one_or_none()
            if version is None:
                raise Refused(f"version {version_id} exists; versions never change: give a new id")
            return version

    async def activate(
        self,
        session: AsyncSession,
        user_id: str | None,
        program: str,
        version_id: UUID,
        *,
        reason: pointer.Reason,
    ) -> None:
        """Put a version into use in the session's transaction.

        Raises Refused unless it is a version of this program, the user's own or shared.
        """
        await pointer.check_usable(session, user_id, program, version_id)
        await pointer.move(session, [(user_id, program, version_id)], reason=reason)

    async def active(
        self, session: AsyncSession, user_id: str | None, program: str
    ) -> ProgramVersion | None:
        """Return the user's version in use, else the shared base's, else None."""
        return await pointer.in_use(session, user_id, program)

    def announce(self, version: ProgramVersion) -> None:
        """Tell that a version was saved; to be called after the commit."""
        announcing.save_complete(version)

    @asynccontextmanager
    async def _loading(
        self, user_id: str | None, program: str | None = None
    ) -> AsyncIterator[tuple[AsyncSession, list[ProgramVersion]]]:
        """Open a session and a list to put what is found into; tell of it, or of the failure."""
        with announcing.loading(user_id, program) as found:
            async with self._database.transaction() as session:
                yield session, found
