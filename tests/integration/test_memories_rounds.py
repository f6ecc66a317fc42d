"""Compaction of everybody: so many users at a time, each on their own, whatever dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError

from bespoke_schemas.memories import Compact, Compaction, Count, ListCompactions, SetPolicy
from bespoke_workers.errors import Permanent, Transient
from bespoke_workers.memories import rounding, rounds
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.rounds import Rounds, part_id
from bespoke_workers.memories.store import Memories
from bespoke_workers.observe import events
from tests.integration.memory_workers import (
    Clock,
    contents,
    in_loop,
    opened,
    query,
    remember,
    worker,
)
from tests.integration.optimizing import RecordingOutbox

GONE = "UPDATE memory_space SET embedder = 'gone:embedder' WHERE user_id = :user"
EVERYBODY = "SELECT count(*) FILTER (WHERE state = 'queued') AS n FROM compaction_part"


@dataclass
class Site:
    """A worker, the rounds that it plans, and what it sends."""

    url: str
    memories: Memories
    rounds: Rounds
    outbox: RecordingOutbox = field(default_factory=RecordingOutbox)

    @property
    def compactions(self) -> list[Compact]:
        """The users' jobs that are sent and not done yet."""
        return [one for one in self.outbox.enqueued if isinstance(one, Compact)]

    async def work_off(self) -> int:
        """Do all that is sent, as one worker would; return the most in flight at once."""
        most = 0
        while self.outbox.enqueued or self.outbox.rounds:
            most = max(most, len(self.compactions))
            if self.outbox.rounds:
                await self.rounds.go_on(self.outbox.rounds.pop(0))
                continue
            payload = self.outbox.enqueued.pop(0)
            assert isinstance(payload, Compact)
            try:
                await self.rounds.part(payload, self.memories.compact)
            except Permanent:
                continue
        return most

    def answer(self, payload: Compact) -> Compaction:
        """Return the answer to a round."""
        answer = self.outbox.succeeded[payload.id]
        assert isinstance(answer, Compaction)
        return answer


@asynccontextmanager
async def site(
    url: str, clock: Clock | None = None, policy: Policy = DEFAULT
) -> AsyncIterator[Site]:
    """Open what plans rounds and what does its users' jobs."""
    clock, outbox = clock or Clock(), RecordingOutbox()
    async with worker(url, policy, clock=clock) as memories, opened(url) as database:
        yield Site(url, memories, Rounds(database, outbox, Defaults(policy), clock), outbox)


async def users(memories: Memories, count: int, stores: int = 2) -> None:
    """Let users store something, of whom every second one has a limit of one."""
    for number in range(count):
        user_id = f"user-{number:03}"
        for content in ("Has a black cat", "Likes green tea", "Lives in Turin")[:stores]:
            await remember(memories, user_id, content)
        if number % 2:
            await memories.set_policy(SetPolicy(user_id=user_id, max_memories=1))


@in_loop
async def test_everybody_is_compacted_so_many_at_a_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "IN_FLIGHT", 4)
    monkeypatch.setattr(rounds, "PAGE", 3)
    told: list[events.Event] = []
    end = events.subscribe("dspy.memory.round_complete", told.append)
    async with site(database_url) as here:
        await users(here.memories, 11)
        payload = Compact()
        assert await here.rounds.begin(payload) is None
        assert await here.work_off() <= 4
        answer = here.answer(payload)
        assert answer.round is not None
        assert answer.round.model_dump() == {
            "users": 11,
            "compacted": 5,
            "failed": 0,
            "errors": {},
        }
        assert answer.total_compacted == 10
        assert answer.size_compaction is not None
        assert answer.size_compaction.model_dump() == {
            "removed_count": 10,
            "before_count": 10,
            "after_count": 0,
            "trigger": "size_limit_exceeded",
        }
        assert await here.rounds.begin(payload) == answer  # a redelivery after the end
        (run,) = (await here.memories.list_compactions(ListCompactions(user_id="user-001"))).runs
        assert run.id == part_id(payload.id, "user-001")
        done = [progress.done for _, progress in here.outbox.told]
        assert done == sorted(done)
    end()
    assert [(one["users"], one["removed_count"]) for one in told] == [(11, 10)]


@in_loop
async def test_without_anybody_the_answer_is_nothing(database_url: str) -> None:
    async with site(database_url) as here:
        payload = Compact(force=True)
        await here.rounds.begin(payload)
        await here.work_off()
        answer = here.answer(payload)
        assert (answer.total_compacted, answer.round and answer.round.users) == (0, 0)


