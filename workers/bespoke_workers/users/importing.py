"""Importing a user's bundle: checked as a whole, then written in one transaction or not at all."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from pydantic import BaseModel
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.exports import ImportUser, UserImported
from bespoke_workers.database.engine import Database
from bespoke_workers.database.once import once
from bespoke_workers.database.tables import (
    ActiveProgram,
    CompactionRun,
    Example,
    Job,
    Learner,
    Memory,
    MemoryArchive,
    MemorySpace,
    ProgramVersion,
)
from bespoke_workers.errors import Refused
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.locking import make_and_lock
from bespoke_workers.memories.settling_in import SettlingIn
from bespoke_workers.memories.statements import statement
from bespoke_workers.observe import events
from bespoke_workers.storage.files import read_lines
from bespoke_workers.storage.offload import in_thread
from bespoke_workers.storage.places import Place, Storage
from bespoke_workers.users.bundle_format import USER_BUNDLE, Decoder, Header
from bespoke_workers.users.memory_sections import MEMORIES, POLICY, OwnPolicy
from bespoke_workers.users.registered import BY_NAME
from bespoke_workers.users.sections import Arrival, something_already

ENTRIES_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 4 * 2**20
"""An import takes entries until it has one of these."""

ENTRIES: Final[dict[str, Callable[[dict[str, Any]], BaseModel]]] = {
    name: section.parsed for name, section in BY_NAME.items()
}

OF_A_USER: Final = (
    Memory,
    MemoryArchive,
    CompactionRun,
    Example,
    Learner,
    ProgramVersion,
    ActiveProgram,
)
"""Where there is nothing of a user for whom a bundle is brought in."""

FIT_OUT = statement("""
    UPDATE memory_space SET embedder = :embedder, dim = :dim WHERE user_id = :user_id
""")
"""Give a space in which nothing is an embedder."""

SET_POLICY = statement("""
    UPDATE memory_space SET preset = :preset, policy = CAST(:policy AS jsonb)
    WHERE user_id = :user_id
""")
"""Give a space its policy."""


class Importing:
    """Reads users' bundles back."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        default: Defaults,
        embedder: Callable[[], Embedder],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._storage = storage
        self._default = default
        self._embedder = embedder
        self._clock = clock

    async def import_(self, payload: ImportUser) -> UserImported:
        """Import a bundle for a user of whom there is nothing yet; once per job id.

        Raises Refused, with nothing written, if anything in the bundle is not as it must be, if
        it is another user's and not to be renamed, or if there is something of the user already.
        """
        place = self._storage.place(payload.url)

        async def effect(session: AsyncSession) -> UserImported:
            sha256 = await self._check(payload, place)
            embedder = self._embedder()
            # Locked, so that another import of the same bundle has ended or begins after this one.
            connection = await session.connection()
            await make_and_lock(connection, payload.user_id, embedder, payload.id)
            before = await _before(session, payload, sha256)
            if before is not None:
                return before
            await _require_nothing(session, payload.user_id)
            return await self._write(session, payload, place, sha256, embedder)

        imported = await once(self._database, payload, effect)
        events.emit(
            "dspy.storage.import_user",
            user_id=payload.user_id,
            count=sum(imported.sections.values()),
            unchanged=imported.unchanged,
        )
        return imported

    async def _check(self, payload: ImportUser, place: Place) -> str:
        """Read the whole bundle once and return its checksum."""
        with contextlib.closing(read_lines(USER_BUNDLE, self._storage, place)) as lines:
            decoder = await in_thread(Decoder, lines, ENTRIES)
            _check_user(payload, decoder.header)
            async for section, page in _pages(decoder):
                if section == POLICY.name:
                    for one in page:
                        self._resolve(payload, one)
        return decoder.sha256

    async def _write(
        self,
        session: AsyncSession,
        payload: ImportUser,
        place: Place,
        sha256: str,
        embedder: Embedder,
    ) -> UserImported:
        connection = await session.connection()
        kind = {"embedder": embedder.name, "dim": embedder.dim}
        await connection.execute(FIT_OUT, {"user_id": payload.user_id, **kind})
        with contextlib.closing(read_lines(USER_BUNDLE, self._storage, place)) as lines:
            decoder = await in_thread(Decoder, lines, ENTRIES)
            rename = decoder.header.user_id != payload.user_id
            now = self._clock()
            arrival = Arrival(session, payload.user_id, payload.id, now, rename)
            settling = SettlingIn(
                connection,
                embedder,
                self._default,
                user_id=payload.user_id,
                job_id=payload.id,
                now=now,
                rename=rename,
            )
            async for section, page in _pages(decoder):
                await self._bring_in(arrival, settling, section, page)
        if decoder.sha256 != sha256:
            raise Refused("the bundle changed while it was read; import it again")
        left = await settling.end()
        return UserImported(
            sections=_brought_in(decoder.header),
            sha256=sha256,
            memories=left,
            spaces=tuple(arrival.spaces),
        )

    async def _bring_in(
        self, arrival: Arrival, settling: SettlingIn, name: str, page: list[Any]
    ) -> None:
        if name == POLICY.name:
            await self._set_policy(arrival, page[-1])
        elif name == MEMORIES.name:
            await settling.take(page)
        else:
            section = BY_NAME[name]
            if section.bring_in is not None:
                await section.bring_in(arrival, page)

    def _resolve(self, payload: ImportUser, own: Any) -> None:
        self._default.resolve(payload.user_id, own.preset, own.policy)

    async def _set_policy(self, arrival: Arrival, own: OwnPolicy) -> None:
        parameters = {
            "user_id": arrival.user_id,
            "preset": own.preset,
            "policy": json.dumps(own.policy),
        }
        await (await arrival.session.connection()).execute(SET_POLICY, parameters)


