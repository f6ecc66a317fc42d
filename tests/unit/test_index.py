"""An index answers as a plain scan of the stored vectors would, whatever was done to it before."""

import os
import subprocess
import sys
from itertools import count
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from bespoke_workers.errors import Permanent
from bespoke_workers.memories import lexical
from bespoke_workers.memories.index import (
    UserIndex,
    from_bytes,
    rows_from_bytes,
    to_bytes,
)
from bespoke_workers.memories.index_cache import IndexCache

DIM = 8
seeds = st.integers(0, 30)  # few enough that vectors repeat


def vector(seed: int, dim: int = DIM) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=dim).astype(np.float32)
    return drawn / np.float32(np.linalg.norm(drawn))


def ids(n: int) -> list[UUID]:
    return [UUID(int=i + 1) for i in range(n)]


def index_of(n: int, dim: int = DIM) -> UserIndex:
    return UserIndex(ids(n), np.array([vector(i, dim) for i in range(n)]).reshape(-1, dim), dim)


class AgainstAPlainScan(RuleBasedStateMachine):
    """Add, replace, remove and rebuild; then ask the index and a dictionary the same."""

    @initialize()
    def empty(self) -> None:
        self.index = UserIndex([], np.empty((0, DIM)), DIM)
        self.plain: dict[UUID, NDArray[np.float32]] = {}
        self.numbers = count(1)

    @rule(seed=seeds)
    def add(self, seed: int) -> None:
        memory = UUID(int=next(self.numbers))
        self.index.add(memory, vector(seed))
        self.plain[memory] = vector(seed)

    @rule(seed=seeds, draw=st.data())
    def replace(self, seed: int, draw: Any) -> None:
        if self.plain:
            memory = draw.draw(st.sampled_from(sorted(self.plain)))
            self.index.add(memory, vector(seed))
            self.plain[memory] = vector(seed)

    @rule(draw=st.data())
    def remove(self, draw: Any) -> None:
        gone = draw.draw(st.sets(st.sampled_from([UUID(int=0), *sorted(self.plain)])))
        assert self.index.remove(gone) == len(gone & self.plain.keys())
        for memory in gone & self.plain.keys():
            del self.plain[memory]

    @rule(draw=st.randoms(use_true_random=False))
    def lose_and_rebuild(self, draw: Any) -> None:
        order = sorted(self.plain)
        draw.shuffle(order)
        stored = [to_bytes(self.plain[memory]) for memory in order]
        self.index = UserIndex(order, rows_from_bytes(stored, DIM), DIM, version=3)

    @rule(seed=seeds, k=st.integers(1, 5), odd=st.booleans())
    def nearest(self, seed: int, k: int, odd: bool) -> None:
        found = self.index.nearest(
            vector(seed), k, (lambda memory: memory.int % 2 == 1) if odd else None
        )
        expected = [hit for hit in self.scan(seed) if not odd or hit[0].int % 2 == 1][:k]
        assert [memory for memory, _ in found] == [memory for memory, _ in expected]
        assert [score for _, score in found] == pytest.approx(
            [score for _, score in expected], abs=1e-5
        )

    @rule(seed=seeds, threshold=st.sampled_from([-1.0, 0.0, 0.4, 0.95, 1.0]))
    def similar(self, seed: int, threshold: float) -> None:
        expected = [memory for memory, score in self.scan(seed) if score >= threshold]
        assert [memory for memory, _ in self.index.similar(vector(seed), threshold)] == expected

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.index) == len(self.plain)
        assert set(self.index.ids) == self.plain.keys()

    def scan(self, seed: int) -> list[tuple[UUID, float]]:
        query = vector(seed).astype(np.float16).astype(np.float64)
        hits = []
        for memory, held in self.plain.items():
            stored = held.astype(np.float16).astype(np.float64)
            score = 1.0 if np.array_equal(stored, query) else min(float(stored @ query), 1.0)
            hits.append((memory, round(score, 6)))
        return sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)


TestAgainstAPlainScan = AgainstAPlainScan.TestCase
TestAgainstAPlainScan.settings = settings(max_examples=40, stateful_step_count=25)


@given(st.text(max_size=60))
def test_the_same_text_has_a_cosine_of_exactly_one(text: str) -> None:
    dim = lexical.DEFAULT.dim
    stored = rows_from_bytes(to_bytes(lexical.embed([text])[0]), dim)
    index = UserIndex(ids(1), stored, dim)

    assert index.nearest(lexical.embed([text])[0]) == [(ids(1)[0], 1.0)]
    assert index.similar(lexical.embed([text])[0], 1.0) == [(ids(1)[0], 1.0)]


def test_many_equally_near_memories_are_all_looked_through() -> None:
    index = UserIndex(ids(300), np.array([vector(1)] * 300), DIM)
    wanted = ids(300)[4]

    assert index.nearest(vector(1), 1, lambda memory: memory == wanted) == [(wanted, 1.0)]
    assert index.nearest(vector(1)) == [(ids(300)[-1], 1.0)]
    assert index.nearest(vector(1), 1, lambda memory: False) == []


def test_documents_example_0_96_is_a_duplicate_at_0_95_and_0_94_is_not() -> None:
    base = np.eye(DIM, dtype=np.float32)[0]
    turned = [[c, (1 - c * c) ** 0.5, *[0.0] * (DIM - 2)] for c in (0.96, 0.94)]
    index = UserIndex(ids(2), turned, DIM)

    assert [memory for memory, _ in index.similar(base, 0.95)] == [ids(2)[0]]


def test_an_empty_index_finds_nothing() -> None:
    index = index_of(0)

    assert (len(index), index.nearest(vector(0)), index.similar(vector(0), -1)) == (0, [], [])
    assert index.remove(ids(1)) == 0


