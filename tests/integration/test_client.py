"""The client against a real Redis, before any worker has come."""

import asyncio
import base64
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from bespoke_client import (
    AsyncClient,
    BrokerRefused,
    BrokerUnavailable,
    Client,
    ResultIgnored,
    ResultTimeout,
    broker,
    exports,
    jobs,
    memories,
    outage,
    programs,
)
from bespoke_schemas.queues import queue_name
from bespoke_workers.local import LocalRedis
from tests.nodes.waiting import SECONDS

SECRET = "never-to-be-shown"


@pytest.fixture
def server(broker_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker_url) as connection:
        yield connection


@pytest.fixture
def client(broker_url: str) -> Iterator[Client]:
    with Client(broker_url) as made:
        yield made


def store(content: str = "Prefers dark mode", user_id: str = "ada") -> memories.Store:
    return memories.Store(user_id=user_id, content=content)


def body(message: Any) -> Any:
    return json.loads(base64.b64decode(json.loads(message)["body"]))


def first(server: redis.Redis, queue: Any) -> Any:
    raw: Any = server.lindex(queue, 0)
    return json.loads(raw)


def test_a_message_lies_in_the_list_named_as_its_queue(client: Client, server: redis.Redis) -> None:
    payload = store()
    client.enqueue(payload)
    queue = queue_name(payload.queue, "ada")
    assert server.keys("*") == [queue.encode()]
    raw = server.lindex(queue, 0)
    sent = first(server, queue)
    assert sent["headers"]["id"] == str(payload.id)
    assert sent["headers"]["task"] == "bespoke.memories.store"
    assert sent["content-type"] == "application/json"
    assert body(raw)[:2] == [[], {"payload": payload.model_dump(mode="json")}]


def test_what_flower_shows_of_a_message_holds_neither_contents_nor_user(
    client: Client, server: redis.Redis
) -> None:
    client.enqueue(store(content=SECRET, user_id="ada@example.org"))
    (queue,) = server.keys("*")
    sent = first(server, queue)
    sent.pop("body")
    assert sent["headers"]["kwargsrepr"] == "<memories.store>"
    assert sent["headers"]["argsrepr"] == "()"
    assert SECRET not in json.dumps(sent)
    assert "ada@example.org" not in json.dumps(sent)


def test_every_family_of_payloads_goes_to_its_own_queue(
    client: Client, server: redis.Redis
) -> None:
    client.enqueue(memories.Count(user_id="ada"))
    client.enqueue(programs.LoadActive(program="support"))
    client.enqueue(exports.ExportPrograms())
    assert sorted(server.keys("*")) == [b"exports", b"programs", b"reads"]


def test_settings_of_the_applications_own_celery_do_not_reach_ours(
    broker_url: str, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "no_such_module")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no_such_module")
    with Client(broker_url) as client:
        client.enqueue(store())
    assert server.dbsize() == 1


def test_enqueue_many_keeps_order_and_writes_in_pipelines(
    client: Client, server: redis.Redis
) -> None:
    payloads = [store(f"memory {number}") for number in range(1200)]
    client.enqueue(store(user_id="somebody else"))  # connects
    before = server.info("stats")["total_writes_processed"]
    made = client.enqueue_many(payloads)
    answers = server.info("stats")["total_writes_processed"] - before
    queue = queue_name(payloads[0].queue, "ada")
    assert [job.id for job in made] == [payload.id for payload in payloads]
    arrived = [body(message)[1]["payload"]["id"] for message in server.lrange(queue, 0, -1)]
    assert arrived[::-1] == [str(payload.id) for payload in payloads]
    assert answers < len(payloads) / 4


def test_enqueue_many_sends_nothing_if_one_payload_is_wrong(
    client: Client, server: redis.Redis
) -> None:
    with pytest.raises(TypeError, match="'str'"):
        client.enqueue_many([store(), "not a payload"])  # type: ignore[arg-type]  # the point
    assert server.dbsize() == 0
    assert client.enqueue_many([]) == []


def test_a_large_payload_travels_whole(client: Client, server: redis.Redis) -> None:
    state = {"demos": ["x" * 1000] * 5000}
    client.enqueue(programs.Save(program="support", state=state))
    assert body(server.lindex("programs", 0))[1]["payload"]["state"] == state


def test_many_threads_share_one_client(client: Client, server: redis.Redis) -> None:
    with ThreadPoolExecutor(40) as threads:
        made = list(threads.map(lambda _: client.enqueue(store()).id, range(400)))
    assert len(set(made)) == 400
    assert server.llen(queue_name(store().queue, "ada")) == 400


def _enqueue_in_child(client: Client) -> None:
    client.enqueue(store("from the child"))
    with pytest.raises(ResultTimeout):
        client.enqueue(store("and again")).result(timeout=0.05)


# Python 3.12 warns of any fork beside threads, which is what is tested here.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_client_made_before_a_fork_works_on_both_sides(
    client: Client, server: redis.Redis
) -> None:
    client.enqueue(store())
    child = multiprocessing.get_context("fork").Process(target=_enqueue_in_child, args=[client])
    child.start()
    client.enqueue(store())
    child.join(SECONDS)
    assert child.exitcode == 0
    client.enqueue(store())
    assert server.llen(queue_name(store().queue, "ada")) == 5


