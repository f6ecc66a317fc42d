"""Which queue a job travels on; both sides of the queue must always agree on it."""

import importlib.util
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_schemas import Payload, payload_types
from bespoke_schemas.queues import OPTIMIZATION_RUNS, SHARDS, Queue, members, queue_name, shard
from bespoke_workers import app
from bespoke_workers.configuration import EXPORT_SECONDS, SHORT_JOB_SECONDS

# Computed once. A change of them strands what waits, and sends a user's stores to two workers.
KNOWN = {"ada": 8, "grace": 3, "": 0, "user-1": 4, "user-2": 14, "Łódź": 5, "北京": 1, "a" * 200: 8}


@pytest.mark.parametrize(("user_id", "expected"), KNOWN.items(), ids=range(len(KNOWN)))
def test_a_user_has_the_same_shard_for_ever(user_id: str, expected: int) -> None:
    assert shard(user_id) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_user_has_a_shard_that_exists(user_id: str) -> None:
    assert 0 <= shard(user_id) < SHARDS
    assert queue_name(Queue.MEMORIES, user_id) in members(Queue.MEMORIES)


@pytest.mark.parametrize("form", ["user-{}", "{}", "{}@example.com", "{:08d}"])
def test_users_are_spread_over_the_shards(form: str) -> None:
    counts = Counter(shard(form.format(number)) for number in range(16_000))

    assert len(counts) == SHARDS
    assert max(counts.values()) < 1.25 * 1000
    assert min(counts.values()) > 0.75 * 1000


def test_only_memories_are_sharded() -> None:
    assert members(Queue.MEMORIES) == tuple(f"memories.{number}" for number in range(SHARDS))
    assert SHARDS == 16
    for family in set(Queue) - {Queue.MEMORIES}:
        assert queue_name(family, "ada") == queue_name(family, None) == str(family)


def test_the_long_runs_have_a_queue_of_their_own() -> None:
    assert members(Queue.OPTIMIZATION) == ("optimization", OPTIMIZATION_RUNS)
    assert queue_name(Queue.OPTIMIZATION, "ada") == "optimization"


def test_every_payload_travels_on_a_queue_of_its_family() -> None:
    for kind in payload_types().values():
        for user_id in (None, "ada"):
            assert queue_name(kind.queue, user_id) in members(kind.queue)


def test_no_queue_belongs_to_two_families() -> None:
    names = [name for family in Queue for name in members(family)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", ["exports", "memories"])
def test_whoever_writes_or_reads_many_rows_in_a_file_has_the_time_for_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[type[Payload[Any]], float] = {}

    def serves(
        kind: type[Payload[Any]], *, seconds: float = SHORT_JOB_SECONDS
    ) -> Callable[..., Any]:
        given[kind] = seconds
        return lambda service: service

    monkeypatch.setattr(app, "serves", serves)
    spec = importlib.util.find_spec(f"bespoke_workers.tasks.{module}")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))

    exporting = {kind: seconds for kind, seconds in given.items() if kind.queue is Queue.EXPORTS}
    assert exporting
    assert set(exporting.values()) == {EXPORT_SECONDS}
