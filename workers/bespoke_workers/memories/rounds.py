"""Rounds: compactions of everybody, a bounded number of users at a time.

A round is a row, and each of its users a part of it: a job of their own, whose id follows from
the round's and the user's, so that nothing is done twice however often a page is planned. As
jobs end, further users are planned; whoever finds none left ends the round. No message stands
for more than one user, and nothing is kept in a worker's memory.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas.jobs import Progress
from bespoke_schemas.memories import Compact, Compaction
from bespoke_workers.database import records
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import BespokeError, Refused, Transient, Unusable
from bespoke_workers.memories import round_statements, rounding
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.policy import PRESETS
from bespoke_workers.memories.space import Space
from bespoke_workers.observe import events
from bespoke_workers.outbox import Outbox

IN_FLIGHT: Final = 200
"""Most users of a round whose jobs are on their way: a store waits behind a few of them."""
PAGE: Final = 1_000
PAGES: Final = 20
"""How many pages one look goes through in search of users whose memories are too old."""

NIGHTS: Final = UUID("6d0c8f0e-3c0b-5a53-9d62-5a2c1be8f6a1")
"""The namespace of the ids of nightly rounds."""

_log = structlog.get_logger("bespoke.memories")


class Rounds:
    """Plans rounds, keeps them going, and ends them."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        default: Defaults,
        clock: Callable[[], datetime],
        night: Callable[[datetime], date] = datetime.date,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._default = default
        self._clock = clock
        self._night = night

    async def begin(self, payload: Compact) -> Compaction | None:
        """Begin a round; None, since the answer comes when it ends.

        A redelivery goes on where a dead worker stopped, and answers where the round has ended.
        """
        async with self._database.transaction() as session:
            if await records.accept(session, payload):
                await self._write(await session.connection(), payload)
            else:
                job = await session.get_one(Job, payload.id)
                if job.state != records.ACCEPTED:
                    return _recorded(job)
        self._go_on(payload.id)
        return None

    async def go_on(self, round_id: UUID) -> None:
        """Queue as many of a round's users as may be in flight; end it if none is left."""
        async with self._database.transaction() as session:
            connection = await session.connection()
            row = await _one(connection, round_statements.LOCK_ROUND, round_id=round_id)
            if row is None:
                return
            flying = await _one(connection, round_statements.IN_FLIGHT, round_id=round_id)
            queued = 0 if flying is None else flying.queued
            state, users = await self._plan(connection, row, IN_FLIGHT - queued)
            ended = state == "running" and not queued and not users
            unsent = await connection.execute(round_statements.UNSENT, {"round_id": round_id})
            waiting = [one.user_id for one in unsent]
            summary = await self._end(session, round_id) if ended else None
            progress = await rounding.progress(connection, round_id, state)
        await self._send(row, waiting)
        if summary is not None:
            await self._tell_end(round_id, summary)
            return
        if state == "planning" and not queued and not users:
            self._go_on(round_id)  # all of these pages had no user for it
        self._tell(round_id, progress)

    async def part(
        self, payload: Compact, compact: Callable[[Compact], Awaitable[Compaction]]
    ) -> Compaction:
        """Compact one user's memories by ``compact``, and let the round go on if it is of one."""
        try:
            report = await compact(payload)
        except (Transient, Unusable):
            raise
        except Exception as error:
            # A bug's text may hold contents.
            reason = str(error) if isinstance(error, BespokeError) else type(error).__name__
            await self.end_part(payload, None, reason)
            raise
        await self.end_part(payload, report)
        return report

    async def end_part(
        self, payload: Compact, report: Compaction | None, error: str | None = None
    ) -> None:
        """Record what came of one user's job, if it is part of a round, and let that go on."""
        parameters = {
            "user_id": payload.user_id,
            "job_id": payload.id,
            "state": "failed" if report is None else "done",
            "report": None if report is None else report.model_dump_json(),
            "error": error,
        }
        async with self._database.autocommit() as connection:
            part = await _one(connection, round_statements.END_PART, **parameters)
            if part is None:
                return
            row = await _one(connection, round_statements.IN_FLIGHT, round_id=part.round_id)
        if row is None:
            return
        if not row.queued or (row.state == "planning" and row.queued <= IN_FLIGHT // 2):
            self._go_on(UUID(bytes=part.round_id.bytes))

    async def reap(self) -> None:
        """Send again, end and answer whatever a dead worker left behind."""
        async with self._database.autocommit() as connection:
            found = await connection.execute(round_statements.OPEN_ROUNDS)
            open_ = [UUID(bytes=row.id.bytes) for row in found]
        for round_id in open_:
            await self._settle(round_id)
            await self.go_on(round_id)
        async with self._database.autocommit() as connection:
            found = await connection.execute(round_statements.UNANSWERED, {"limit": PAGE})
            ended = [UUID(bytes=row.id.bytes) for row in found]
        for round_id in ended:
            await self._answer(round_id)

    def enqueue_nightly(self) -> None:
        """Enqueue tonight's removal of what is too old; its id is the night's, so it is one.

        Raises Transient if the broker is away.
        """
        tonight = self._night(self._clock())
        payload = Compact(id=uuid5(NIGHTS, tonight.isoformat()), age_only=True)
        try:
            self._outbox.enqueue(payload)
        except Exception as error:
            raise Transient(f"the broker failed: {type(error).__name__}") from error

    async def _write(self, connection: AsyncConnection, payload: Compact) -> None:
        oldest_before = None
        if payload.age_only:
            found = await connection.execute(round_statements.LEAST_AGE_DAYS)
            days = [one.least_age_days for one in (self._default.policy, *PRESETS.values())]
            own = found.scalar()
            least = min(days if own is None else [*days, own])
            oldest_before = self._clock() - timedelta(days=least)
        parameters = {
            "round_id": payload.id,
            "asked": payload.model_dump_json(exclude={"id", "user_id"}),
            "oldest_before": oldest_before,
        }
        await connection.execute(round_statements.BEGIN_ROUND, parameters)

    async def _plan(
        self, connection: AsyncConnection, row: Row[Any], room: int
    ) -> tuple[str, list[str]]:
        """Plan up to so many users; return the state of the round after it, and the users."""
        state, through, users = row.state, row.planned_through, list[str]()
        for _ in range(PAGES):
            if state != "planning" or len(users) >= room:
                break
            page = {"through": through, "oldest_before": row.oldest_before, "limit": PAGE}
            spaces = (await connection.execute(round_statements.READ_SPACES, page)).all()
            for space in spaces:
                if len(users) >= room:
                    break
                through = space.user_id
                if row.oldest_before is None or self._is_age_due(space):
                    users.append(space.user_id)
            else:
                state = "planning" if len(spaces) == PAGE else "running"
        if row.state == "planning":
            await self._write_parts(connection, row.id, users, through, state)
        return state, users

    async def _write_parts(
        self,
        connection: AsyncConnection,
        round_id: UUID,
        users: list[str],
        through: str,
        state: str,
    ) -> None:
        whose = {"round_id": round_id}
        jobs = [part_id(round_id, user_id) for user_id in users]
        planned = whose | {"users": users, "job_ids": jobs}
        await connection.execute(round_statements.PLAN_PARTS, planned)
        await connection.execute(
            round_statements.GO_ON, whose | {"through": through, "state": state}
        )

    def _is_age_due(self, space: Row[Any]) -> bool:
        try:
            return Space.of(space, self._default).is_age_due(self._clock())
        except Refused:
            return True  # a policy that is none: this user's own job tells of it

    async def _send(self, row: Row[Any], users: Sequence[str]) -> None:
        """Send the jobs of parts that are committed; whoever dies over it is followed by others."""
        for user_id in users:
            asked = {**row.asked, "id": part_id(row.id, user_id), "user_id": user_id}
            try:
                self._outbox.enqueue(Compact.model_validate(asked))
            except Exception as error:
                raise Transient(f"the broker failed: {type(error).__name__}") from error
        if users:
            async with self._database.autocommit() as connection:
                sent = {"round_id": row.id, "users": list(users)}
                await connection.execute(round_statements.SENT, sent)

    def _go_on(self, round_id: UUID) -> None:
        try:
            self._outbox.go_on(round_id)
        except Exception as error:
            raise Transient(f"the broker failed: {type(error).__name__}") from error

    async def _settle(self, round_id: UUID) -> None:
        async with self._database.transaction() as session:
            connection = await session.connection()
            row = await _one(connection, round_statements.LOCK_ROUND, round_id=round_id)
            if row is not None:
                await rounding.settle(connection, round_id)

    async def _end(self, session: AsyncSession, round_id: UUID) -> Compaction:
        connection = await session.connection()
        summary = await rounding.summary(connection, round_id)
        ended = {"round_id": round_id, "state": "done"}
        await connection.execute(round_statements.END_ROUND, ended)
        await records.complete(session, round_id, Compact.task, "succeeded", result=summary)
        return summary

    async def _tell_end(self, round_id: UUID, summary: Compaction) -> None:
        facts = {} if summary.round is None else summary.round.model_dump(exclude={"errors"})
        events.emit(
            "dspy.memory.round_complete",
            round_id=str(round_id),
            removed_count=summary.total_compacted,
            **facts,
        )
        await self._answer(round_id)

    async def _answer(self, round_id: UUID) -> None:
        """Tell the end of a round where the client waits, or leave it to the reaper."""
        async with self._database.transaction() as session:
            job = await session.get_one(Job, round_id)
        try:
            if job.state == "done":
                self._outbox.succeed(round_id, Compact.task, _recorded(job))
            else:
                self._outbox.fail(round_id, records.failure(job.state, job.reason))
        except Exception as error:  # noqa: BLE001  # whichever way the backend fails
            _log.warning(
                "answer left to the reaper", about=str(round_id), error=type(error).__name__
            )
            return
        async with self._database.autocommit() as connection:
            await connection.execute(round_statements.ANSWERED, {"round_id": round_id})

    def _tell(self, round_id: UUID, progress: Progress) -> None:
        try:
            self._outbox.progress(round_id, Compact.task, progress)
        except Exception as error:  # noqa: BLE001  # progress is no reason to fail
            _log.warning("progress not told", error=type(error).__name__)


def part_id(round_id: UUID, user_id: str) -> UUID:
    """Return the id of one user's job in a round."""
    return uuid5(UUID(bytes=round_id.bytes), user_id)


def _recorded(job: Job) -> Compaction:
    if job.state != "done":
        raise records.failure(job.state, job.reason)
    return Compaction.model_validate(job.result)


async def _one(connection: AsyncConnection, sql: Any, **parameters: Any) -> Row[Any] | None:
    return (await connection.execute(sql, parameters)).first()
