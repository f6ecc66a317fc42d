"""Erasing a user: for good, wherever they are, and whichever worker dies over it.

First the fence goes up: no job of the user takes effect any more. Then what began before is waited
for, and everything there is goes, until a last look after all that was under way has ended finds
nothing. What is done again by another delivery finds nothing either. See docs/users.md.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from bespoke_schemas.exports import Erased, EraseUser
from bespoke_schemas.jobs import Progress
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Cancelled
from bespoke_workers.observe import events
from bespoke_workers.optimization.language_model import lm_cache_folders
from bespoke_workers.outbox import Outbox
from bespoke_workers.storage.places import Storage
from bespoke_workers.users import erasure_record, erasure_rows
from bespoke_workers.users import erasure_statements as sql
from bespoke_workers.users.erasure_files import Files
from bespoke_workers.users.erasure_messages import Messages, connected
from bespoke_workers.users.erasure_record import Through
from bespoke_workers.users.quiet import Deadline, NotYet, transactions_ended
from bespoke_workers.users.times import is_until

SLICE_SECONDS: Final = 20.0
"""For which an erasure goes on before other jobs of its queue have their turn."""
WAIT_SECONDS: Final = 2.0
"""For which it waits for others: one of them may be behind it in its own worker's hands."""
FILES_AT_ONCE: Final = 50
"""Files after which it notes how far it is, or fewer that take long."""
ERASED: Final = "the user is erased; this job was not done"

_log = structlog.get_logger("bespoke.users")

Tell = Callable[[Progress], object]


@dataclass(frozen=True)
class Tools:
    """What an erasure works on. ``redis_urls`` are the broker's and the results'.

    ``forget`` drops what this process has cached of a user, ``untrack`` what a tracking server
    was told of them, once their rows are gone. ``untrain`` has providers delete the models that
    were trained for them, while their rows say which those are.
    """

    database: Database
    outbox: Outbox
    storage: Storage
    redis_urls: tuple[str, str]
    home: Path
    forget: Callable[[str], object]
    untrack: Callable[[str], Awaitable[int]]
    untrain: Callable[[str], Awaitable[int]]


