"""Knowing when workers have divided the shards among themselves."""

import redis

from bespoke_workers.keys import MEMBERS
from tests.nodes.waiting import wait_until


def wait_until_divided(broker_url: str, workers: int) -> None:
    """Return when so many workers are members and each has looked since the last one came."""
    with redis.Redis.from_url(broker_url) as client:
        wait_until(lambda: client.zcard(MEMBERS) == workers, f"{workers} workers are members")
        seconds, microseconds = client.time()
        at = seconds + microseconds / 1e6
        beats = client.zrange(MEMBERS, 0, -1, withscores=True)
        wait_until(
            lambda: all(client.zscore(MEMBERS, name) > at for name, _ in beats), "all have looked"
        )