# Python 3.12 warns of any fork beside threads, which is what is tested here.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_bare_fork_takes_no_connection_along(client: Client, server: redis.Redis) -> None:
    client.enqueue(store())
    pid = os.fork()
    if pid == 0:  # as gunicorn forks: neither multiprocessing nor billiard knows of it
        try:
            client.enqueue_many([store(), store()])
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    client.enqueue(store())
    assert server.llen(queue_name(store().queue, "ada")) == 4


def test_a_closed_client_opens_again(client: Client, server: redis.Redis) -> None:
    client.enqueue(store())
    client.close()
    client.close()
    client.enqueue(store())
    assert server.llen(queue_name(store().queue, "ada")) == 2


def test_closing_one_client_leaves_another_of_the_same_url_alone(
    client: Client, broker_url: str, server: redis.Redis
) -> None:
    client.enqueue(store())
    with Client(broker_url) as other:
        other.enqueue(store())
    client.enqueue(store())
    assert server.llen(queue_name(store().queue, "ada")) == 3


class Ticking:
    """Stands in for ``time``, which passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("many", [False, True])
def test_no_redis_is_one_line_in_time_and_shows_no_password(
    many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticking = Ticking()
    for module in (outage, broker):
        monkeypatch.setattr(module, "time", ticking)
    with (
        Client(f"redis://:{SECRET}@127.0.0.1:1/0", timeout=0.3) as client,
        pytest.raises(BrokerUnavailable) as caught,
    ):
        client.enqueue_many([store()] * 3) if many else client.enqueue(store())
    assert ticking.now == pytest.approx(0.3)
    text = str(caught.value)
    assert "redis://:***@127.0.0.1:1/0" in text
    assert "broker_url" in text
    assert "enqueueing the same again is safe" in text
    assert SECRET not in text
    assert "\n" not in text


def test_a_wrong_password_is_refused_at_once(broker_url: str) -> None:
    wrong = broker_url.replace("redis://:", f"redis://:{SECRET}")
    with Client(wrong, timeout=60) as client:
        for attempt in (
            lambda: client.enqueue(store()),
            lambda: client.enqueue_many([store(), store()]),
            lambda: client.job(store().id).status(),
            lambda: client.job(store().id).result(timeout=60),
        ):
            with pytest.raises(BrokerRefused, match="password") as caught:
                attempt()
            assert SECRET not in str(caught.value)
            assert "redis://:***@" in str(caught.value)


def test_a_database_that_does_not_exist_is_refused(broker_url: str) -> None:
    place = broker_url.rpartition("/")[0]
    with Client(f"{place}/9999") as client, pytest.raises(BrokerRefused, match="out of range"):
        client.enqueue(store())


def test_a_wait_without_redis_ends_with_its_timeout() -> None:
    with Client("redis://127.0.0.1:1/0", timeout=0.1) as client:
        job = client.job(store().id)
        with pytest.raises(BrokerUnavailable, match=r"within 0\.2 s"):
            job.result(timeout=0.2)
        with pytest.raises(BrokerUnavailable):
            job.status()


def test_a_job_that_nobody_has_begun_is_queued_and_safe(client: Client) -> None:
    job = client.enqueue(store())
    assert job.status() is jobs.Status.QUEUED
    assert job.progress() is None
    with pytest.raises(ResultTimeout, match="still safe") as caught:
        job.result(timeout=0.05)
    assert f"client.job('{job.id}')" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


def test_an_ignored_result_is_not_waited_for(client: Client, server: redis.Redis) -> None:
    job = client.enqueue(store(), ignore_result=True)
    with pytest.raises(ResultIgnored, match="ignore_result=True"):
        job.result()
    (queue,) = server.keys("*")
    assert first(server, queue)["headers"]["ignore_result"] is True


@pytest.mark.parametrize("stop", ["stop", "kill"])
def test_enqueueing_outlasts_a_restart_of_redis(
    broker_url: str, redis_server: LocalRedis, server: redis.Redis, stop: str
) -> None:
    with Client(broker_url, timeout=SECONDS) as client:
        client.enqueue(store())
        getattr(redis_server, stop)()
        back = threading.Timer(0.3, redis_server.start)
        back.start()
        client.enqueue_many([store(), store()])
        back.join()
    assert server.llen(queue_name(store().queue, "ada")) >= 2


async def _through_asyncio(url: str) -> list[str]:
    async with AsyncClient(url) as client:
        job = await client.enqueue(store())
        many = await client.enqueue_many([store(), store()])
        with pytest.raises(ResultTimeout):
            await job.result(timeout=0.05)
        return [str(each.id) for each in [job, *many]]


def test_the_asyncio_client_may_be_used_from_one_loop_after_another(
    broker_url: str, server: redis.Redis
) -> None:
    first = asyncio.run(_through_asyncio(broker_url))
    second = asyncio.run(_through_asyncio(broker_url))
    queue = queue_name(store().queue, "ada")
    arrived = {body(message)[1]["payload"]["id"] for message in server.lrange(queue, 0, -1)}
    assert arrived == {*first, *second}