@in_loop
async def test_one_users_failure_is_that_users_alone(database_url: str) -> None:
    async with site(database_url) as here:
        await users(here.memories, 4)
        await remember(here.memories, "apart", "Has a black cat")
        wrong = "UPDATE memory_space SET policy = '{\"max_memories\": 0}' WHERE user_id = 'apart'"
        await query(database_url, wrong)
        payload = Compact(force=True)
        await here.rounds.begin(payload)
        await here.work_off()
        answer = here.answer(payload)
        assert answer.round is not None
        assert (answer.round.users, answer.round.failed) == (5, 1)
        assert "max_memories" in answer.round.errors["apart"]
        assert answer.size_compaction is not None
        assert answer.size_compaction.trigger == "forced"


@in_loop
async def test_a_bug_fails_its_user_and_tells_no_contents(database_url: str) -> None:
    async with site(database_url) as here:
        await users(here.memories, 1)
        payload = Compact()
        await here.rounds.begin(payload)
        await here.rounds.go_on(here.outbox.rounds.pop())

        async def broken(_: Compact) -> Compaction:
            raise KeyError("Has a black cat")

        async def away(_: Compact) -> Compaction:
            raise Transient("away")

        (part,) = here.compactions
        with pytest.raises(Transient):
            await here.rounds.part(part, away)
        with pytest.raises(KeyError):
            await here.rounds.part(part, broken)
        await here.rounds.go_on(here.outbox.rounds.pop())
        answer = here.answer(payload)
        assert answer.round is not None
        assert answer.round.errors == {"user-000": "KeyError"}


@in_loop
async def test_whatever_is_lost_or_delivered_twice_a_round_ends_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "IN_FLIGHT", 4)
    monkeypatch.setattr(rounding, "PATIENCE_S", 0)
    async with site(database_url) as here, site(database_url) as there:
        await users(here.memories, 9)
        payload = Compact()
        for place in (here, there, here):
            assert await place.rounds.begin(payload) is None
        here.outbox.rounds.clear()  # lost, and so is what is sent from it
        await there.rounds.go_on(payload.id)
        lost = there.compactions
        there.outbox.enqueued.clear()
        await here.rounds.reap()
        assert {one.id for one in here.compactions} == {one.id for one in lost}
        first = here.compactions[0]
        # Its worker dies between the commit and telling of it: the reaper finds the job's row.
        await here.memories.compact(first)
        here.outbox.enqueued.clear()
        await asyncio.gather(here.rounds.reap(), there.rounds.reap())
        here.outbox.enqueued.extend(here.outbox.enqueued * 2)
        while here.outbox.enqueued or there.outbox.enqueued or here.outbox.rounds:
            await asyncio.gather(here.work_off(), there.work_off())
        answers = {**here.outbox.succeeded, **there.outbox.succeeded}
        answer = answers[payload.id]
        assert isinstance(answer, Compaction)
        assert answer.round is not None
        assert (answer.round.users, answer.round.failed, answer.total_compacted) == (9, 0, 8)
        runs = await query(database_url, "SELECT id FROM compaction_run")
        assert len(runs) == 4


@in_loop
async def test_a_round_that_nobody_told_of_is_told_by_the_reaper(database_url: str) -> None:
    async with site(database_url) as here:
        payload = Compact()
        await here.rounds.begin(payload)
        await here.work_off()
        answer = here.outbox.succeeded.pop(payload.id)
        await query(
            database_url,
            "UPDATE compaction_round SET answered = false, finished_at = now() - interval '1 min'",
        )
        await here.rounds.reap()
        assert here.outbox.succeeded == {payload.id: answer}
        here.outbox.succeeded.clear()
        await here.rounds.reap()
        assert here.outbox.succeeded == {}


@in_loop
async def test_a_part_of_which_nothing_is_heard_is_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "PATIENCE_S", 0)
    async with site(database_url) as here:
        await users(here.memories, 1)
        payload = Compact()
        await here.rounds.begin(payload)
        for _ in range(rounding.MOST_SENDS + 1):
            await here.rounds.reap()
        answer = here.answer(payload)
        assert answer.round is not None
        assert answer.round.errors == {"user-000": rounding.GIVEN_UP}


