"""A worker that exports and imports many programs does not hold them all."""

import asyncio
from functools import partial
from pathlib import Path

import psutil

from benchmarks.bundles import MIB, empty, fill, watched
from bespoke_client import Client, exports
from tests.conftest import StartWorker

PROGRAMS = 1_000
"""Some 30 MB as JSON, and several times as much as Python objects."""
MOST_MIB = 48


def test_a_worker_grows_little_by_many_programs(
    client: Client, start_worker: StartWorker, database_url: str, tmp_path: Path
) -> None:
    storage = {"BESPOKE_STORAGE_URL": tmp_path.as_uri()}
    worker = start_worker("exports", concurrency=1, pool="solo", env=storage)
    process = psutil.Process(worker.pid)
    grown = []
    for programs in (20, PROGRAMS):  # what it loads the first time is not what it keeps
        asyncio.run(fill(database_url, programs))
        exported, out = watched(process, partial(client.enqueue, exports.ExportPrograms()))
        asyncio.run(empty(database_url))
        payload = exports.ImportPrograms(url=exported.url)
        imported, back = watched(process, partial(client.enqueue, payload))
        asyncio.run(empty(database_url))
        assert imported.imported == exported.count == programs
        grown = [out[1] / MIB, back[1] / MIB]

    assert max(grown) < MOST_MIB, grown
