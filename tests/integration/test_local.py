"""The local stack: real servers out of wheels that keep their data and leave nothing behind."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bespoke_workers.errors import Misconfigured
from bespoke_workers.local import LocalPostgres, LocalRedis, Stack, read_stack
from tests.integration.test_local_redis import push, waiting
from tests.nodes.waiting import SECONDS, gone, wait_until_gone

OWNER = """
import sys
from pathlib import Path
from bespoke_workers.local import Stack
stack = Stack(Path(sys.argv[1]), durable=False)
stack.start()
print(stack.postgres.pid, stack.redis.pid, flush=True)
sys.stdin.read()
stack.stop()
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(tmp_path / "postgres", durable=False)
    yield server
    server.stop()


class Owner:
    """Another process that runs the stack of a home until its input ends."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        self.servers = [psutil.Process(int(pid)) for pid in line.split()]
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def leashes(self) -> list[psutil.Process]:
        return [child for child in self.family if "leash.py" in _command(child)]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def _command(process: psutil.Process) -> str:
    """Return a process's command line; empty once it has ended, as sessions do after a start."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[], Owner]]:
    owners: list[Owner] = []

    def start() -> Owner:
        owners.append(Owner(tmp_path))
        return owners[-1]

    yield start
    for owner in owners:
        owner.close()
        wait_until_gone(owner.family)


def sql(url: str, *statements: str) -> list[tuple[object, ...]]:
    async def run() -> list[tuple[object, ...]]:
        engine = create_async_engine(url)
        rows: list[tuple[object, ...]] = []
        try:
            async with engine.begin() as connection:
                for statement in statements:
                    result = await connection.execute(text(statement))
                    rows = [tuple(row) for row in result] if result.returns_rows else []
        finally:
            await engine.dispose()
        return rows

    return asyncio.run(run())


def test_postgres_is_empty_ready_and_ours_alone_after_its_first_start(
    postgres: LocalPostgres, tmp_path: Path
) -> None:
    postgres.start()

    assert sql(postgres.url, "SELECT current_database()") == [("bespoke",)]
    assert sql(postgres.url, "SHOW listen_addresses") == [("",)]
    sockets = list(tmp_path.rglob(".s.PGSQL.*[0-9]"))
    assert [stat.S_IMODE(path.parent.stat().st_mode) for path in sockets] == [0o700]


def test_the_data_of_the_local_stack_is_durable_unless_asked_otherwise(tmp_path: Path) -> None:
    postgres = LocalPostgres(tmp_path)
    postgres.start()
    try:
        assert sql(postgres.url, "SHOW fsync") == [("on",)]
    finally:
        postgres.stop()


