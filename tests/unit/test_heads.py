"""A quarter of the numbers rules out most of a large index, and never a duplicate."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bespoke_workers.memories import index as index_module
from bespoke_workers.memories.heads import CANDIDATES, Heads, width_of
from bespoke_workers.memories.index import UserIndex

DIM = 64
FAISS = index_module._faiss()


@pytest.fixture(autouse=True)
def large_indexes_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "HEADS_ABOVE", 100)


def drawn(seed: int, n: int, spread: float = 0.6) -> NDArray[np.float16]:
    """Vectors in ten topics, some of them alike, and some whose first numbers are all nothing."""
    chance = np.random.default_rng(seed)
    topics = np.random.default_rng(0).normal(size=(10, DIM))
    vectors = topics[chance.integers(10, size=n)] + spread * chance.normal(size=(n, DIM))
    vectors[chance.random(n) < 0.05, : DIM // 4] = 0
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float16)


def ids(n: int, first: int = 1) -> list[UUID]:
    return [UUID(int=first + i) for i in range(n)]


def without_heads(index: UserIndex) -> UserIndex:
    """Return what holds the same and compares with each."""
    plain = UserIndex(index.ids, index._rows().copy(), DIM)
    plain._heads = None
    return plain


def assert_alike(index: UserIndex, queries: NDArray[np.float16]) -> None:
    plain = without_heads(index)
    for query in queries:
        for threshold in (-1.0, 0.5, 0.8, 0.95, 1.0):
            assert index.similar(query, threshold) == plain.similar(query, threshold)


@pytest.mark.parametrize("spread", [0.02, 0.3, 0.6, 2.0])
def test_every_duplicate_is_found(spread: float) -> None:
    vectors = drawn(1, 400, spread)
    index = UserIndex(ids(400), vectors, DIM)
    assert index._heads is not None
    assert_alike(index, np.concatenate([vectors[:20], drawn(2, 20, spread)]))
    for place in range(0, 400, 40):
        assert index.ids[place] in dict(index.similar(vectors[place], 0.95))


def test_an_index_that_grew_and_shrank_answers_as_one_that_compares_with_each() -> None:
    index = UserIndex([], np.empty((0, DIM)), DIM)
    chance = np.random.default_rng(3)
    for turn in range(12):
        count = int(chance.choice([1, 30, 90]))
        index.add_many(ids(count, 1 + turn * 60), drawn(turn, count))
        gone = chance.permutation(len(index))[: int(chance.choice([1, 10, 40]))]
        index.remove([index.ids[place] for place in gone])
        assert index._heads is None or len(index._heads) == len(index)
        assert_alike(index, drawn(turn, 3))
    assert index._heads is not None
    index.remove(index.ids[40:])
    assert index._heads is None
    assert_alike(index, drawn(1, 3))


def test_where_too_many_are_alike_all_are_compared() -> None:
    vectors = np.tile(drawn(5, 1), (2 * CANDIDATES, 1))
    assert Heads(FAISS, vectors).reaching(vectors[0].astype(np.float32), 0.95) is None
    index = UserIndex(ids(len(vectors)), vectors, DIM)
    assert len(index.similar(vectors[0], 0.95)) == len(vectors)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3), st.sampled_from([64, 96, 384]))
def test_heads_bound_the_product_of_what_they_are_of(seed: int, scale: float, dim: int) -> None:
    chance = np.random.default_rng(seed)
    spans = chance.choice([1e-4, 1.0], size=dim)
    vectors = (scale * spans * chance.normal(size=(CANDIDATES, dim)) / dim**0.5).astype(np.float16)
    query = (spans * chance.normal(size=dim) / dim**0.5).astype(np.float16).astype(np.float32)
    products = vectors.astype(np.float64) @ query.astype(np.float64)
    heads = Heads(FAISS, vectors)
    for least in np.quantile(products, [0.1, 0.5, 0.9, 1.0]):
        found = heads.reaching(query, least)
        assert found is not None
        assert set(np.flatnonzero(products >= least)) <= set(found.tolist())


@pytest.mark.parametrize(("dim", "width"), [(8, 0), (48, 0), (64, 16), (384, 96), (1000, 240)])
def test_a_head_is_a_quarter_of_a_vector_that_is_long_enough(dim: int, width: int) -> None:
    assert width_of(dim) == width