@in_loop
async def test_ten_thousand_users_are_planned_and_few_are_in_flight(database_url: str) -> None:
    await query(
        database_url,
        "INSERT INTO memory_space (user_id, embedder, dim) "
        "SELECT 'user-' || n, 'lexical', 8 FROM generate_series(1, 10000) AS n",
    )
    async with site(database_url) as here:
        payload = Compact(age_only=False)
        await here.rounds.begin(payload)
        most, sent = 0, set[UUID]()
        while here.outbox.rounds:
            await here.rounds.go_on(here.outbox.rounds.pop(0))
            sent |= {one.id for one in here.compactions}
            (row,) = await query(database_url, EVERYBODY)
            most = max(most, row.n)
            # Half of a page ends in one stroke; the last one tells of it.
            batch, here.outbox.enqueued = here.compactions, []
            await query(
                database_url,
                "UPDATE compaction_part SET state = 'done', report = '{\"total_compacted\": 1}' "
                "WHERE state = 'queued' AND job_id <> :last",
                last=batch[-1].id if batch else UUID(int=0),
            )
            if batch:
                await here.rounds.end_part(batch[-1], Compaction())
        assert most == rounds.IN_FLIGHT
        assert len(sent) == 10_000
        answer = here.answer(payload)
        assert answer.round is not None
        assert (answer.round.users, answer.total_compacted) == (10_000, 10_000 - 50)


@in_loop
async def test_the_night_looks_only_at_users_with_something_too_old(database_url: str) -> None:
    clock = Clock()
    async with site(database_url, clock) as here:
        for user_id, days in (("short", 5), ("long", 365), ("usual", None), ("active", None)):
            await remember(here.memories, user_id, "Has a black cat")
            if days is not None:
                await here.memories.set_policy(SetPolicy(user_id=user_id, max_age_days=days))
        clock.now += timedelta(days=50)
        await remember(here.memories, "active", "Likes green tea")
        here.rounds.enqueue_nightly()
        here.rounds.enqueue_nightly()  # by another beat
        one, other = here.compactions
        here.outbox.enqueued.clear()
        assert (one.id, one.user_id, one.age_only) == (other.id, None, True)
        for each in (one, other):
            await here.rounds.begin(each)
        await here.work_off()
        answer = here.answer(one)
        assert answer.round is not None
        assert (answer.round.users, answer.total_compacted) == (1, 1)
        assert await contents(database_url, "short") == set()
        clock.now += timedelta(days=50)
        here.rounds.enqueue_nightly()
        tonight = here.compactions[0]
        assert tonight.id != one.id
        here.outbox.enqueued.clear()
        await here.rounds.begin(tonight)
        await here.work_off()
        answer = here.answer(tonight)
        assert answer.age_compaction is not None
        assert (answer.age_compaction.removed_count, answer.age_compaction.before_count) == (2, 3)
        assert (await here.memories.count(Count(user_id="long"))).count == 1
        assert await contents(database_url, "active") == {"Likes green tea"}


@in_loop
async def test_age_alone_needs_no_embedder_and_merges_nothing(database_url: str) -> None:
    clock = Clock()
    async with worker(database_url, clock=clock) as before:
        await remember(before, "ada", "Has a black cat")
        clock.now += timedelta(days=91)
    await query(database_url, GONE, user="ada")
    async with worker(database_url, clock=clock) as memories:
        with pytest.raises(Transient):
            await memories.compact(Compact(user_id="ada"))
        payload = Compact(user_id="ada", age_only=True)
        report = await memories.compact(payload)
        assert report == await memories.compact(payload)
        assert (report.total_compacted, report.deduplication) == (1, None)
        again = await memories.compact(Compact(user_id="ada", age_only=True))
        nobody = await memories.compact(Compact(user_id="eve", age_only=True))
        assert again == nobody == Compaction()


def test_force_and_age_alone_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="give one of the two"):
        Compact(force=True, age_only=True)


@in_loop
async def test_whoever_dies_while_sending_is_followed_by_another(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(database_url) as here:
        await users(here.memories, 3)
        payload = Compact()
        await here.rounds.begin(payload)
        with monkeypatch.context() as broken:
            broken.setattr(here.outbox, "enqueue", away)
            with pytest.raises(Transient):
                await here.rounds.go_on(payload.id)
        await here.rounds.go_on(payload.id)
        assert len(here.compactions) == 3
        first = here.compactions[0]
        await here.rounds.part(first, here.memories.compact)
        here.outbox.rounds.clear()
        await here.work_off()
        assert here.answer(payload).round is not None


def away(_: object) -> None:
    """Fail as a broker that is away."""
    raise ConnectionError