@pytest.mark.parametrize("end", [LocalPostgres.stop, LocalPostgres.kill])
def test_postgres_keeps_its_data_and_url_however_it_ended(
    postgres: LocalPostgres, end: Callable[[LocalPostgres], None]
) -> None:
    postgres.start()
    url = postgres.url
    sql(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    assert postgres.pid is not None
    family = psutil.Process(postgres.pid).children(recursive=True)

    end(postgres)

    assert postgres.pid is None
    wait_until_gone(family)
    postgres.start()
    assert postgres.url == url
    assert sql(url, "SELECT n FROM kept") == [(7,)]


def test_postgres_comes_back_after_only_its_main_process_was_killed(
    postgres: LocalPostgres,
) -> None:
    postgres.start()
    sql(postgres.url, "CREATE TABLE kept (n int)")
    assert postgres.pid is not None
    main = psutil.Process(postgres.pid)
    main.kill()
    wait_until_gone([main])

    postgres.start()

    assert sql(postgres.url, "SELECT count(*) FROM kept") == [(0,)]


def test_postgres_stops_although_a_session_is_open(postgres: LocalPostgres) -> None:
    postgres.start()

    async def stop_during_a_session() -> None:
        engine = create_async_engine(postgres.url)
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        await asyncio.to_thread(postgres.stop)
        await connection.invalidate()
        await engine.dispose()

    asyncio.run(stop_during_a_session())

    assert postgres.pid is None


def test_postgres_takes_a_directory_whose_name_is_too_long_for_a_socket(tmp_path: Path) -> None:
    postgres = LocalPostgres(tmp_path / ("a name, with spaces " * 6).strip(), durable=False)
    postgres.start()
    try:
        assert sql(postgres.url, "SELECT 1") == [(1,)]
    finally:
        postgres.stop()


def test_half_a_data_directory_is_made_anew(postgres: LocalPostgres, tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")

    postgres.start()

    assert sql(postgres.url, "SELECT 1") == [(1,)]


def test_data_of_another_major_version_is_refused(postgres: LocalPostgres, tmp_path: Path) -> None:
    postgres.start()
    postgres.stop()
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("16\n")

    with pytest.raises(Misconfigured, match="written by PostgreSQL 16"):
        postgres.start()


def test_a_stack_says_where_it_is_while_it_runs(tmp_path: Path) -> None:
    steps: list[str] = []
    others = set(psutil.Process().children(recursive=True))
    stack = Stack(tmp_path, durable=False)
    stack.start(steps.append)
    try:
        file = tmp_path / "stack.json"
        assert json.loads(file.read_text()) == {
            "broker_url": stack.redis.url,
            "database_url": stack.postgres.url,
            "pid": os.getpid(),
        }
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert read_stack(tmp_path) == stack.address
        assert stack.redis.url not in repr(stack.address)
        assert steps == ["creating the PostgreSQL data directory (once)", "starting Redis"]
        family = set(psutil.Process().children(recursive=True)) - others
        assert {stack.postgres.pid, stack.redis.pid} < {process.pid for process in family}
    finally:
        stack.stop()
    assert not file.exists()
    assert read_stack(tmp_path) is None
    wait_until_gone(family)


def test_a_second_start_finds_the_data_of_the_first(tmp_path: Path) -> None:
    with Stack(tmp_path, durable=False) as stack:
        sql(stack.postgres.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
        push(stack.redis.url, "job")
        first = stack.address

    with Stack(tmp_path, durable=False) as stack:
        assert stack.address == first
        assert sql(stack.postgres.url, "SELECT n FROM kept") == [(7,)]
        assert waiting(stack.redis.url) == [b"job"]


def test_a_server_that_was_killed_is_started_again_where_it_was(tmp_path: Path) -> None:
    with Stack(tmp_path, durable=False) as stack:
        assert stack.revive() == []
        before = stack.address
        push(stack.redis.url, "job")
        for pid in (stack.postgres.pid, stack.redis.pid):
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            wait_until_gone([psutil.Process(pid)])

        assert stack.revive() == ["PostgreSQL", "Redis"]

        assert stack.address == before
        assert sql(stack.postgres.url, "SELECT 1") == [(1,)]
        assert waiting(stack.redis.url) == [b"job"]
        assert stack.revive() == []


def test_a_server_whose_place_was_taken_meanwhile_is_told(tmp_path: Path) -> None:
    with Stack(tmp_path, durable=False) as stack:
        stack.redis.kill()
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind(("127.0.0.1", urlsplit(stack.redis.url).port))
            stranger.listen()
            with pytest.raises(Misconfigured, match="another program has taken its port"):
                stack.revive()


def test_a_second_stack_in_the_same_home_is_refused_by_the_pid_of_the_first(
    own: Callable[[], Owner], tmp_path: Path
) -> None:
    owner = own()
    second = Stack(tmp_path)

    with pytest.raises(Misconfigured, match=f"run by process {owner.process.pid}:"):
        second.start()
    second.stop()

    found = read_stack(tmp_path)
    assert found is not None
    assert found.pid == owner.process.pid
    assert sql(found.database_url, "SELECT 1") == [(1,)]


def test_no_server_outlives_a_parent_that_was_killed(
    own: Callable[[], Owner], tmp_path: Path
) -> None:
    owner = own()

    os.kill(owner.process.pid, signal.SIGKILL)
    owner.process.wait(SECONDS)

    wait_until_gone(owner.family)
    assert read_stack(tmp_path) is None
    assert (tmp_path / "stack.json").exists()  # left behind, and not believed


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(own: Callable[[], Owner]) -> None:
    owner = own()

    group = os.getpgid(owner.process.pid)

    there = [process for process in owner.family if not gone(process)]
    assert {server.pid for server in owner.servers} <= {process.pid for process in there}
    assert all(_group(process) != group for process in there)


def test_servers_left_by_a_crash_are_stopped_before_the_next_start(
    own: Callable[[], Owner], tmp_path: Path
) -> None:
    owner = own()
    before = read_stack(tmp_path)
    assert before is not None
    sql(before.database_url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    for leash in owner.leashes:
        leash.kill()
    os.kill(owner.process.pid, signal.SIGKILL)
    owner.process.wait(SECONDS)
    assert all(server.is_running() for server in owner.servers)

    with Stack(tmp_path, durable=False) as stack:
        assert all(gone(server) for server in owner.servers)
        assert sql(stack.postgres.url, "SELECT n FROM kept") == [(7,)]


def test_a_process_that_only_has_a_dead_servers_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    started = psutil.Process().create_time() - 3600
    (tmp_path / "redis" / "server.pid").write_text(json.dumps([os.getpid(), started]))
    server = LocalRedis(tmp_path / "redis")

    server.start()
    try:
        assert waiting(server.url) == []
        assert server.pid not in {None, os.getpid()}
    finally:
        server.stop()


@pytest.mark.parametrize("server", [LocalPostgres, LocalRedis, Stack])
def test_a_home_that_cannot_be_used_is_one_clear_line(
    server: Callable[[Path], LocalPostgres | LocalRedis | Stack], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Misconfigured, match=r"cannot be used .*BESPOKE_HOME"):
        server(tmp_path / "file" / "home").start()
