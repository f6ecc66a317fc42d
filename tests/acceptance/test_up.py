"""``bespoke up`` on a machine with nothing: everything starts, works, and is gone after Ctrl-C."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bespoke_client import Client, memories
from tests.nodes import ports
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import SECONDS, wait_until, wait_until_gone


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has set nothing but a home of their own."""
    return {
        **os.environ,
        "BESPOKE_HOME": str(tmp_path / "bespoke"),
        "BESPOKE_FLOWER_PORT": str(ports.reserved()),
        "PYTHONUNBUFFERED": "1",
    }


def test_up_serves_jobs_and_leaves_nothing_running_after_ctrl_c(machine: dict[str, str]) -> None:
    up = ProcessContainer(
        "bespoke up",
        [sys.executable, "-m", "bespoke_workers.cli", "up"],
        environment=machine,
    )
    try:
        up.start()
        up.wait_for_log("ready", SECONDS)
        family = [psutil.Process(up.pid), *up.children()]
        seen = _bespoke(machine, "status", "--json")
        assert seen.returncode == 0, seen.stderr
        assert json.loads(seen.stdout)["ok"] is True
        address = json.loads((Path(machine["BESPOKE_HOME"]) / "stack.json").read_text())
        with Client(address["broker_url"]) as client:
            job = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode"))
            assert job.result(SECONDS).count == 1
            _kill_a_worker(family)
            again = client.enqueue(memories.Store(user_id="ada", content="Lives in Turin"))
            assert again.result(SECONDS).count == 2
            for name in ("postgres", "redis"):
                _kill_a_server(Path(machine["BESPOKE_HOME"]) / name)
            up.wait_for_log("Redis died and was started again", SECONDS)
            after_all = client.enqueue(memories.Store(user_id="ada", content="Has a black cat"))
            assert after_all.result(SECONDS).count == 3
        family += up.children()
        up.kill("SIGINT")
        assert up.wait(SECONDS) == 0
        wait_until_gone(family)
    finally:
        up.teardown()
    after = _bespoke(machine, "status")
    assert after.returncode == 1
    assert "bespoke up" in after.stdout


def test_a_killed_up_leaves_nothing_running(machine: dict[str, str]) -> None:
    up = ProcessContainer(
        "bespoke up",
        [sys.executable, "-m", "bespoke_workers.cli", "up", "--no-flower", "--no-beat"],
        environment=machine,
    )
    try:
        up.start()
        up.wait_for_log("ready", SECONDS)
        family = up.children()
        up.kill()
        wait_until_gone(family, SECONDS)
    finally:
        up.teardown()


def _kill_a_worker(family: list[psutil.Process]) -> None:
    (main,) = (one for one in family if "-nmemories-1" in one.cmdline())
    main.kill()
    wait_until(lambda: not main.is_running() or main.status() == "zombie", "the worker is dead")


def _kill_a_server(directory: Path) -> None:
    pid, _ = json.loads((directory / "server.pid").read_text())
    psutil.Process(pid).kill()


def _bespoke(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bespoke_workers.cli", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS)