@pytest.mark.parametrize("wrong", [np.zeros((2, DIM)), np.zeros((1, 3)), np.full((1, DIM), np.nan)])
def test_vectors_of_another_shape_or_not_finite_are_never_held(wrong: NDArray[np.float64]) -> None:
    with pytest.raises(Permanent, match="vectors: got"):
        UserIndex(ids(1), wrong, DIM)


def test_a_query_of_another_dimension_is_refused() -> None:
    with pytest.raises(Permanent, match=r"got shape \(3,\), expected \(8,\)"):
        index_of(2).nearest([1.0, 0.0, 0.0])


def test_stored_bytes_are_little_endian_float16_and_checked() -> None:
    assert to_bytes([1.0, -2.0]) == b"\x00\x3c\x00\xc0"
    assert from_bytes(b"\x00\x3c\x00\xc0", 2).tolist() == [1.0, -2.0]
    assert rows_from_bytes(b"\x00\x3c\x00\xc0", 1).tolist() == [[1.0], [-2.0]]
    assert rows_from_bytes([], 4).shape == (0, 4)
    with pytest.raises(Permanent, match="got 4 bytes, expected 6"):
        from_bytes(b"\x00\x3c\x00\xc0", 3)
    with pytest.raises(Permanent, match="no multiple of dimension 3"):
        rows_from_bytes(b"\x00\x3c\x00\xc0", 3)


def test_size_counts_vectors_and_ids_and_the_room_that_growth_leaves() -> None:
    index = index_of(100)
    exact = index.nbytes
    index.add(UUID(int=1000), vector(1))

    assert exact == 2048 + 100 * (DIM * 2 + 16)
    assert index.nbytes == 2048 + 200 * (DIM * 2 + 16)


def test_a_cache_lets_the_least_recently_used_go_first() -> None:
    cache = IndexCache(max_bytes=3 * index_of(10).nbytes)
    for user in ("ada", "bo", "cy"):
        cache.put(user, index_of(10))
    assert cache.get("ada") is not None
    cache.put("di", index_of(10))

    assert cache.get("bo") is None
    assert all(cache.get(user) for user in ("ada", "cy", "di"))
    statistics = cache.statistics
    assert (statistics.users, statistics.evictions) == (3, 1)
    assert (statistics.hits, statistics.misses) == (4, 1)
    assert statistics.nbytes == statistics.max_bytes


def test_a_cache_takes_the_size_again_when_an_index_has_grown() -> None:
    cache = IndexCache(max_bytes=index_of(10).nbytes + index_of(15).nbytes)
    grown = index_of(10)
    cache.put("ada", index_of(10))
    cache.put("bo", grown)
    for n in range(10):
        grown.add(UUID(int=100 + n), vector(n))
    cache.put("bo", grown)

    assert cache.get("ada") is None
    assert cache.get("bo") is grown
    assert cache.statistics.nbytes == grown.nbytes


def test_an_index_larger_than_the_cache_is_not_kept_and_displaces_nobody() -> None:
    cache = IndexCache(max_bytes=index_of(10).nbytes)
    cache.put("ada", index_of(10))
    cache.put("bo", index_of(100))

    assert cache.get("bo") is None
    assert cache.get("ada") is not None


def test_dropping_and_clearing_free_what_was_held() -> None:
    cache = IndexCache(max_bytes=10**6)
    cache.put("ada", index_of(1))
    cache.put("bo", index_of(1))
    cache.drop("ada")
    cache.drop("nobody")
    assert (cache.get("ada"), cache.statistics.users) == (None, 1)

    cache.clear()
    assert (cache.statistics.users, cache.statistics.nbytes) == (0, 0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60)), max_size=40))
def test_a_cache_never_holds_more_than_its_bound(puts: list[tuple[str, int]]) -> None:
    cache = IndexCache(max_bytes=8000)
    for user, size in puts:
        cache.put(user, index_of(size))

        held = [index for name in "abcdef" if (index := cache.get(name)) is not None]
        assert cache.statistics.nbytes == sum(index.nbytes for index in held) <= 8000


@pytest.mark.parametrize("many", [1, 16, 17, 60, 100])
def test_any_number_of_memories_is_removed_at_once(many: int) -> None:
    index = index_of(100)
    gone = ids(100)[100 - many :]
    assert index.remove([*gone, UUID(int=999)]) == many
    assert set(index.ids) == set(ids(100)) - set(gone)
    kept = index.nearest(vector(0), 1)
    assert [hit[0] for hit in kept] == ([UUID(int=1)] if many < 100 else [])


def test_a_process_of_a_worker_computes_with_one_thread() -> None:
    program = (
        "import os, sys, bespoke_workers.app\n"
        "assert not {'numpy', 'faiss'} & set(sys.modules), 'imported before a fork'\n"
        "child = os.fork()\n"
        "if child:\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "import numpy, psutil\n"
        "from bespoke_workers.memories.index import UserIndex, _faiss\n"
        "vectors = numpy.ones((500, 500))\n"
        "vectors @ vectors\n"
        "UserIndex([], numpy.empty((0, 8)), 8)\n"
        "print(psutil.Process().num_threads(), _faiss().omp_get_max_threads(), flush=True)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, check=True, text=True, env=environment,
    )  # fmt: skip
    assert run.stdout.split() == ["1", "1"]


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_many_at_once_find_what_each_finds_alone(count: int) -> None:
    rows = np.random.default_rng(count).standard_normal((count, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = UserIndex(ids(count), rows, 8)
    asked = np.concatenate([rows[::2], -rows[:3]])
    for threshold in (0.3, 0.97):
        alone = [index.similar(vector, threshold) for vector in asked]
        assert index.similar_to_each(asked, threshold) == alone
