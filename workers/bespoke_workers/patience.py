"""How long to wait for a language model, and before the next try of what has failed. Pure."""

import random
from collections.abc import Callable
from typing import Final

CALL_SECONDS: Final = 120.0
"""One LM call may take this long; a stopped run waits for the calls that are under way."""
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 60.0
DOUBLINGS: Final = 6
"""After these the longest is reached; an outage of a day would else overflow the power."""


def backoff_seconds(failures: int, chance: Callable[[], float] = random.random) -> float:
    """Return how long to wait after so many failures in a row: doubled each time, and spread."""
    longest = FIRST_SECONDS * 2.0 ** min(failures - 1, DOUBLINGS)
    return min(longest, LONGEST_SECONDS) * (0.5 + chance() / 2)
