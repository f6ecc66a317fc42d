"""What the guard does for an embedder: merges on labelled pairs, by kind, with it and without.

    python -m benchmarks.guard_evidence [EMBEDDER [THRESHOLD …]]

EMBEDDER is what BESPOKE_EMBEDDER takes, the lexical default unless given; a threshold is a
cosine, the embedder's own unless given. The pairs are `pairs.jsonl`. A merge is right in the
kinds that say the same and wrong in the others; recall is the share of pairs that say the same
which are merged, and for each kind the table has how many are.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bespoke_workers.memories import guard
from bespoke_workers.memories.embedding import Embedder, load_embedder

PAIRS = Path(__file__).with_name("pairs.jsonl")
GUARD_ALONE = -1.0  # a threshold that every pair reaches


@dataclass(frozen=True)
class Pair:
    """Two texts, of what kind they are, and whether they say the same. ``lang`` may be ""."""

    kind: str
    same: bool
    lang: str
    a: str
    b: str


@dataclass(frozen=True)
class Evidence:
    """Merges by kind, and what they come to. Without any merge, the precision is 1."""

    merged: Counter[str]
    precision: float
    recall: float


def pairs() -> list[Pair]:
    """Read the labelled pairs."""
    lines = PAIRS.read_text(encoding="utf-8").splitlines()
    return [Pair(**json.loads(line)) for line in lines]


def evidence(
    labelled: Sequence[Pair], cosines: Sequence[float], threshold: float, *, guarded: bool
) -> Evidence:
    """Return what is merged at a threshold, with the guard or without."""
    merged = [
        pair
        for pair, cosine in zip(labelled, cosines, strict=True)
        if cosine >= threshold and not (guarded and not guard.same_facts(pair.a, pair.b))
    ]
    right = sum(pair.same for pair in merged)
    return Evidence(
        Counter(pair.kind for pair in merged),
        right / len(merged) if merged else 1.0,
        right / sum(pair.same for pair in labelled),
    )


def cosines(labelled: Sequence[Pair], embedder: Embedder) -> list[float]:
    """Return how similar each pair is, as stored vectors are compared."""
    left, right = (
        embedder.embed(texts).astype(np.float16).astype(np.float32)
        for texts in ([pair.a for pair in labelled], [pair.b for pair in labelled])
    )
    return [float(cosine) for cosine in np.minimum((left * right).sum(axis=1), 1.0)]


def main(arguments: list[str]) -> None:
    """Print one line for each threshold, with the guard and without, then the guard alone."""
    labelled = pairs()
    embedder = load_embedder(arguments[0] if arguments else None)
    similar = cosines(labelled, embedder)
    kinds = Counter(pair.kind for pair in labelled)
    print(f"{len(labelled)} pairs, {embedder.name}")
    header = "".join(f"{kind[:9]:>11}" for kind in kinds)
    print(f"{'threshold':>14}{'guard':>6}{header}{'precision':>11}{'recall':>8}")
    for threshold in [float(one) for one in arguments[1:]] or [embedder.threshold]:
        for guarded in (False, True):
            found = evidence(labelled, similar, threshold, guarded=guarded)
            _print(f"{threshold:g}", found, kinds, guarded=guarded)
    alone = evidence(labelled, similar, GUARD_ALONE, guarded=True)
    _print("guard alone", alone, kinds, guarded=True)


def _print(name: str, found: Evidence, kinds: Counter[str], *, guarded: bool) -> None:
    cells = "".join(f"{f'{found.merged[kind]}/{count}':>11}" for kind, count in kinds.items())
    ends = f"{found.precision:>11.3f}{found.recall:>8.3f}"
    print(f"{name:>14}{'on' if guarded else 'off':>6}{cells}{ends}")


if __name__ == "__main__":
    main(sys.argv[1:])