def _check_user(payload: ImportUser, header: Header) -> None:
    if header.user_id != payload.user_id and not payload.rename_user:
        raise Refused(
            "the user bundle is another user's; give rename_user=True to take it over under new ids"
        )


async def _before(session: AsyncSession, payload: ImportUser, sha256: str) -> UserImported | None:
    """Return what an earlier import of the same bundle for this user came to, if there was one."""
    row = Job
    found = await session.exec(
        select(row.result).where(
            row.user_id == payload.user_id,
            row.task == payload.task,
            row.state == "done",
            col(row.id) != payload.id,
            col(row.result)["sha256"].as_string() == sha256,
        )
    )
    result = found.first()
    if result is None:
        return None
    return UserImported.model_validate(result).model_copy(update={"unchanged": True})


async def _require_nothing(session: AsyncSession, user_id: str) -> None:
    for table in OF_A_USER:
        theirs = select(table.user_id).where(col(table.user_id) == user_id).limit(1)
        if (await session.exec(theirs)).first() is not None:
            raise something_already()
    space = await session.get_one(MemorySpace, user_id)
    if space.preset is not None or space.policy:
        raise Refused(
            "this user has a policy of their own already; take it back with "
            "SetPolicy(reset=True), then import again"
        )


def _brought_in(header: Header) -> dict[str, int]:
    kept = {POLICY.name, MEMORIES.name}
    return {
        name: count
        for name, count in header.sections.items()
        if name in kept or BY_NAME[name].bring_in is not None
    }


async def _pages(decoder: Decoder) -> AsyncIterator[tuple[str, list[Any]]]:
    """Yield entries of one section after the other, some at a time."""
    found = iter(decoder)
    while page := await in_thread(_take, decoder, found):
        for section, placed in groupby(page, key=itemgetter(0)):
            yield section, [entry for _, entry in placed]


def _take(decoder: Decoder, found: Iterator[tuple[str, BaseModel]]) -> list[tuple[str, BaseModel]]:
    page = []
    enough = decoder.read_bytes + BYTES_AT_ONCE
    for one in found:
        page.append(one)
        if len(page) >= ENTRIES_AT_ONCE or decoder.read_bytes >= enough:
            break
    return page
