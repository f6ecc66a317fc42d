"""Whole programs: a module with its code as a file, which only this system's own workers load.

Everything else is JSON. This is the exception to it, and asked for twice: by whoever saves one,
and by the setting without which none is loaded.
"""

import contextlib
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqlmodel import col, delete, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import programs
from bespoke_schemas.program_state import pick
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.portal import portal, wait
from bespoke_workers.database.tables import ProgramVersion, WholeProgram
from bespoke_workers.errors import Misconfigured, Refused, Transient
from bespoke_workers.observe import events
from bespoke_workers.programs import pickling, pointer, sealing, versions
from bespoke_workers.programs.library import Library
from bespoke_workers.programs.requests import RequestEmbeds
from bespoke_workers.settings import PREFIX, Settings
from bespoke_workers.storage.failures import translated
from bespoke_workers.storage.files import Kind, Writer, read_lines
from bespoke_workers.storage.offload import in_thread, write_whole
from bespoke_workers.storage.places import Place, Storage

if TYPE_CHECKING:
    import dspy

WHOLE: Final = Kind(
    "whole program",
    pickling.LIMIT,
    pickling.LIMIT,
    "save its state instead of the whole",
    is_by_hand=True,  # its bytes need not end in a newline
)
FOLDER: Final = "whole-programs"
SHORTEST_SECRET: Final = 8  # characters; a shorter one is in any file by chance
TIMEOUT: Final = 120.0  # seconds; a file may be large and far away
SHARED: Final = "shared"  # where the shared base's lie; a user's folder is a hash


class WholePrograms:
    """Saves programs whole, and loads those that it saved."""

    def __init__(self, database: Database, settings: Settings, library: Library) -> None:
        self._database = database
        self._settings = settings
        self._library = library
        self._storage = Storage(settings.storage)

    async def save(self, payload: programs.SaveWhole) -> programs.SavedWhole:
        """Write what the payload names as a file and record its seal, both or neither.

        Raises Misconfigured without a signing key, Refused if there is no such version or the
        program cannot be pickled.
        """
        signing_key = sealing.key(self._settings)

        async def effect(session: AsyncSession) -> programs.SavedWhole:
            version = await self._version(session, payload)
            base = await self._library.base_for(session, payload.program, version)
            module = self._library.module_for(payload.program, version, base)
            content = await in_thread(pickling.pickled, module)
            self._check_holds_no_secret(content)
            row = _row(payload, version, base, content, signing_key)
            session.add(row)
            await session.flush()
            url = await self._write(row, content)
            return programs.SavedWhole(
                whole_id=row.id,
                program_id=row.version_id,
                url=url,
                size_bytes=row.size_bytes,
                saved_at=row.saved_at,
            )

        return await once(self._database, payload, effect)

    async def load(self, whole_id: UUID, user_id: str | None) -> "dspy.Module":
        """Return a module that ``save`` wrote for this user; it has no language model.

        Nothing is unpickled before its seal was checked. Raises Misconfigured where loading is
        not allowed, Refused if there is no such program of the user's, if the file is not the
        one that was written, or if it was written under other versions of Python or DSPy.
        """
        self._check_allowed()
        signing_key = sealing.key(self._settings)
        async with self._database.transaction() as session:
            row = await _find(session, whole_id, user_id)
        if row is None:
            raise Refused(f"no whole program {whole_id} of this user; save it first")
        content = await in_thread(self._read, self._place(row.id, row.user_id))
        sealing.check(row, content, signing_key)
        _check_versions(row)
        return pick(await in_thread(pickling.loaded, content), RequestEmbeds(self._settings))

    async def list(self, payload: programs.ListWhole) -> programs.ListedWhole:
        """Return what there is of one owner, newest first."""
        owned = [col(WholeProgram.user_id) == payload.user_id]
        if payload.program is not None:
            owned.append(col(WholeProgram.program) == payload.program)
        newest = (col(WholeProgram.saved_at).desc(), col(WholeProgram.id).desc())
        query = select(WholeProgram).where(*owned).order_by(*newest).limit(payload.limit)
        async with self._database.transaction() as session:
            rows = (await session.exec(query)).all()
            total = await session.exec(select(func.count()).select_from(WholeProgram).where(*owned))
            return programs.ListedWhole(whole=tuple(map(_told, rows)), total=total.one())

    async def delete(self, payload: programs.DeleteWhole) -> programs.DeletedWhole:
        """Delete a whole program of the user, its file first."""

        async def effect(session: AsyncSession) -> programs.DeletedWhole:
            row = await _find(session, payload.whole_id, payload.user_id)
            if row is None:
                return programs.DeletedWhole(deleted=False)
            await in_thread(self._remove, self._place(row.id, row.user_id))
            await session.exec(delete(WholeProgram).where(*_owned(row.id, row.user_id)))
            return programs.DeletedWhole(deleted=True)

        return await once(self._database, payload, effect)

    async def _version(
        self, session: AsyncSession, payload: programs.SaveWhole
    ) -> ProgramVersion | None:
        if payload.program_id is None:
            return await self._library.active(session, payload.user_id, payload.program)
        await pointer.check_usable(session, payload.user_id, payload.program, payload.program_id)
        owner = col(ProgramVersion.user_id)
        query = select(ProgramVersion).where(
            col(ProgramVersion.id) == payload.program_id,
            or_(owner == payload.user_id, owner.is_(None)),
        )
        return (await session.exec(query)).one()

    async def _write(self, row: WholeProgram, content: bytes) -> str:
        place = self._place(row.id, row.user_id)
        writer = Writer(WHOLE, self._storage, place, str(row.id), compressed=False)

        async def fill() -> None:
            await in_thread(writer.write, [content])

        await write_whole(writer, fill)
        return place.url

    def _place(self, whole_id: UUID, user_id: str | None) -> Place:
        folder = SHARED if user_id is None else events.hashed(user_id)
        return self._storage.place(f"{FOLDER}/{folder}/{whole_id}.pkl")

    def _read(self, place: Place) -> bytes:
        return b"".join(read_lines(WHOLE, self._storage, place, compressed=False))

    def _remove(self, place: Place) -> None:
        self._storage.check_within(place)
        with translated(place.url, WHOLE.noun), contextlib.suppress(FileNotFoundError):
            self._storage.files.rm_file(place.path)

    def _check_allowed(self) -> None:
        if not self._settings.allow_whole_programs:
            raise Misconfigured(
                "BESPOKE_ALLOW_WHOLE_PROGRAMS is not set, and loading a whole program runs the "
                "code in it; set it to true where that is wanted, or load the version's state"
            )

    def _check_holds_no_secret(self, content: bytes) -> None:
        """Raise Refused where a secret of the settings is in the program's own attributes."""
        for name in type(self._settings).model_fields:
            secret = getattr(self._settings, name)
            if not isinstance(secret, SecretStr):
                continue
            value = secret.get_secret_value()
            if len(value) >= SHORTEST_SECRET and value.encode() in content:
                raise Refused(
                    f"the program holds {PREFIX}{name.upper()} in an attribute or a global of its "
                    "module; take it out, or save its state"
                )


