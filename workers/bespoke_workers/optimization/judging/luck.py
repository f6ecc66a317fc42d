"""How likely luck alone makes a program look as much better as it does. Pure arithmetic.

Were a new program no better than the old one, then each held-out example's difference between
the two could as well have come out the other way round. So the differences' signs are flipped
in all possible ways, or in many, and it is counted how often the flipped ones do as well.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

ALL_UP_TO: Final = 12
"""Differences of which each pattern of signs is tried, 4,096 at most."""
DRAWS: Final = 20_000
"""Patterns of signs drawn for more of them: a chance of 10 % is known to ± 0.2 points."""
SEED: Final = 28  # the same scores always give the same chance
EQUAL: Final = 1e-9  # of sums and means of floats that differ by their rounding alone


def chance(differences: Sequence[float], others: Sequence[Sequence[float]] = ()) -> float:
    """Return how likely luck does as well as ``differences``, new minus old for each example.

    ``others`` are those of the programs among which this one was chosen: luck then has done as
    well where it does so for any of them. All are of the same examples. Patterns that do exactly
    as well count by half, without which few examples could prove nothing.
    """
    rows = np.array([differences, *others], dtype=np.float64)
    rows = rows[:, (rows != 0).any(axis=0)]
    if not rows.size:
        return 0.5
    # Each in units of its own spread, or the program that differs most would speak for all.
    spread = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    rows = rows / np.where(spread > 0, spread, 1)
    reached = rows[0].sum()
    best = (_signs(rows.shape[1]) @ rows.T).max(axis=1)
    as_well = np.abs(best - reached) <= EQUAL
    better = ~as_well & (best > reached)
    return float(better.mean() + as_well.mean() / 2)


def _signs(count: int) -> Array:
    """Return patterns of ``count`` signs, one in each row."""
    if count <= ALL_UP_TO:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    else:
        bits = np.random.default_rng(SEED).integers(0, 2, size=(DRAWS, count), dtype=np.int8)
    return np.asarray(bits * 2.0 - 1.0, dtype=np.float64)
