"""What a run's paid LM calls come to, counted right whichever thread makes them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class Spent:
    """Paid LM calls, their tokens, and their price where it is known."""

    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def plus(self, tokens: Mapping[str, Any], cost_usd: float | None) -> "Spent":
        """Return this and one more call."""
        return Spent(
            lm_calls=self.lm_calls + 1,
            prompt_tokens=self.prompt_tokens + int(tokens.get("prompt_tokens") or 0),
            completion_tokens=self.completion_tokens + int(tokens.get("completion_tokens") or 0),
            cost_usd=self.cost_usd + (cost_usd or 0.0),
        )


class Usage:
    """Stands in for DSPy's usage tracker, which loses what other threads use.

    DSPy gives each thread a deep copy of the tracker and forgets it; this one's copy is
    itself. It is told of paid calls only: an answer out of the cache costs nothing.
    """

    def __init__(self, before: Spent | None = None) -> None:
        self._spent = before or Spent()
        self._lock = threading.Lock()

    @property
    def spent(self) -> Spent:
        """What was paid so far, by this run and by those of this job that died before it."""
        return self._spent

    def add_usage(self, lm: str, usage_entry: Mapping[str, Any]) -> None:
        """Count one paid call; DSPy calls this, also where the LM reported no tokens."""
        with self._lock:
            self._spent = self._spent.plus(usage_entry, None)

    def add_cost(self, cost_usd: float | None) -> None:
        """Add the price of a paid call, which DSPy tells elsewhere than its tokens."""
        with self._lock:
            self._spent = replace(self._spent, cost_usd=self._spent.cost_usd + (cost_usd or 0.0))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: see the class."""
        return self
