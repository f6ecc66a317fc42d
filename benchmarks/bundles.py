"""What a worker process grows by while it exports and imports many programs, and how long it takes.

A worker of the exports, as `bespoke worker` runs it, writes a bundle of programs whose states
have demos of some size, and reads it into an empty table. It has done both in the small before.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import asyncpg
import psutil

from benchmarks.bench import Figure, Servers, servers
from bespoke_client import Client, Job, exports
from bespoke_schemas.payload import Result
from bespoke_workers.configuration import EXPORT_SECONDS

PROGRAMS = 10_000
WARM = 50
STATES = 200
"""Different states; each is that of every 200th program."""
STATE_CHARS = 30_000
ASKED_MIB = 64.0
LOOK_SECONDS = 0.02
MIB = 2**20

R = TypeVar("R", bound=Result)


def measure(programs: int = PROGRAMS) -> Iterator[Figure]:
    """Yield the figures."""
    with servers() as running, running.ready(running.worker("exports")) as (worker,):
        process = psutil.Process(worker.pid)
        with Client(running.redis.url) as client:
            asyncio.run(fill(running.postgres.url, WARM))
            _round_trip(running, client, process)
            asyncio.run(fill(running.postgres.url, programs))
            yield from _figures(running, client, process, programs)


def _figures(
    running: Servers, client: Client, process: psutil.Process, programs: int
) -> Iterator[Figure]:
    size, out, back = _round_trip(running, client, process)
    name = f"{programs:,} programs"
    yield Figure(f"bundle of {name}", size / MIB, "MiB")
    for verb, (seconds, growth) in (("export", out), ("import", back)):
        yield Figure(f"{verb} of {name}, growth", growth / MIB, "MiB", ASKED_MIB, at_most=True)
        yield Figure(f"{verb} of {name}", seconds, "s", EXPORT_SECONDS / 4, at_most=True)


def _round_trip(
    running: Servers, client: Client, process: psutil.Process
) -> tuple[int, tuple[float, int], tuple[float, int]]:
    """Export all, empty the table and import; return the size, and seconds and growth of each."""
    exported, out = watched(process, lambda: client.enqueue(exports.ExportPrograms()))
    asyncio.run(empty(running.postgres.url))
    payload = exports.ImportPrograms(url=exported.url)
    imported, back = watched(process, lambda: client.enqueue(payload))
    assert imported.imported == exported.count
    asyncio.run(empty(running.postgres.url))
    return exported.size_bytes, out, back


def watched(
    process: psutil.Process, enqueue: Callable[[], "Job[R]"]
) -> tuple[R, tuple[float, int]]:
    """Run a job; return its result, its seconds and the bytes that the process grew by."""
    before = most = process.memory_info().rss
    started = time.monotonic()
    job = enqueue()
    while not job.status().final:
        most = max(most, process.memory_info().rss)
        time.sleep(LOOK_SECONDS)
    return job.result(timeout=10), (time.monotonic() - started, most - before)


async def fill(url: str, programs: int) -> None:
    """Insert versions of as many users, each in use, whose states have long demos."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS some_state (n int, state jsonb)")
        await connection.execute("TRUNCATE some_state")
        rows = [(number, json.dumps(state(number))) for number in range(STATES)]
        await connection.executemany("INSERT INTO some_state VALUES ($1, $2)", rows)
        await connection.execute(
            """
            INSERT INTO program_version (id, user_id, program, signature, optimizer, score, state,
                optimization_result, tags, description, meta, fingerprint, size_bytes, saved_at)
            SELECT gen_random_uuid(), 'user ' || number, 'support', 'text -> label', 'MIPROv2', 0.5,
                state, '{"trials": 3}', '{}', '', '{}', 'predict(text: str -> label: str)', 30000,
                now()
            FROM generate_series(1, $1::int) AS number (number)
            JOIN some_state ON some_state.n = number % $2::int
            """,
            *(programs, STATES),
        )
    finally:
        await connection.close()


async def empty(url: str) -> None:
    """Remove all versions."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute("TRUNCATE program_version CASCADE")
    finally:
        await connection.close()


def state(seed: int) -> dict[str, object]:
    """Return a state of one predictor with demos of some tens of thousands of characters."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=6)) for _ in range(2_000)]
    demos = [
        {"text": " ".join(chance.choices(words, k=120)), "label": chance.choice(words)}
        for _ in range(STATE_CHARS // (120 * 7))
    ]
    fields = [{"prefix": f"{name}:", "description": name} for name in ("Text", "Label")]
    return {"self": {"demos": demos, "signature": {"instructions": "Do.", "fields": fields}}}
