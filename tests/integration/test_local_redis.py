"""The local Redis: configured to lose no job, private, and found again under its URL."""

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from bespoke_workers.errors import Misconfigured
from bespoke_workers.local import LocalRedis


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[LocalRedis]:
    server = LocalRedis(tmp_path / "redis")
    yield server
    server.stop()


def push(url: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.rpush("waiting", value)


def waiting(url: str) -> object:
    with redis.Redis.from_url(url) as client:
        return client.lrange("waiting", 0, -1)


def test_redis_is_configured_to_lose_no_job(redis_server: LocalRedis) -> None:
    redis_server.start()

    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        found = {
            name: client.config_get(name)[name]
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "save", "bind")
        }
        assert client.info("server")["redis_version"] >= "6.2"
    assert found == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "bind": "127.0.0.1",
    }


@pytest.mark.parametrize("end", [LocalRedis.stop, LocalRedis.kill])
def test_redis_keeps_its_data_and_url_however_it_ended(
    redis_server: LocalRedis, end: Callable[[LocalRedis], None]
) -> None:
    redis_server.start()
    url = redis_server.url
    push(url, "job")

    end(redis_server)
    assert redis_server.pid is None
    redis_server.start()

    assert redis_server.url == url
    assert waiting(url) == [b"job"]


def test_redis_asks_for_a_password_that_no_command_line_shows(
    redis_server: LocalRedis, tmp_path: Path
) -> None:
    redis_server.start()
    password = (tmp_path / "redis" / "password").read_text()

    with (
        redis.Redis.from_url(redis_server.url.replace(password, "wrong")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    assert password not in " ".join(psutil.Process(redis_server.pid).cmdline())
    for name in ("password", "redis.conf"):
        assert stat.S_IMODE((tmp_path / "redis" / name).stat().st_mode) == 0o600


def test_redis_moves_to_another_port_when_a_stranger_has_its_own(redis_server: LocalRedis) -> None:
    redis_server.start()
    port = int(redis_server.url.rpartition(":")[2].removesuffix("/0"))
    redis_server.stop()

    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        redis_server.start()

    assert f":{port}/" not in redis_server.url
    assert waiting(redis_server.url) == []


def test_redis_says_why_it_cannot_have_the_port_it_was_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        server = LocalRedis(tmp_path, port=stranger.getsockname()[1])
        with pytest.raises(Misconfigured, match="is taken by another program"):
            server.start()
    assert server.pid is None


def test_data_of_a_newer_redis_is_not_taken_for_none(
    redis_server: LocalRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))  # so that the wheel's 6.2 is the one found

    with pytest.raises(Misconfigured, match="written by Redis 7"):
        redis_server.start()
