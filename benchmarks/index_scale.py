"""One user's index at 500,000 memories, against an exact scan of the same vectors.

Vectors are made up: in topics of very different size, as sentences are, and spread evenly, which
is the hardest that there is. A twentieth of the queries repeat a vector all but exactly. Times
are those of the processor, which what else runs on the machine changes less.
"""

import time
from collections.abc import Iterator
from uuid import UUID

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.bench import Figure
from bespoke_workers.memories.index import UserIndex

COUNT = 500_000
QUERIES = 300
DIM = 384
THRESHOLD = 0.95
TOPICS = 2_000
CHUNK = 50_000
MIB = 1024 * 1024


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _figures("topics", _in_topics(np.random.default_rng(0)), asked=True)
    yield from _figures("spread evenly", _evenly(np.random.default_rng(1)), asked=False)


def _figures(name: str, vectors: NDArray[np.float16], *, asked: bool) -> Iterator[Figure]:
    held, queries = vectors[:COUNT], vectors[COUNT:].astype(np.float32)
    repeated = range(0, QUERIES, 20)
    queries[repeated] = held[:: COUNT // len(repeated)][: len(repeated)]
    queries[repeated] += np.float32(0.01) * queries[1 : len(repeated) + 1]
    ids = [UUID(int=number) for number in range(COUNT)]
    started = time.thread_time()
    index = UserIndex(ids, held, DIM)
    built = time.thread_time() - started
    scan, nearest, similar, right, agreed = [], [], [], 0, 0
    exact = _flat(held)
    for query in queries.astype(np.float16).astype(np.float32):
        begin = time.thread_time()
        scores, positions = exact.search(query[np.newaxis], 1)
        scanned = time.thread_time()
        ((found, _),) = index.nearest(query)
        had = time.thread_time()
        alike = index.similar(query, THRESHOLD)
        similar.append(time.thread_time() - had)
        nearest.append(had - scanned)
        scan.append(scanned - begin)
        right += found.int == positions[0][0]
        agreed += (scores[0][0] >= THRESHOLD) == bool(alike)
    label = f"500,000 memories, {name}"
    p99 = float(np.percentile(scan, 99))
    yield Figure(
        f"{label}: nearest / scan, p99",
        float(np.percentile(nearest, 99)) / p99,
        "x",
        0.1 if asked else None,
        at_most=True,
    )
    yield Figure(f"{label}: recall@1", right / QUERIES, "", 0.99 if asked else None)
    yield Figure(f"{label}: duplicates / scan, p99", float(np.percentile(similar, 99)) / p99, "x")
    yield Figure(f"{label}: duplicates agree", agreed / QUERIES, "", 1.0)
    yield Figure(f"{label}: building", built, "s")
    yield Figure(f"{label}: held", index.nbytes / MIB, "MiB")


def _flat(vectors: NDArray[np.float16]) -> faiss.IndexScalarQuantizer:
    exact = faiss.IndexScalarQuantizer(
        DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    exact.add_sa_codes(np.ascontiguousarray(vectors).view(np.uint8))
    return exact


def _in_topics(chance: np.random.Generator) -> NDArray[np.float16]:
    """Topics around a common mean, and within a topic more of a spread in some directions."""
    spread = (1 + np.arange(DIM)) ** -0.5
    spread /= np.linalg.norm(spread)
    mean = 0.5 * spread * chance.normal(size=DIM)
    topics = spread * chance.normal(size=(TOPICS, DIM))
    share = (1 + np.arange(TOPICS)) ** -0.7
    share /= share.sum()
    vectors = np.empty((COUNT + QUERIES, DIM), dtype=np.float16)
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        own = 0.8 * spread * chance.normal(size=part.shape)
        part[:] = _unit(mean + topics[chance.choice(TOPICS, len(part), p=share)] + own)
    return vectors


def _evenly(chance: np.random.Generator) -> NDArray[np.float16]:
    vectors = np.empty((COUNT + QUERIES, DIM), dtype=np.float16)
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        part[:] = _unit(chance.normal(size=part.shape))
    return vectors


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