class Erasing:
    """Erases users."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._database = tools.database

    async def erase(self, payload: EraseUser, tell: Tell = lambda _: None) -> Erased | None:
        """Erase for a slice of time; None if there is more to do, by the same payload.

        Once per job id. Raises Refused if the id belongs to another job.
        """
        ended = await erasure_record.begin(self._database, payload)
        if ended is not None:
            return ended
        await erasure_rows.leave_spaces(self._database, payload)
        owners = await erasure_rows.owners_ending(self._database, payload)
        try:
            async with connected(*self._tools.redis_urls) as (broker, results):
                messages = Messages(broker, results, payload.user_id, owners)
                unread = await Slice(self._tools, payload, owners, messages, tell).work()
        except NotYet:
            return None
        erased = await erasure_record.end(self._database, payload, unread)
        events.emit("dspy.storage.erase", user_id=payload.user_id, **erased.erased)
        return erased


class Slice:
    """One delivery of an erasure."""

    def __init__(
        self,
        tools: Tools,
        payload: EraseUser,
        owners: list[str],
        messages: Messages,
        tell: Tell,
    ) -> None:
        """``owners`` are those of the shared spaces that end with the user."""
        self._tools = tools
        self._database = tools.database
        self._payload = payload
        self._whose = (payload.user_id, *owners)
        self._messages = messages
        self._files = Files(tools.database, tools.storage, payload.user_id, owners, payload.id)
        self._tell = tell
        self._deadline = Deadline(SLICE_SECONDS)

    async def work(self) -> int:
        """Do all there is to do, and return how many files could not be read; or raise NotYet."""
        self._step("waiting for what is under way")
        before = await self._stop()
        self._step("erasing")
        await self._take_away(before)
        await self._check_on()
        await self._note({"models": await self._tools.untrain(self._payload.user_id)})
        await self._sweep()
        unread = await self._clear_files()
        while await self._sweep():
            unread = await self._clear_files()
        await self._wait(await self._messages.in_hand(lambda one: not one.is_later))
        await self._check_on()
        tracked = await self._tools.untrack(self._payload.user_id)
        answers = await self._messages.forget_answers(datetime.now(UTC))
        await self._note({"tracked_runs": tracked, "answers": answers}, Through(unread=unread))
        return unread

    async def _stop(self) -> datetime:
        """Stop what runs of the user, wait until all of it has ended, and move the fence there."""
        before = await erasure_record.advance(self._database, self._payload, "stopping")
        if before is None:
            raise NotYet  # as by _check_on
        async with self._database.autocommit() as connection:
            for user_id in self._whose:
                await connection.execute(sql.CANCEL_OPTIMIZATIONS, {"user_id": user_id})
        await self._take_away(before)
        await self._wait(await self._messages.in_hand(lambda one: not one.is_later))
        await self._runs_ended()
        moved = await erasure_record.advance(self._database, self._payload, "sweeping")
        return moved or before

    async def _runs_ended(self) -> None:
        deadline = Deadline(WAIT_SECONDS)
        for user_id in self._whose:
            while True:
                async with self._database.autocommit() as connection:
                    running = await connection.execute(sql.RUNNING, {"user_id": user_id})
                if not running.scalar_one():
                    break
                await deadline.look_again()

    async def _take_away(self, before: datetime) -> None:
        """Take the messages of jobs from before out of the queues, until none comes back."""
        while True:
            taken = await self._messages.take_away(before)
            for job_id in taken:
                self._answer(job_id)
            later = await self._messages.in_hand(
                lambda one: one.is_later and is_until(one.job_id, before)
            )
            await self._messages.let_go(later)
            held = await self._messages.in_hand(lambda one: is_until(one.job_id, before))
            await self._note({"messages": len(taken) + len(later)})
            if not taken and not held:
                return
            await self._wait(held)

    async def _wait(self, receipts: set[bytes]) -> None:
        deadline = Deadline(WAIT_SECONDS)
        while receipts := await self._messages.still_in_hand(receipts):
            await deadline.look_again()

    async def _sweep(self) -> int:
        """Erase in the database what all that has ended by now has left; return how much."""
        await transactions_ended(self._database, Deadline(WAIT_SECONDS))
        optimizations: set[UUID] = set()
        found = await erasure_rows.sweep(self._database, self._payload, optimizations)
        for job_id in optimizations:
            lm_cache_folders.remove(self._tools.home, job_id)
        for user_id in self._whose:
            self._tools.forget(user_id)
        if found:
            await self._note({}, Through())
            await transactions_ended(self._database, Deadline(WAIT_SECONDS))
        return found

    async def _clear_files(self) -> int:
        """Go on through the files to the last; return how many could not be read."""
        reached = await erasure_record.through(self._database, self._payload)
        names = await self._files.names()
        at = bisect_right(names, reached.name)
        while page := names[at : at + FILES_AT_ONCE]:
            self._step("looking into files", at, len(names))
            self._deadline.check()
            await self._check_on()
            done, found = await self._files.clear(page, self._deadline.is_over)
            unread = reached.unread + found.pop("unread_files", 0)
            reached = Through(page[done - 1], unread)
            await self._note(found, reached)
            at += done
        return reached.unread

    async def _check_on(self) -> None:
        """Raise NotYet where another job has ended the erasure, whose answer is this one's.

        The user may have begun anew since, and nothing of that may go.
        """
        if not await erasure_record.is_on(self._database, self._payload):
            raise NotYet

    async def _note(self, found: dict[str, int], reached: Through | None = None) -> None:
        if reached is not None or any(found.values()):
            await erasure_record.note(self._database, self._payload, found, reached)

    def _answer(self, job_id: UUID) -> None:
        """Tell whoever waits for a job that it was not done."""
        try:
            self._tools.outbox.fail(job_id, Cancelled(ERASED))
        except Exception as error:  # noqa: BLE001  # whoever waits learns it by the time that passes
            _log.warning("cancellation not told", error=type(error).__name__)

    def _step(self, step: str, done: int = 0, total: int | None = None) -> None:
        self._tell(Progress(step=step, done=done, total=total))
