"""A worker that does not answer, because it works, is not taken for absent."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection
from pydantic import SecretStr

from bespoke_schemas import memories
from bespoke_workers.cli import preflight, status
from bespoke_workers.cli.asking import unserved
from bespoke_workers.cli.status import held, look
from bespoke_workers.configuration import configuration
from bespoke_workers.keys import UNACKED
from bespoke_workers.settings import Settings
from tests.nodes.waiting import SECONDS


@pytest.fixture
def config(broker_url: str, database_url: str) -> Settings:
    return Settings(broker_url=SecretStr(broker_url), database_url=SecretStr(database_url))


@pytest.fixture
def in_hand(config: Settings) -> Iterator[Any]:
    """A message of the programs' queue in the hands of one who answers nothing."""
    set_up = configuration(config)
    options = set_up["broker_transport_options"]
    with Connection(
        set_up["broker_url"], transport=set_up["broker_transport"], transport_options=options
    ) as connection:
        queue = connection.SimpleQueue("programs")
        queue.put({})
        yield queue.get(timeout=SECONDS)
        queue.close()


def test_whoever_holds_a_job_is_there_until_it_is_done(config: Settings, in_hand: Any) -> None:
    assert held(config) == {"programs"}
    seen = look(config)
    assert seen.busy == ["programs"]
    (problem,) = seen.problems
    assert problem.startswith("no worker consumes: memories, reads, optimization,")

    in_hand.ack()
    in_hand.channel.flush()

    assert held(config) == set()
    assert look(config).busy == []


def test_a_sign_of_life_that_is_too_old_is_none(
    config: Settings, in_hand: Any, broker_url: str
) -> None:
    with redis.Redis.from_url(broker_url) as client:
        seconds, _ = client.time()
        for receipt in client.hkeys(UNACKED):
            client.zadd(f"{UNACKED}_index", {receipt: seconds - config.claim_timeout_s - 5})
        assert held(config) == set()
    in_hand.ack()


def test_a_redis_that_goes_away_while_it_is_looked_at_is_told(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preflight.problems(config) == []
    gone = config.model_copy(update={"broker_url": SecretStr("redis://127.0.0.1:1/0")})
    monkeypatch.setattr(preflight, "problems", lambda _: [])  # it was there a moment ago

    seen = look(gone)

    assert not seen.ok
    (problem,) = seen.problems
    assert problem.startswith("BESPOKE_BROKER_URL: Redis went away meanwhile (")
    monkeypatch.setattr(status, "consumed", lambda _: {})
    assert unserved(memories.Count(user_id="ada"), gone) == []
