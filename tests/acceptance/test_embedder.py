"""A worker is restarted with another embedder, killed while it embeds anew, and started again."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bespoke_client import Client, memories
from bespoke_workers.memories.archived_vectors import PAGE
from tests.acceptance.held_back import ask
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS, wait_until

COUNT = 3 * PAGE
EMBEDDERS = """
import os, pathlib, time, zlib
import numpy as np

def embed(texts, dim):
    seeds = [zlib.crc32(text.lower().encode()) for text in texts]
    return np.stack([np.random.default_rng(seed).normal(size=dim) for seed in seeds])

def first(texts):
    return embed(texts, 64)

def second(texts):
    texts, asked = list(texts), pathlib.Path(os.environ["ASKED"])
    if len(texts) > 1:
        with asked.open("a") as file:
            file.writelines(f"{text}\\n" for text in texts)
        pages = len(asked.read_text().splitlines()) / len(texts)
        while os.environ["STUCK"] == "yes" and pages > 1:
            time.sleep(1)  # until it is killed
    return embed(texts, 96)
"""


def test_a_changed_setting_embeds_anew_once_and_serves_meanwhile(
    client: Client,
    start_worker: StartWorker,
    bespoke_env: dict[str, str],
    database_url: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "embedders.py").write_text(EMBEDDERS)
    asked = tmp_path / "asked"
    asked.touch()
    env = {"PYTHONPATH": str(tmp_path), "ASKED": str(asked), "STUCK": "yes"}
    # The compaction after the change would prune what no search has found yet.
    env["BESPOKE_LOW_ACCESS_THRESHOLD"] = "0"
    before = start_worker(env=env | {"BESPOKE_EMBEDDER": "embedders:first"})
    texts = [f"memory {number}" for number in range(COUNT)]
    said = [{"content": text} for text in texts]
    many = memories.StoreMany.model_validate({"user_id": "ada", "memories": said})
    assert client.enqueue(many).result(SECONDS).count == COUNT
    before.terminate()

    changed = env | {"BESPOKE_EMBEDDER": "embedders:second"}
    worker = start_worker(env=changed)
    assert dim(client) == 64
    assert nearest(client, "MEMORY 7") == "memory 7"  # asks for the change, too
    wait_until(lambda: len(asked.read_text().splitlines()) > PAGE, "a page is embedded anew")
    assert nearest(client, "MEMORY 8") == "memory 8"
    worker.kill_group()
    ask(database_url, "UPDATE reembedding SET lease_until = now()")

    start_worker(env=changed | {"STUCK": "no"})
    until = time.monotonic() + SECONDS
    while dim(client) != 96 and time.monotonic() < until:
        assert nearest(client, "MEMORY 9") == "memory 9"
        beat({**bespoke_env, **changed})
    assert dim(client) == 96
    assert nearest(client, "MEMORY 7") == "memory 7"
    times = Counter(asked.read_text().splitlines())
    assert times.keys() == set(texts)
    assert sum(times.values()) == COUNT + PAGE  # the page at which it was killed


def nearest(client: Client, query: str) -> str:
    found = client.enqueue(memories.Search(user_id="ada", query=query, limit=1)).result(SECONDS)
    (match,) = found.matches
    assert match.similarity == 1.0
    return match.memory.content


def dim(client: Client) -> int | None:
    return client.enqueue(memories.Stats(user_id="ada")).result(SECONDS).dim


def beat(env: Mapping[str, str]) -> None:
    """Send what beat sends every minute."""
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "bespoke_workers", "call", "bespoke.upkeep.reembed"],
        env=dict(env),
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
