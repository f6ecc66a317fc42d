"""Feedback: once, the last word holds, and enough of it optimizes the program once."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas.examples import Feedback, Judged, Stats
from bespoke_workers.errors import Refused
from bespoke_workers.learning.feedback import Learning
from bespoke_workers.optimization.reoptimization import Reoptimization
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, RecordingOutbox, Worker, lessons, working
from tests.integration.test_erasure_fence import BEFORE, erased, made
from tests.integration.test_examples import learned

NOBODY = "http://127.0.0.1:9"
"""A language model that is set and is not called."""


class Away(RecordingOutbox):
    """An outbox whose broker cannot be reached."""

    def run_optimization(
        self, job_id: UUID, *, finetuning: bool = False, answered: bool = True
    ) -> None:
        raise ConnectionError


def good(number: int, label: str = "tray", user_id: str = "ada") -> Feedback:
    return Feedback(
        user_id=user_id, program=PROGRAM, positive=True,
        inputs={"text": f"message {number}"}, outputs={"label": label},
    )  # fmt: skip


def bad(number: int, label: str = "tray", correction: str | None = None) -> Feedback:
    return Feedback(
        user_id="ada", program=PROGRAM, positive=False,
        inputs={"text": f"message {number}"}, outputs={"label": label},
        correction=None if correction is None else {"label": correction},
    )  # fmt: skip


async def take(worker: Worker, *feedback: Feedback) -> list[Judged]:
    return [await worker.learning.take(one) for one in feedback]


async def told(worker: Worker) -> tuple[int, int, int, int, int]:
    (one,) = (await worker.examples_read.stats(Stats(user_id="ada"))).programs
    return one.examples, one.new, one.approved, one.corrected, one.rejected


@in_loop
async def test_good_and_corrected_outputs_are_examples_and_bad_ones_are_counted(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        outcomes = await take(worker, good(1), bad(2), bad(3), good(1))
        assert [one.outcome for one in outcomes] == ["added", "counted", "counted", "known"]
        corrected = await worker.learning.take(bad(4, "wrong", "right"))
        assert (corrected.outcome, corrected.total, corrected.optimization) == ("added", 2, None)
        assert await learned(worker) == [
            {"text": "message 1", "label": "tray"},
            {"text": "message 4", "label": "right"},
        ]
        assert await told(worker) == (2, 2, 2, 1, 2)
        assert await learned(worker, "bob") == []


@in_loop
async def test_a_feedback_delivered_again_counts_once(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        once, rejected = good(1), bad(2)
        first = await worker.learning.take(once)
        together = await asyncio.gather(*(worker.learning.take(rejected) for _ in range(4)))
        assert await worker.learning.take(once) == first
        assert len(set(together)) == 1
        assert await told(worker) == (1, 1, 1, 0, 1)


@in_loop
async def test_what_a_user_says_last_about_the_same_inputs_holds(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        await take(worker, good(1, "first"), good(2), good(1, "first", user_id="bob"))
        (corrected,) = await take(worker, bad(1, "first", "second"))
        assert (corrected.outcome, corrected.replaced, corrected.total) == ("added", 1, 2)
        (approved,) = await take(worker, good(1, "third"))
        assert (approved.replaced, approved.total) == (1, 2)
        assert await learned(worker) == [
            {"text": "message 2", "label": "tray"},
            {"text": "message 1", "label": "third"},
        ]
        (rejected,) = await take(worker, bad(1, "third"))
        assert (rejected.outcome, rejected.replaced, rejected.total) == ("counted", 1, 1)
        (rejected,) = await take(worker, bad(2, "another"))
        assert (rejected.replaced, rejected.total) == (0, 1)
        assert len(await learned(worker, "bob")) == 1


@in_loop
async def test_a_feedback_of_wrong_inputs_is_refused_and_not_counted(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        wrong = Feedback(
            user_id="ada", program=PROGRAM, positive=True,
            inputs={"txet": "a secret"}, outputs={"label": "tray"},
        )  # fmt: skip
        with pytest.raises(Refused, match="no 'text' and 'txet'") as refused:
            await worker.learning.take(wrong)
        assert "a secret" not in str(refused.value)
        assert await worker.execute("SELECT count(*) FROM learner") == [0]
        assert await worker.execute("SELECT count(*) FROM job") == [0]


@in_loop
async def test_feedback_keeps_to_the_bound(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path, max_examples=3) as worker:
        judged = await take(worker, *(good(number) for number in range(5)))
        assert [(one.total, one.removed) for one in judged][2:] == [(3, 0), (3, 1), (3, 1)]
        assert [one["text"] for one in await learned(worker)] == [
            "message 2", "message 3", "message 4",
        ]  # fmt: skip


@in_loop
async def test_every_so_many_examples_the_program_is_optimized_once(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            judged = await take(worker, *(_lesson(number) for number in range(12)))
            due = [one.optimization for one in judged if one.optimization is not None]
            assert [number for number, one in enumerate(judged, 1) if one.optimization] == [10]
            assert worker.outbox.runs == due
            (job_id,) = due
            optimized = await worker.optimization.run(job_id)
            assert optimized is not None
            assert (optimized.examples, optimized.optimizer) == (12, "LabeledFewShot")
            assert worker.outbox.succeeded[job_id] == optimized
            later = await take(worker, *(_lesson(number) for number in range(12, 23)))
            assert [number for number, one in enumerate(later, 13) if one.optimization] == [22]
            assert await worker.execute("SELECT count(*) FROM job WHERE user_id = 'bob'") == [0]


@in_loop
async def test_feedback_at_once_optimizes_once(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path, lm=NOBODY) as worker:
        feedback = [good(number) for number in range(40)]
        judged = await asyncio.gather(*(worker.learning.take(one) for one in feedback))
        assert len({one.optimization for one in judged} - {None}) == 1
        assert len(worker.outbox.runs) == 1
        assert await worker.states() == ["queued"]


@in_loop
async def test_a_message_that_was_lost_is_sent_again(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path, lm=NOBODY, reoptimize_every=1) as worker:
        await worker.teach("ada", 12)
        cut_off = Reoptimization(worker.database, worker.settings, Away())
        feedback = good(1)
        judged = await Learning(worker.database, worker.settings, cut_off).take(feedback)
        assert judged.optimization is not None
        assert worker.outbox.runs == []
        await worker.execute("UPDATE optimization_job SET sent_at = now() - interval '1 minute'")
        await worker.optimization.reap()
        assert worker.outbox.runs == [judged.optimization]
    async with working(database_url, tmp_path, lm=NOBODY, reoptimize_every=1) as worker:
        assert await worker.learning.take(feedback) == judged  # as a redelivery
        assert worker.outbox.runs == [judged.optimization]
        assert await worker.states() == ["queued"]


@pytest.mark.parametrize("state", ["planned", "queued", "running"])
@in_loop
async def test_none_is_added_while_one_is_under_way_and_what_came_meanwhile_is_not_forgotten(
    database_url: str, tmp_path: Path, state: str
) -> None:
    async with working(database_url, tmp_path, lm=NOBODY) as worker:
        await worker.teach("ada", 12)
        await worker.execute(
            "INSERT INTO optimization_job (id, user_id, program, state)"
            " VALUES (gen_random_uuid(), 'ada', :program, :state)",
            program=PROGRAM, state=state,
        )  # fmt: skip
        assert [one.optimization for one in await take(worker, good(1), good(2))] == [None, None]
        assert (await worker.learning.take(good(1, user_id="bob"))).optimization is None
        await worker.execute("UPDATE optimization_job SET state = 'failed'")
        (judged,) = await take(worker, bad(3))
        assert judged.optimization is not None


@in_loop
async def test_one_that_fails_is_not_repeated_before_there_is_as_much_new(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path, lm=NOBODY) as worker:
        await take(worker, *(good(number) for number in range(10)))
        await worker.execute("UPDATE optimization_job SET state = 'failed'")
        judged = await take(worker, *(good(number) for number in range(10, 21)))
        assert [number for number, one in enumerate(judged, 11) if one.optimization] == [20]


@pytest.mark.parametrize(
    "options",
    [{"reoptimize_every": 0, "lm": NOBODY}, {"reoptimize_minimum": 100, "lm": NOBODY}, {}],
)
@in_loop
async def test_nothing_is_optimized_where_that_is_not_wanted_or_there_is_no_model(
    database_url: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    async with working(database_url, tmp_path, **options) as worker:
        await worker.teach("ada", 40)
        assert (await worker.learning.take(good(1))).optimization is None
        assert await worker.states() == []


@in_loop
async def test_a_tier_given_by_hand_is_what_is_run(database_url: str, tmp_path: Path) -> None:
    async with working(
        database_url, tmp_path, lm=NOBODY, reoptimize_every=1, reoptimize_minimum=5
    ) as worker:
        await worker.teach("ada", 4)
        await worker.execute("UPDATE learner SET tier = 'advanced' WHERE user_id = 'ada'")
        (judged,) = await take(worker, good(1))
        assert judged.optimization is not None
        assert (await worker.row(judged.optimization)).tier == "advanced"


@in_loop
async def test_whoever_s_tier_optimizes_nothing_is_left_alone(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path, lm=NOBODY) as worker:
        await worker.teach("ada", 40)
        await worker.execute("UPDATE learner SET tier = 'none' WHERE user_id = 'ada'")
        assert (await worker.learning.take(good(1))).optimization is None
        (one,) = (await worker.examples_read.stats(Stats(user_id="ada"))).programs
        assert (one.tier, one.tier_by_hand, one.reoptimized_after) == ("basic", "none", None)


@in_loop
async def test_of_a_user_who_was_erased_nothing_is_left_by_what_was_said_before(
    database_url: str, tmp_path: Path
) -> None:
    await erased(database_url, "ada")
    late = good(1).model_copy(update={"id": made(BEFORE - timedelta(minutes=1))})
    async with working(database_url, tmp_path, lm=NOBODY) as worker:
        with pytest.raises(Refused, match="erased"):
            await worker.learning.take(late)
        for table in ("example", "learner", "optimization_job", "job"):
            assert await worker.execute(f"SELECT count(*) FROM {table}") == [0]


def _lesson(number: int) -> Feedback:
    text, label = (lessons(40)[number][name] for name in ("text", "label"))
    return Feedback(
        user_id="ada", program=PROGRAM, positive=True,
        inputs={"text": text}, outputs={"label": label},
    )  # fmt: skip
