"""Training examples: once, without repeats, of a program that there is, in their order."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.examples import Add, Added, AddMany
from bespoke_schemas.ids import uuid7
from bespoke_workers.errors import Refused
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, Worker, working


def lesson(number: int) -> dict[str, Any]:
    return {"text": f"message {number}", "label": "tray"}


def several(*numbers: int, user_id: str = "ada") -> AddMany:
    return AddMany(
        user_id=user_id, program=PROGRAM, examples=tuple(lesson(number) for number in numbers)
    )


async def learned(worker: Worker, user_id: str = "ada") -> list[dict[str, Any]]:
    async with worker.database.transaction() as session:
        return await worker.examples.for_training(session, user_id, PROGRAM)


@in_loop
async def test_examples_are_kept_in_the_order_of_adding(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        assert await worker.examples.add_many(several(3, 1, 2)) == Added(
            added=3, duplicates=0, total=3
        )
        one = Add(user_id="ada", program=PROGRAM, example=lesson(0))
        assert await worker.examples.add(one) == Added(added=1, duplicates=0, total=4)
        assert await learned(worker) == [lesson(number) for number in (3, 1, 2, 0)]
        assert await learned(worker, "bob") == []


@in_loop
async def test_a_repeat_is_not_added_whatever_the_order_of_its_fields(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        assert await worker.examples.add_many(several(1, 2, 1)) == Added(
            added=2, duplicates=1, total=2
        )
        swapped = {"label": "tray", "text": "message 2"}
        again = Add(user_id="ada", program=PROGRAM, example=swapped)
        assert await worker.examples.add(again) == Added(added=0, duplicates=1, total=2)
        assert await worker.examples.add_many(several(1, user_id="bob")) == Added(
            added=1, duplicates=0, total=1
        )


@in_loop
async def test_a_job_delivered_again_answers_as_before(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        payload = several(1, 2)
        first = await worker.examples.add_many(payload)
        await worker.examples.add_many(several(3))
        assert await worker.examples.add_many(payload) == first
        counted = await worker.execute("SELECT added_total FROM learner WHERE user_id = 'ada'")
        assert counted == [3]


@in_loop
async def test_adding_at_once_loses_and_repeats_nothing(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        jobs = [several(*range(start, start + 20)) for start in range(0, 100, 10)]
        added = await asyncio.gather(*(worker.examples.add_many(job) for job in jobs))
        assert sum(one.added for one in added) == 110
        assert max(one.total for one in added) == 110
        assert len(await learned(worker)) == 110
        positions = await worker.execute("SELECT position FROM example")
        assert len(set(positions)) == 110


@in_loop
async def test_thousands_are_one_transaction(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        added = await worker.examples.add_many(several(*range(10_000)))
        assert added.total == 10_000


@pytest.mark.parametrize(
    ("program", "example", "told"),
    [
        ("unheard", {"text": "m", "label": "t"}, "unknown program 'unheard'"),
        (PROGRAM, {"label": "t"}, "no field 'text', an input of 'support'"),
        (PROGRAM, {"text": "m"}, "only inputs of 'support'"),
    ],
)
@in_loop
async def test_what_is_of_no_use_is_refused_and_nothing_stored_half(
    database_url: str, tmp_path: Path, program: str, example: dict[str, Any], told: str
) -> None:
    async with working(database_url, tmp_path) as worker:
        payload = AddMany(user_id="ada", program=program, examples=(lesson(1), example), id=uuid7())
        with pytest.raises(Refused, match=told) as refused:
            await worker.examples.add_many(payload)
        assert "\n" not in str(refused.value)
        assert await learned(worker) == []
        assert await worker.execute("SELECT count(*) FROM job") == [0]
