"""Which examples are learned from, and which are held out to judge what was learned."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Fields = Mapping[str, Any]

SHARE = 0.3
FEWEST = 5
MOST = 100
FEW = 20
"""With fewer examples than this, each is held out once in turn, if that can be paid for."""
FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Examples in the order of their adding, each on one side only."""

    train: tuple[Fields, ...]
    held_out: tuple[Fields, ...]


def held_out_count(examples: int) -> int:
    """Return how many of ``examples`` are held out: 5 of 10, 12 of 40, 60 of 200, 100 of 400.

    A share of 30 % keeps most for learning while the score still means something: a mean
    over 12 examples is known to about ± 13 points, over 60 to ± 6. Below 17 examples at
    least 5 are held out, since over 3 one lucky answer is 33 points; but never more than
    half, or nothing would be left to learn from. Above 334 the score is known well enough
    (± 5 points) and each further example would cost two LM calls in every run.
    """
    share = min(max(math.ceil(SHARE * examples), FEWEST), MOST)
    return min(share, examples // 2)


def split(examples: Sequence[Fields], seed: str) -> Split:
    """Hold out examples by a hash of each with ``seed``; the same set gives the same split.

    As a set grows, an example hardly ever changes sides. Else a version in use could be
    judged on examples that it was taught with, and nothing new would ever seem better.
    """
    ranked = sorted(range(len(examples)), key=lambda place: _rank(examples[place], seed))
    return _parted(examples, set(ranked[: held_out_count(len(examples))]))


def crossed(examples: Sequence[Fields], seed: str) -> tuple[Split, ...]:
    """Return splits that hold out each example once, dealt by a hash of each with ``seed``.

    Ten examples are judged by in five splits, two held out in each from a program that learned
    from the other eight; a fixed split would judge by five, of a program that learned from five.
    """
    ranked = sorted(range(len(examples)), key=lambda place: _rank(examples[place], seed))
    dealt = [set(ranked[number::FOLDS]) for number in range(min(FOLDS, len(examples)))]
    return tuple(_parted(examples, held_out) for held_out in dealt)


def _parted(examples: Sequence[Fields], held_out: Collection[int]) -> Split:
    return Split(
        train=tuple(fields for place, fields in enumerate(examples) if place not in held_out),
        held_out=tuple(fields for place, fields in enumerate(examples) if place in held_out),
    )


def _rank(fields: Fields, seed: str) -> bytes:
    canonical = json.dumps([seed, fields], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).digest()
