"""Training examples: once, without repeats, of a program that there is, in their order."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.examples import Add, Added, AddMany, Clear, Cleared, List, Stats
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


def page(**options: Any) -> List:
    return List(user_id="ada", program=PROGRAM, **options)


async def learned(worker: Worker, user_id: str = "ada") -> list[dict[str, Any]]:
    async with worker.database.direct() as connection:
        return await worker.examples.for_training(connection, user_id, PROGRAM)


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
    async with working(database_url, tmp_path, max_examples=10_000) as worker:
        added = await worker.examples.add_many(several(*range(10_000)))
        assert added.total == 10_000


@in_loop
async def test_the_oldest_go_where_a_user_has_too_many(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path, max_examples=5) as worker:
        await worker.examples.add_many(several(*range(4), user_id="bob"))
        assert await worker.examples.add_many(several(*range(4))) == Added(
            added=4, duplicates=0, total=4
        )
        assert await worker.examples.add_many(several(3, 4, 5, 6)) == Added(
            added=3, duplicates=1, total=5, removed=2
        )
        assert await learned(worker) == [lesson(number) for number in (2, 3, 4, 5, 6)]
        assert await worker.examples.add_many(several(*range(10, 22))) == Added(
            added=12, duplicates=0, total=5, removed=12
        )
        assert await learned(worker) == [lesson(number) for number in range(17, 22)]
        assert len(await learned(worker, "bob")) == 4


@in_loop
async def test_a_lower_bound_holds_from_the_next_example_on(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        await worker.examples.add_many(several(*range(8)))
    async with working(database_url, tmp_path, max_examples=3) as worker:
        added = await worker.examples.add_many(several(7))
        assert added == Added(added=0, duplicates=1, total=3, removed=5)


@in_loop
async def test_adding_at_once_keeps_to_the_bound(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path, max_examples=30) as worker:
        jobs = [several(*range(start, start + 20)) for start in range(0, 200, 20)]
        added = await asyncio.gather(*(worker.examples.add_many(job) for job in jobs))
        assert max(one.total for one in added) == 30
        assert len(await learned(worker)) == 30
        assert await worker.execute("SELECT example_count FROM learner") == [30]


@in_loop
async def test_pages_are_in_order_and_miss_nothing_while_examples_come_and_go(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path, max_examples=7) as worker:
        await worker.examples.add_many(several(*range(7)))
        await worker.examples.add_many(several(1, 2, user_id="bob"))
        first = await worker.examples_read.list(page(limit=3))
        await worker.examples.add_many(several(7, 8))  # the oldest two go
        second = await worker.examples_read.list(page(limit=3, after=first.next))
        last = await worker.examples_read.list(page(limit=3, after=second.next))
        read = [one.fields for found in (first, second, last) for one in found.examples]
        assert read == [lesson(number) for number in range(9)]
        assert (first.total, last.next) == (7, None)
        nobody = await worker.examples_read.list(List(user_id="eve", program=PROGRAM))
        assert (nobody.examples, nobody.total, nobody.next) == ((), 0, None)


@in_loop
async def test_clearing_one_program_or_all_leaves_others_and_what_was_counted(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        await worker.examples.add_many(several(1, 2, 3))
        await worker.examples.add_many(several(1, user_id="bob"))
        clear = Clear(user_id="ada", program=PROGRAM)
        assert await worker.examples.clear(Clear(user_id="ada", program="other")) == Cleared(
            removed=0
        )
        assert await worker.examples.clear(clear) == Cleared(removed=3)
        await worker.examples.add_many(several(1, 4))
        assert await worker.examples.clear(clear) == Cleared(removed=3)  # the same job: no effect
        (told,) = (await worker.examples_read.stats(Stats(user_id="ada"))).programs
        assert (told.examples, told.added_total, told.new) == (2, 5, 2)
        listed = await worker.examples_read.list(page())
        assert [one.position for one in listed.examples] == [3, 4]
        assert await worker.examples.clear(Clear(user_id="ada")) == Cleared(removed=2)
        assert len(await learned(worker, "bob")) == 1


@in_loop
async def test_a_beginner_is_told_of_in_numbers_too(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        assert (await worker.examples_read.stats(Stats(user_id="ada"))).programs == ()
        asked = Stats(user_id="ada", program=PROGRAM)
        (told,) = (await worker.examples_read.stats(asked)).programs
        assert (told.examples, told.tier, told.inputs) == (0, "none", ("text",))
        assert told.reoptimized_after == 10
        with pytest.raises(Refused, match="unknown program 'unheard'"):
            await worker.examples_read.stats(Stats(user_id="ada", program="unheard"))
        assert await worker.execute("SELECT count(*) FROM learner") == [0]


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