def load_whole(whole_id: UUID, user_id: str | None = None) -> "dspy.Module":
    """Return a program that was saved whole, in a process with the workers' settings.

    It is called like any ``dspy.Module``, under the caller's own language model. Raises as
    `WholePrograms.load` does, and Transient while the database is away.
    """
    here = portal()
    whole = WholePrograms(here.database, here.settings, Library(here.database, here.settings))
    try:
        return wait(partial(whole.load, whole_id, user_id), here.loop, TIMEOUT)
    except TimeoutError:
        raise Transient(f"the whole program was not loaded within {TIMEOUT:g} s") from None


async def _find(session: AsyncSession, whole_id: UUID, user_id: str | None) -> WholeProgram | None:
    return (await session.exec(select(WholeProgram).where(*_owned(whole_id, user_id)))).first()


def _owned(whole_id: UUID, user_id: str | None) -> tuple[Any, Any]:
    return col(WholeProgram.id) == whole_id, col(WholeProgram.user_id) == user_id


def _row(
    payload: programs.SaveWhole,
    version: ProgramVersion | None,
    base: ProgramVersion | None,
    content: bytes,
    signing_key: bytes,
) -> WholeProgram:
    row = WholeProgram(
        id=payload.id,
        user_id=payload.user_id,
        program=payload.program,
        version_id=version.id if version else None,
        base_id=base.id if base else None,
        versions=versions.with_versions({})["versions"],
        size_bytes=len(content),
        saved_at=datetime.now(UTC),
        seal="",
    )
    row.seal = sealing.seal(row, content, signing_key)
    return row


def _told(row: WholeProgram) -> programs.WholeProgram:
    return programs.WholeProgram(
        whole_id=row.id,
        program=row.program,
        program_id=row.version_id,
        base_id=row.base_id,
        versions=row.versions,
        size_bytes=row.size_bytes,
        saved_at=row.saved_at,
    )


def _check_versions(row: WholeProgram) -> None:
    """Raise Refused where code of other versions would be run: a pickle does not say so itself."""
    present = versions.with_versions({})["versions"]
    for name, now in present.items():
        if _minor(row.versions[name]) != _minor(now):
            raise Refused(
                f"the whole program was saved under {name} {row.versions[name]}, and this is "
                f"{now}; save it again, or load the version's state"
            )


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
