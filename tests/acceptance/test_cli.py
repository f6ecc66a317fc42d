"""The `bespoke` command: its answers, its exit codes, and one line for what is wrong."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bespoke_schemas.queues import Queue
from bespoke_workers import __version__
from bespoke_workers.database import migrate
from tests.acceptance.commands import PASSWORD, Bespoke
from tests.nodes.process import ProcessContainer

COMMANDS = ("worker", "beat", "flower")


@pytest.fixture
def bespoke(tmp_path: Path) -> Bespoke:
    return Bespoke(tmp_path)


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


def test_help_lists_the_commands(bespoke: Bespoke) -> None:
    done = bespoke("--help")

    assert done.returncode == 0
    for command in ("up", "status", "worker", "beat", "flower", "migrate", "report"):
        assert f"\n  {command} " in done.stdout


def test_the_version_is_told(bespoke: Bespoke) -> None:
    assert bespoke("--version").stdout == f"bespoke, version {__version__}\n"


def test_an_unknown_command_is_a_wrong_command_line(bespoke: Bespoke) -> None:
    assert bespoke("frobnicate").returncode == 2


def test_an_empty_database_is_migrated_once(bespoke: Bespoke, empty_database_url: str) -> None:
    env = {"BESPOKE_DATABASE_URL": empty_database_url}

    first, second = bespoke("migrate", env=env), bespoke("migrate", env=env)

    assert (first.returncode, first.stdout) == (0, f"migrated from None to {migrate.head()}\n")
    assert (second.returncode, second.stdout) == (0, f"at {migrate.head()} already\n")


def test_status_with_nothing_configured_tells_what_to_do(bespoke: Bespoke) -> None:
    done = bespoke("status")

    assert done.returncode == 1
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert [line.split()[1] for line in problems] == ["BESPOKE_BROKER_URL", "BESPOKE_DATABASE_URL"]
    assert all("run `bespoke up`" in line for line in problems)
    assert done.stdout.endswith("not well\n")


def test_status_for_machines_is_json(bespoke: Bespoke) -> None:
    done = bespoke("status", "--json")

    assert done.returncode == 1
    seen = json.loads(done.stdout)
    assert set(seen) == {"ok", "problems", "workers", "busy", "queues"}
    assert seen["ok"] is False
    assert len(seen["problems"]) == 2


def test_status_without_workers_names_the_queues_that_nobody_serves(
    bespoke: Bespoke, bespoke_env: dict[str, str]
) -> None:
    done = bespoke("status", "--json", env=bespoke_env)

    assert done.returncode == 1
    seen = json.loads(done.stdout)
    assert seen["queues"] == dict.fromkeys(Queue, 0)
    assert seen["workers"] == {}
    (problem,) = seen["problems"]
    assert problem.startswith("no worker consumes: memories, reads, programs,")


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_broker_no_process_starts(bespoke: Bespoke, command: str) -> None:
    line = bespoke.refused(command)

    assert line.startswith("BESPOKE_BROKER_URL is not set and no local stack runs; set it to")
    assert line.endswith("or run `bespoke up`")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broker_of_another_kind_is_refused(bespoke: Bespoke, command: str) -> None:
    line = bespoke.refused(command, env={"BESPOKE_BROKER_URL": f"amqp://a:{PASSWORD}@127.0.0.1"})

    assert line.startswith("BESPOKE_BROKER_URL: got a URL of scheme 'amqp', expected one of redis")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_password_of_the_broker_is_refused(
    bespoke: Bespoke, broker_url: str, command: str
) -> None:
    right = str(urlsplit(broker_url).password)
    url = broker_url.replace(right, PASSWORD)

    assert bespoke.refused(command, env={"BESPOKE_BROKER_URL": url}) == (
        "BESPOKE_BROKER_URL: Redis refused the password; correct it"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broker_that_is_away_is_a_failure_and_no_wrong_setting(
    bespoke: Bespoke, closed_port: int, command: str
) -> None:
    env = {"BESPOKE_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{closed_port}/0"}

    line = bespoke.refused(command, env=env, code=1)

    assert line.startswith("BESPOKE_BROKER_URL: Redis cannot be reached (ConnectionError);")


def test_a_wrong_result_backend_is_named_as_such(
    bespoke: Bespoke, broker_url: str, closed_port: int
) -> None:
    env = {"BESPOKE_BROKER_URL": broker_url}
    away = {**env, "BESPOKE_RESULT_URL": f"redis://127.0.0.1:{closed_port}/0"}
    wrong = {**env, "BESPOKE_RESULT_URL": "file:///tmp/results"}

    assert bespoke.refused("worker", env=away, code=1).startswith("BESPOKE_RESULT_URL: Redis")
    assert bespoke.refused("worker", env=wrong).startswith("BESPOKE_RESULT_URL: got a URL of")


@pytest.mark.parametrize("command", ["worker", "migrate"])
def test_without_a_database_nothing_is_done(
    bespoke: Bespoke, broker_url: str, command: str
) -> None:
    line = bespoke.refused(command, env={"BESPOKE_BROKER_URL": broker_url})

    assert line.startswith("BESPOKE_DATABASE_URL is not set and no local stack runs; set it to")


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        (f"postgresql://a:{PASSWORD}@127.0.0.1/db", 2, "got a URL of scheme 'postgresql'"),
        (f"postgresql+asyncpg://a:{PASSWORD}@127.0.0.1/db?sslmode=require", 2, "'sslmode'"),
        (f"postgresql+asyncpg://a:{PASSWORD}@127.0.0.1:PORT/db", 1, "cannot be reached"),
    ],
    ids=["scheme", "parameter", "away"],
)
def test_a_database_url_that_cannot_be_used_is_one_line(
    bespoke: Bespoke, closed_port: int, url: str, code: int, told: str
) -> None:
    env = {"BESPOKE_DATABASE_URL": url.replace("PORT", str(closed_port))}

    line = bespoke.refused("migrate", env=env, code=code)

    assert line.startswith("BESPOKE_DATABASE_URL: ")
    assert told in line


def test_a_database_that_is_not_there_is_named_as_such(bespoke: Bespoke, database_url: str) -> None:
    url = database_url.replace("/test_", "/nowhere_")

    assert bespoke.refused("migrate", env={"BESPOKE_DATABASE_URL": url}) == (
        "BESPOKE_DATABASE_URL: no such database on that server; create it or correct the name"
    )


def test_a_worker_does_not_start_on_an_unmigrated_database(
    bespoke: Bespoke, bespoke_env: dict[str, str], empty_database_url: str
) -> None:
    env = {**bespoke_env, "BESPOKE_DATABASE_URL": empty_database_url}

    line = bespoke.refused("worker", env=env)

    assert line.startswith("the database is at revision None, this version needs")
    assert line.endswith("run `bespoke migrate`")


@pytest.mark.parametrize("option", ["--queues", "--exclude"])
def test_an_unknown_queue_is_named_with_those_that_exist(bespoke: Bespoke, option: str) -> None:
    line = bespoke.refused("worker", option, "reads,memoires")

    assert line == (
        f"{option}: no queue is called 'memoires'; known: "
        "memories,reads,programs,optimization,finetuning,exports,upkeep"
    )


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAX_MEMORIES", "many", "valid integer"),
        ("TIMEZONE", "Mars/Olympus", "no such time zone: 'Mars/Olympus'"),
    ],
)
def test_a_setting_that_is_wrong_in_itself_is_refused(
    bespoke: Bespoke, name: str, value: str, told: str
) -> None:
    line = bespoke.refused("status", env={f"BESPOKE_{name}": value})

    assert line.startswith(f"BESPOKE_{name}: ")
    assert told in line


def test_beat_needs_a_home_that_can_be_made(
    bespoke: Bespoke, broker_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    env = {"BESPOKE_BROKER_URL": broker_url, "BESPOKE_HOME": str(tmp_path / "file" / "home")}

    line = bespoke.refused("beat", env=env)

    assert line.startswith(f"BESPOKE_HOME: '{tmp_path}/file/home' cannot be made (Not a directory)")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])
def test_flower_is_not_opened_to_others_without_a_password(
    bespoke: Bespoke, broker_url: str, address: str
) -> None:
    env = {"BESPOKE_BROKER_URL": broker_url}

    line = bespoke.refused("flower", "--address", address, env=env)

    assert line.startswith("BESPOKE_FLOWER_BASIC_AUTH is not set, and --address ")
    assert line.endswith("set it to user:password")


def test_a_worker_shows_no_password_and_ends_when_it_is_told_to(
    start_command: Callable[..., ProcessContainer], broker_url: str
) -> None:
    worker = start_command("worker", "-q", "reads,upkeep", "-c", "1", "-P", "solo", ready=" ready.")

    assert worker.terminate() == 0
    assert str(urlsplit(broker_url).password) not in worker.logs()
