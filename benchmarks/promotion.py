"""How often a program that is no better is promoted, and how often one that is better is.

``python -m benchmarks.promotion`` prints the figures of docs/decisions/0028. Answers are right or
wrong; half of the examples are answered alike by all programs. ``auto`` chooses among three that
are equally good, as a climb does.
"""

import sys
from typing import Any, Final

import numpy as np

from bespoke_workers.optimization.judging.comparison import compare, leads, mean

HELD_OUT: Final = (10, 12, 24, 60)  # of 10, 40, 80 and 200 examples
GAINS: Final = (0.0, 0.1, 0.2, 0.3, 0.5)
RIGHT: Final = 0.3  # share that the program in use answers right
ALIKE: Final = 0.5
RUNS: Final = 300


def promoted(held_out: int, gain: float, candidates: int, chance: Any) -> tuple[float, float]:
    """Return the share of promotions, and what it were if any higher score promoted."""
    clearly = any_higher = 0
    for _ in range(RUNS):
        in_use, *others = _scores(held_out, gain, candidates, chance)
        ahead = in_use
        for other in others:
            ahead = other if leads(ahead, other) else ahead
        best = ahead if ahead is not in_use else max(others, key=lambda one: mean(one) or 0.0)
        comparison = compare(in_use, best, others)
        assert comparison is not None
        clearly += comparison.better
        any_higher += max(map(sum, others)) > sum(in_use)
    return clearly / RUNS, any_higher / RUNS


def _scores(held_out: int, gain: float, candidates: int, chance: Any) -> list[list[float]]:
    """Return the scores of the program in use, and of others that are better by ``gain``."""
    common = chance.random(held_out)
    alike = chance.random(held_out) < ALIKE
    right = [RIGHT] + [RIGHT + gain] * candidates
    return [
        (np.where(alike, common, chance.random(held_out)) < each).astype(float).tolist()
        for each in right
    ]


def main() -> int:
    """Print the table."""
    chance = np.random.default_rng(0)
    print(f"{'held out':>9}{'chosen of':>10}{'gain':>6}{'promoted':>10}{'if any higher':>15}")
    for held_out in HELD_OUT:
        for candidates in (1, 3):
            for gain in GAINS:
                clearly, higher = promoted(held_out, gain, candidates, chance)
                print(
                    f"{held_out:9}{candidates:10}{gain:6.1f}{clearly:10.0%}{higher:15.0%}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
