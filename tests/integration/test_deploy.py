from pathlib import Path

import redis

from bespoke_workers.local.redis import SETTINGS, find_server
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import wait_until

CONF = Path(__file__).resolve().parents[2] / "deploy/redis.conf"


def test_the_redis_configuration_keeps_waiting_jobs(tmp_path: Path) -> None:
    binary, _ = find_server()
    socket = tmp_path / "redis.sock"
    server = ProcessContainer(
        "redis",
        [binary, str(CONF), "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)],
        environment={},
    )
    try:
        server.start()
        wait_until(lambda: _length(socket) == 0, "Redis answers")
        with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client:
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "save"):
                assert client.config_get(name)[name] == SETTINGS[name].strip('"')
            client.lpush("memories.0", "a job")
            server.kill()
            server.start()
            wait_until(lambda: _length(socket) == 1, "the job is there again")
    finally:
        server.teardown()


def _length(socket: Path) -> int | None:
    """Return how many jobs wait; None while Redis does not answer."""
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return int(client.llen("memories.0"))
    except redis.RedisError:
        return None
