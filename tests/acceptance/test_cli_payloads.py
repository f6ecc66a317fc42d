"""`bespoke memories …` and the like: payloads through the queue to real workers, and back."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis

from examples.support_desk.standin_lm import standin_process
from tests.acceptance.commands import PASSWORD, Bespoke
from tests.conftest import StartWorker
from tests.nodes.waiting import SECONDS, wait_until

SECRET = "sleeps badly since the divorce"


@pytest.fixture
def bespoke(tmp_path: Path, bespoke_env: dict[str, str]) -> Bespoke:
    made = Bespoke(tmp_path)
    made.env = bespoke_env
    return made


@pytest.fixture
def slow_lm() -> Iterator[str]:
    """The URL of a stand-in with which each step lasts longer than a look at how far a run is."""
    with standin_process(timedelta(seconds=0.5)) as url:
        yield url


def in_terminal(env: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run a command whose standard error is a terminal; its exit code and what it printed."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "bespoke_workers.cli", *arguments]
    process = subprocess.Popen(
        command, env={**env, "COLUMNS": "120"}, stdout=subprocess.PIPE, stderr=end, text=True
    )
    os.close(end)
    told = b""
    try:
        while chunk := os.read(terminal, 65_536):
            told += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
    out, _ = process.communicate(timeout=SECONDS)
    return process.returncode, out, told.decode(errors="replace")


def test_memories_are_stored_found_and_cleared(
    bespoke: Bespoke, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("memories,reads,exports,upkeep")
    stored = bespoke("memories", "store", "ada", SECRET, "--tag", "health", "--json")
    assert (stored.returncode, stored.stderr) == (0, "")
    memory_id = json.loads(stored.stdout)["memory_id"]

    listed = bespoke("memories", "list", "ada", "--tag", "health")
    head, row, total = listed.stdout.splitlines()
    assert head.split()[:2] == ["id", "content"]
    assert row.startswith(f"{memory_id}  {SECRET}  fact")
    assert total.split() == ["total", "1"]
    assert "\x1b" not in listed.stdout

    answer = tmp_path / "answer.json"
    written = bespoke("memories", "search", "ada", "divorce", "-o", str(answer))
    assert written.stdout == ""
    assert answer.stat().st_mode & 0o777 == 0o600
    (match,) = json.loads(answer.read_text())["matches"]
    assert match["memory"]["id"] == memory_id

    job_id = bespoke("memories", "export", "ada", "--no-wait").stdout.strip()
    watched = bespoke("jobs", "watch", str(UUID(job_id)), "--json")
    assert json.loads(watched.stdout)["count"] == 1

    again = str(uuid4())
    for _ in range(2):
        done = bespoke("memories", "clear", "ada", "--yes", "--id", again)
        assert done.stdout.split() == ["removed", "count", "1"]
    assert SECRET not in worker.logs()


def test_a_refusal_is_one_line_with_the_reason(bespoke: Bespoke, start_worker: StartWorker) -> None:
    start_worker("programs,exports")

    line = bespoke.refused("examples", "add", "ada", "nowhere", '{"a": "b"}', code=1)
    assert line.startswith("unknown program 'nowhere'; registered: ")
    assert bespoke.refused("exports", "import-programs", "gone.gz", code=1).startswith("no bundle")
    loaded = bespoke("programs", "load", str(uuid4()), "--json")
    assert (loaded.returncode, json.loads(loaded.stdout)["version"]) == (0, None)


def test_an_optimization_is_followed_by_a_bar(
    bespoke: Bespoke,
    start_worker: StartWorker,
    learning_env: dict[str, str],
    slow_lm: str,
    tmp_path: Path,
) -> None:
    start_worker("programs,optimization", env={**learning_env, "BESPOKE_LM_API_BASE": slow_lm})
    lines = tmp_path / "examples.jsonl"
    labels = [("Where is my parcel?", "lost"), ("I was charged twice", "money")]
    lines.write_text(
        "".join(
            json.dumps({"text": f"{text} ({number})", "label": label}) + "\n"
            for number in range(8)
            for text, label in labels
        )
    )
    added = bespoke("examples", "add-many", "ada", "support", "--from", str(lines), "--json")
    assert json.loads(added.stdout)["added"] == 16

    code, out, told = in_terminal(bespoke.env, "optimize", "ada", "support", "--json")

    assert code == 0
    optimized = json.loads(out)
    assert (optimized["user_id"], optimized["tier"]) == ("ada", "basic")
    assert re.search(r"\d/16", told)  # of so few examples, each is held out once
    assert "\x1b" in told


def test_ctrl_c_leaves_the_job_to_the_workers(
    bespoke: Bespoke, start_worker: StartWorker, broker_url: str
) -> None:
    command = [sys.executable, "-m", "bespoke_workers.cli", "programs", "load", str(uuid4())]
    waiting = subprocess.Popen(
        command, env=bespoke.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with redis.Redis.from_url(broker_url) as client:
        wait_until(lambda: client.llen("programs"), "the job is in its queue")
    waiting.send_signal(signal.SIGINT)
    out, told = waiting.communicate(timeout=SECONDS)

    assert (waiting.returncode, out) == (130, "")
    (line,) = told.splitlines()
    job_id = line.removeprefix("bespoke: job ").partition(" ")[0]
    assert f"`bespoke jobs watch {job_id}`" in line
    start_worker("programs")
    watched = bespoke("jobs", "watch", job_id)
    assert (watched.returncode, watched.stdout.split()[:2]) == (0, ["version", "-"])


def test_a_job_that_no_worker_takes_is_not_waited_for(bespoke: Bespoke) -> None:
    line = bespoke.refused("programs", "load", str(uuid4()), code=1)

    assert line.startswith("no worker consumes 'programs'; run `bespoke worker` (job ")
    assert bespoke.refused("memories", "count", "ada", "--timeout", "0.5", code=1).startswith(
        "no answer in 0.5 s; job "
    )


def test_without_redis_nothing_is_asked(bespoke: Bespoke) -> None:
    away = {"BESPOKE_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0", "BESPOKE_RESULT_URL": ""}

    for command in (["memories", "count", "ada"], ["jobs", "watch", str(uuid4())]):
        line = bespoke.refused(*command, env=away, code=1)
        assert line.startswith("BESPOKE_BROKER_URL: Redis cannot be reached (ConnectionError);")
