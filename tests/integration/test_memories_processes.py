"""Eight worker processes at the same users: some serial order, no deadlock, no lock to embed."""

import asyncio
import multiprocessing
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bespoke_schemas.memories import Store, Stored
from bespoke_workers.memories import lexical
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.policy import Policy
from tests.integration.memory_workers import (
    LEXICAL,
    assert_sound,
    in_loop,
    query,
    remember,
    worker,
)
from tests.integration.test_memories_compaction import word

USERS = ("ada", "bob", "eve")
PROCESSES = 8
EACH = 15
POLICY = Policy(max_memories=12)

OPEN = """
    SELECT state, query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND application_name = 'bespoke' AND state <> 'idle'
    UNION ALL
    SELECT mode, CAST(relation AS text) FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND pid <> pg_backend_pid() AND pid IN
            (SELECT pid FROM pg_stat_activity WHERE application_name = 'bespoke')
"""


def payloads() -> list[list[Store]]:
    """Return what each process stores: a third of it is delivered to its neighbour as well."""
    drawn = random.Random(5)  # chooses texts, guards nothing
    texts = [word(number) for number in range(30)]
    own = [
        [Store(user_id=drawn.choice(USERS), content=drawn.choice(texts)) for _ in range(EACH)]
        for _ in range(PROCESSES)
    ]
    return [own[number] + own[number - 1][: EACH // 3] for number in range(PROCESSES)]


def store_all(url: str, jobs: list[Store]) -> list[Stored]:
    """Store what one process is given, one after the other."""

    async def run() -> list[Stored]:
        async with worker(url, POLICY) as memories:
            return [await memories.store(job) for job in jobs]

    return asyncio.run(run())


def test_eight_processes_store_for_three_users(database_url: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, not eight times
    given = payloads()
    with context.Pool(PROCESSES) as pool:
        results = pool.starmap(store_all, [(database_url, jobs) for jobs in given])

    stored: dict[Any, tuple[str, Stored]] = {}
    for jobs, answers in zip(given, results, strict=True):
        for job, answer in zip(jobs, answers, strict=True):
            assert stored.setdefault(job.id, (job.user_id, answer)) == (job.user_id, answer)
    assert len(stored) == PROCESSES * EACH
    counted: Counter[str] = Counter()
    for user, answer in stored.values():
        assert answer.count <= POLICY.max_memories
        counted[user] += (answer.outcome == "inserted") - answer.compaction.total_compacted

    async def check() -> None:
        assert len(await query(database_url, "SELECT id FROM job")) == len(stored)
        for user in USERS:
            await assert_sound(database_url, user, POLICY)
            sql = "SELECT count, version FROM memory_space WHERE user_id = :user"
            ((count, version),) = await query(database_url, sql, user=user)
            assert count == counted[user]
            # One version for each store: none of them was made on what another had changed.
            assert version == sum(owner == user for owner, _ in stored.values())

    asyncio.run(check())


@in_loop
async def test_no_transaction_is_open_while_a_text_is_embedded(database_url: str) -> None:
    seen: list[Any] = []

    def embed(texts: list[str]) -> NDArray[np.float32]:
        with ThreadPoolExecutor(1) as beside:  # the loop of this thread waits for the embedder
            seen.append(beside.submit(lambda: asyncio.run(query(database_url, OPEN))).result())
        return lexical.embed(texts)

    looking = Embedder(LEXICAL.name, LEXICAL.dim, LEXICAL.threshold, embed)
    async with worker(database_url, Policy(max_memories=4), looking) as memories:
        for number in range(6):  # a merge and a compaction are among them
            await remember(memories, "ada", word(number))
            await remember(memories, "ada", word(number).upper())
    assert seen == [[]] * 12
