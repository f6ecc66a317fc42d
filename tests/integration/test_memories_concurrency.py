"""Several workers at the same users at once: the result is that of some order of theirs."""

import asyncio
import random

from bespoke_schemas.memories import Count, Search
from bespoke_workers.memories import statements
from bespoke_workers.memories.policy import Policy
from tests.integration.memory_workers import (
    START,
    assert_sound,
    in_loop,
    opened,
    query,
    remember,
    workers,
)
from tests.integration.test_memories_compaction import word

USERS = ("ada", "bob", "eve")


@in_loop
async def test_two_workers_in_turn_see_what_the_other_stored(database_url: str) -> None:
    async with workers(database_url, 2) as several:
        for number in range(40):
            stored = await remember(several[number % 2], "ada", word(number))
            assert (stored.outcome, stored.count) == ("inserted", number + 1)
            again = await remember(several[(number + 1) % 2], "ada", word(number).upper())
            assert (again.outcome, again.count) == ("merged", number + 1)
            assert again.merged_with == stored.memory_id
        await assert_sound(database_url, "ada")


@in_loop
async def test_eight_workers_store_for_three_users(database_url: str) -> None:
    policy = Policy(max_memories=15)
    texts = [word(number) for number in range(40)]
    async with workers(database_url, 8, policy) as several:

        async def work(number: int) -> dict[str, int]:
            drawn = random.Random(number)  # chooses texts, guards nothing
            inserted = dict.fromkeys(USERS, 0)
            for _ in range(20):
                user, content = drawn.choice(USERS), drawn.choice(texts)
                stored = await remember(several[number], user, content)
                assert stored.count <= 15
                inserted[user] += stored.outcome == "inserted"
                inserted[user] -= stored.compaction.total_compacted
            return inserted

        counted = await asyncio.gather(*(work(number) for number in range(8)))
        for user in USERS:
            await assert_sound(database_url, user, policy)
            count = (await several[0].count(Count(user_id=user))).count
            assert count == sum(one[user] for one in counted)
    jobs = await query(database_url, "SELECT user_id FROM job")
    assert len(jobs) == 8 * 20


@in_loop
async def test_many_first_stores_of_a_user_make_one_space(database_url: str) -> None:
    async with workers(database_url, 8) as several:
        stored = await asyncio.gather(
            *(remember(each, "ada", "Prefers dark mode") for each in several)
        )
        assert [one.outcome for one in stored].count("inserted") == 1
        assert {one.count for one in stored} == {1}
        await assert_sound(database_url, "ada")


@in_loop
async def test_searches_at_once_count_each_access_while_stores_go_on(database_url: str) -> None:
    async with workers(database_url, 6) as several:
        sought = [await remember(several[0], "ada", word(number)) for number in range(3)]

        async def search(number: int, times: int = 10) -> None:
            for _ in range(times):
                found = await several[number].search(
                    Search(user_id="ada", query=word(number % 3), limit=1)
                )
                assert found.matches[0].memory.id == sought[number % 3].memory_id

        async def store(number: int) -> None:
            for each in range(15):
                await remember(several[number], "ada", word(100 * (number + 1) + each))

        for number in range(3):  # or relevance could prune one that nobody had sought yet
            await search(number, times=1)
        await asyncio.gather(*map(search, range(6)), *map(store, range(6)))
        await assert_sound(database_url, "ada")
    rows = await query(database_url, "SELECT access_count FROM memory WHERE access_count > 0")
    assert [row.access_count for row in rows] == [21, 21, 21]


@in_loop
async def test_an_access_counted_while_a_merge_waits_decides_which_is_kept(
    database_url: str,
) -> None:
    waiting = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with workers(database_url, 1) as (memories,), opened(database_url) as searching:
        first = await remember(memories, "ada", "Prefers dark mode")
        parameters = {"user_id": "ada", "version": 1, "ids": [first.memory_id], "now": START}
        async with searching.direct_transaction() as connection:
            await connection.execute(statements.COUNT_ACCESSES, parameters)
            raised = {"user_id": "ada", "most_accessed": 1, "low_access_threshold": "0.1"}
            await connection.execute(statements.RAISE_MOST_ACCESSED, raised)
            storing = asyncio.create_task(remember(memories, "ada", "prefers dark mode"))
            while not await query(database_url, waiting):
                assert not storing.done()
        stored = await storing
        assert (stored.outcome, stored.memory_id) == ("merged", first.memory_id)
        await assert_sound(database_url, "ada")
