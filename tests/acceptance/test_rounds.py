"""Compaction of everybody, from the client through the queue, while workers die."""

import asyncio

from bespoke_client import Client, memories
from bespoke_schemas.memories import SetPolicy
from tests.acceptance.held_back import QUICK, HeldBack, ask
from tests.conftest import StartWorker
from tests.integration.memory_workers import remember, worker
from tests.nodes.waiting import SECONDS, wait_until

USERS = 250
QUEUES = "memories,upkeep"


async def store(database_url: str) -> None:
    """Let many users store two things each, and allow them one."""
    async with worker(database_url) as here:
        for number in range(USERS):
            user_id = f"user-{number:03}"
            for content in ("Has a black cat", "Likes green tea"):
                await remember(here, user_id, content)
            await here.set_policy(SetPolicy(user_id=user_id, max_memories=1))


def test_everybody_is_compacted_once_though_a_worker_is_killed(
    client: Client, start_worker: StartWorker, database_url: str
) -> None:
    asyncio.run(store(database_url))
    first = start_worker(QUEUES, env=QUICK)
    with HeldBack(database_url, "memory") as table:
        job = client.enqueue(memories.Compact(force=True))
        wait_until(table.waiting, "users are compacted")
        first.kill_group()
    start_worker(QUEUES, env=QUICK)
    answer = job.result(SECONDS)
    assert answer.round is not None
    assert (answer.round.users, answer.round.failed, answer.round.errors) == (USERS, 0, {})
    assert answer.total_compacted == 2 * USERS  # of one memory, 80 % are none
    assert ask(database_url, "SELECT count(*) FROM memory") == 0
    assert ask(database_url, "SELECT count(*) FROM memory_archive") == 2 * USERS
    assert ask(database_url, "SELECT count(*) FROM compaction_run") == USERS
