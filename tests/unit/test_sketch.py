"""A large index answers from codes as a plain scan would, however it came to hold what it holds."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bespoke_workers.memories import index as index_module
from bespoke_workers.memories.index import UserIndex
from bespoke_workers.memories.sketch import WORDS, Sketch, _order, _turn

DIM = 48
FAISS = index_module._faiss()


@pytest.fixture(autouse=True)
def large_indexes_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "SKETCH_ABOVE", 100)
    monkeypatch.setattr(index_module, "CANDIDATES", 16)


def drawn(seed: int, n: int, dim: int = DIM) -> NDArray[np.float16]:
    """Vectors in twenty topics, some of them alike."""
    chance = np.random.default_rng(seed)
    topics = np.random.default_rng(0).normal(size=(20, dim))
    wide = chance.choice([0.05, 0.5, 2.0], size=(n, 1))
    vectors = topics[chance.integers(20, size=n)] + wide * chance.normal(size=(n, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float16)


def ids(n: int, first: int = 1) -> list[UUID]:
    return [UUID(int=first + i) for i in range(n)]


def changed(seed: int) -> tuple[UserIndex, dict[UUID, NDArray[np.float16]]]:
    """Grow an index past its size, and remove and replace in between, a few or many at once."""
    chance = np.random.default_rng(seed)
    index, plain = UserIndex([], np.empty((0, DIM)), DIM), dict[UUID, NDArray[np.float16]]()
    for turn in range(30):
        count = int(chance.choice([1, 7, 90]))
        new = dict(zip(ids(count, 1 + turn * 60), drawn(seed + turn, count), strict=True))
        index.add_many(list(new), np.array(list(new.values())))
        plain |= new
        gone = chance.permutation(len(plain))[: int(chance.choice([1, 20, 40]))]
        names = [list(plain)[place] for place in gone]
        assert index.remove(names) == len({*names})
        for name in names:
            del plain[name]
    index.add_many(ids(900, 10_000), drawn(seed + 99, 900))
    return index, plain | dict(zip(ids(900, 10_000), drawn(seed + 99, 900), strict=True))


@pytest.mark.parametrize("seed", range(2))
def test_an_index_that_grew_answers_as_one_that_is_built_anew(seed: int) -> None:
    grown, plain = changed(seed)
    order = sorted(plain, key=lambda one: one.int * 7919 % 10007)
    anew = UserIndex(order, np.array([plain[one] for one in order]), DIM)
    assert set(grown.ids) == plain.keys()
    for query in [*drawn(seed + 500, 12), *list(plain.values())[:6]]:
        assert grown.nearest(query, 3) == anew.nearest(query, 3)
        assert grown.nearest(query, 2, lambda one: one.int % 3 == 0) == anew.nearest(
            query, 2, lambda one: one.int % 3 == 0
        )
        for threshold in (0.99, 0.95, 0.6):
            assert grown.similar(query, threshold) == anew.similar(query, threshold)


@pytest.mark.parametrize("seed", range(2))
def test_every_duplicate_is_found(seed: int) -> None:
    index, plain = changed(seed)
    held = np.array(list(plain.values())).astype(np.float64)
    for query in [*drawn(seed + 500, 12), *list(plain.values())[:12]]:
        cosines = held @ query.astype(np.float64)
        for threshold in (0.99, 0.95, 0.85, 0.6, 0.0):
            expected = {
                one
                for one, cosine, vector in zip(plain, cosines, plain.values(), strict=True)
                if round(cosine, 6) >= threshold or np.array_equal(vector, query)
            }
            found = index.similar(query, threshold)
            assert {one for one, _ in found} == expected
            assert found == sorted(found, key=lambda hit: (hit[1], hit[0]), reverse=True)


def test_equal_vectors_are_all_found_and_the_newest_comes_first() -> None:
    vector = drawn(1, 1)
    index = UserIndex(ids(2000), np.repeat(vector, 2000, axis=0), DIM)
    assert index.nearest(vector[0], 2) == [(ids(2000)[-1], 1.0), (ids(2000)[-2], 1.0)]
    assert len(index.similar(vector[0], 0.97)) == 2000


def test_an_index_that_has_shrunk_lets_its_codes_go() -> None:
    index = UserIndex(ids(1000), drawn(1, 1000), DIM)
    large = index.nbytes
    index.remove(ids(1000)[40:])
    assert index._sketch is None
    assert index.nbytes < large
    assert index.nearest(drawn(1, 1000)[3])[0] == (ids(4)[3], 1.0)


@settings(max_examples=6)
@given(
    st.integers(0, 10**6), st.sampled_from([0.99, 0.95, 0.85, 0.5]), st.sampled_from([5, 48, 384])
)
def test_a_code_of_what_is_near_enough_reaches_the_floor(seed: int, least: float, dim: int) -> None:
    vectors = drawn(seed, 300, dim)
    sketch = Sketch(FAISS, vectors)
    for query in vectors[:20].astype(np.float32):
        floor = sketch.floor(query, least)
        assert floor is not None
        scores, positions = sketch.most_like(query, 300)
        if len(scores) < 300:
            continue  # FAISS left some out, and whoever asks has to scan
        below = positions[scores < floor]
        assert (vectors[below].astype(np.float64) @ query < least).all()


def test_faiss_scores_the_codes_that_were_written() -> None:
    vectors = drawn(4, 77, 384)
    sketch = Sketch(FAISS, vectors)
    codes, _ = sketch._encoded(vectors)
    query = drawn(5, 1, 384)[0].astype(np.float32)
    scores, positions = sketch.most_like(query, 77)
    plain = WORDS[codes].reshape(77, -1) @ sketch._turned(query)[0]
    assert sorted(positions.tolist()) == list(range(77))
    assert scores == pytest.approx(plain[positions], abs=sketch._rounding(query))


@pytest.mark.parametrize("dim", [1, 2, 5, 12, 32, 300, 384, 768, 1024, 1536, 3072])
def test_a_rotation_keeps_every_product(dim: int) -> None:
    vectors = np.random.default_rng(dim).normal(size=(4, dim))
    turned = _turn(vectors)
    assert turned.shape == (4, _order(dim))
    assert dim <= _order(dim) < 2 * dim + 1
    assert turned @ turned.T / _order(dim) == pytest.approx(vectors @ vectors.T)
