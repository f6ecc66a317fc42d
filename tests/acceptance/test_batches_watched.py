"""`bespoke batches …`: a batch is asked for, listed, shown and followed to its end."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from bespoke_client import Client, examples
from tests.acceptance.commands import Bespoke
from tests.acceptance.held_back import ask
from tests.acceptance.test_cli_payloads import in_terminal
from tests.conftest import StartWorker
from tests.integration.batches import batch
from tests.integration.databases import opened
from tests.nodes.waiting import SECONDS, wait_until

NAME = "yolanda"
"""Nothing that an id could contain."""


@pytest.fixture
def bespoke(tmp_path: Path, bespoke_env: dict[str, str]) -> Bespoke:
    made = Bespoke(tmp_path)
    made.env = bespoke_env
    return made


def known(bespoke: Bespoke, *batch_ids: str) -> None:
    """Return once workers have begun to plan batches, for which nobody waits long."""
    rows = "SELECT count(*) FROM batch WHERE CAST(id AS text) = ANY ($1)"
    url = bespoke.env["BESPOKE_DATABASE_URL"]
    wait_until(lambda: ask(url, rows, list(batch_ids)) == len(batch_ids), "the batches are known")


def test_a_batch_is_listed_shown_and_followed_to_its_end(
    bespoke: Bespoke, client: Client, start_worker: StartWorker, learning_env: dict[str, str]
) -> None:
    start_worker("programs,optimization,reads", env=learning_env)
    lessons = tuple({"text": f"lost {n}", "label": "lost"} for n in range(12))
    for user in (NAME, "bob"):
        taught = examples.AddMany(user_id=user, program="support", examples=lessons)
        client.enqueue(taught).result(SECONDS)
    batch_id = bespoke("batches", "optimize-tier", "support", "basic", "--no-wait").stdout.strip()

    known(bespoke, batch_id)

    code, out, told = in_terminal(bespoke.env, "batches", "watch", batch_id)

    assert code == 0
    assert "of 2" in told
    assert {"batch state": "done", "batch users": "2", "batch failed": "0"}.items() <= {
        line.rsplit(None, 1)[0].strip(): line.rsplit(None, 1)[1] for line in out.splitlines()
    }.items()
    lines_told = bespoke("batches", "watch", batch_id, "--json").stdout.splitlines()
    assert json.loads(lines_told[-1])["batch"]["state"] == "done"
    listed = json.loads(bespoke("batches", "list", "--json").stdout)["batches"]
    shown = json.loads(bespoke("batches", "show", batch_id, "--json").stdout)
    assert listed == [shown["batch"]]
    assert NAME not in json.dumps(shown)


def test_a_batch_is_paused_and_goes_on_through_the_queue(
    bespoke: Bespoke, start_worker: StartWorker, learning_env: dict[str, str]
) -> None:
    start_worker("optimization,reads,upkeep", env=learning_env)
    batch_id = asyncio.run(_running(bespoke.env["BESPOKE_DATABASE_URL"]))
    paused = json.loads(bespoke("batches", "pause", batch_id, "--json").stdout)
    assert paused["paused"] is True
    assert (
        json.loads(bespoke("batches", "list", "--json").stdout)["batches"][0]["state"] == "paused"
    )

    resumed = json.loads(bespoke("batches", "resume", batch_id, "--json").stdout)

    assert resumed["resumed"] is True
    ended = bespoke("batches", "watch", batch_id, "--json").stdout.splitlines()[-1]
    assert json.loads(ended)["runs"] == {"succeeded": 1}  # with no example, nothing is tried
    begun = json.loads(bespoke("batches", "optimize-all", "support", "--json").stdout)["batches"]
    known(bespoke, *(each["batch_id"] for each in begun))
    for each in begun:
        last = bespoke("batches", "watch", each["batch_id"], "--json").stdout.splitlines()[-1]
        assert json.loads(last)["batch"]["tier"] == each["tier"]


def test_ctrl_c_leaves_a_batch_running(bespoke: Bespoke, start_worker: StartWorker) -> None:
    start_worker("reads")
    line = bespoke.refused("batches", "watch", str(uuid4()), code=1)
    assert line.startswith("no batch ")
    batch_id = asyncio.run(_running(bespoke.env["BESPOKE_DATABASE_URL"]))
    command = [sys.executable, "-m", "bespoke_workers.cli", "batches", "watch", batch_id, "--json"]
    with subprocess.Popen(
        command, env=bespoke.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["runs"] == {"planned": 1}
        watching.send_signal(signal.SIGINT)
        _, told = watching.communicate(timeout=SECONDS)
    assert watching.returncode == 130
    assert told.startswith(f"bespoke: job {batch_id} goes on")


async def _running(url: str) -> str:
    """Write a batch that nobody runs."""
    async with opened(url) as database:
        return str(await batch(database, [("planned", None)]))
