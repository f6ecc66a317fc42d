"""What a run's paid LM calls come to, counted right whichever thread makes them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

from bespoke_schemas import small_model

T = TypeVar("T")

PriceOf = Callable[[str, Mapping[str, Any]], float | None]
"""Tells what a model's call of so many tokens cost, None where that is not known."""


@dataclass(frozen=True)
class Spent:
    """Paid LM calls, their tokens, and their price.

    ``unpriced_calls`` are those of them whose price is not known; ``cost_usd`` is without them.
    """

    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0

    @property
    def tokens(self) -> int:
        """All tokens, asked and answered."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, tokens: Mapping[str, Any], cost_usd: float | None) -> "Spent":
        """Return this and one more call; ``cost_usd`` is None where its price is not known."""
        return Spent(
            lm_calls=self.lm_calls + 1,
            prompt_tokens=self.prompt_tokens + int(tokens.get("prompt_tokens") or 0),
            completion_tokens=self.completion_tokens + int(tokens.get("completion_tokens") or 0),
            cost_usd=self.cost_usd + (cost_usd or 0.0),
            unpriced_calls=self.unpriced_calls + (cost_usd is None),
        )

    def __sub__(self, other: "Spent") -> "Spent":
        """Return what this is more than ``other``."""
        return Spent(*(mine - its for mine, its in zip(self, other, strict=True)))

    def or_more(self, other: "Spent") -> "Spent":
        """Return the larger of each figure: of two accounts of the same calls, one is late."""
        return Spent(*(max(mine, its) for mine, its in zip(self, other, strict=True)))

    def __iter__(self) -> Iterator[Any]:
        """Go through the figures in the order of FIGURES."""
        return iter([getattr(self, name) for name in FIGURES])


FIGURES: Final = tuple(one.name for one in fields(Spent))
"""The names of what is counted, which are those of columns too."""


def _unknown(model: str, tokens: Mapping[str, Any]) -> float | None:
    return None


class Usage:
    """Counts the calls of one run: those paid, those under way, and those that failed.

    Stands in for DSPy's usage tracker, which loses what other threads use: DSPy gives each
    thread a deep copy of the tracker and forgets it; this one's copy is itself. It is told of
    paid calls only: an answer out of the cache costs nothing.
    """

    def __init__(self, before: Spent | None = None, price: PriceOf = _unknown) -> None:
        self._spent = before or Spent()
        self._price = price
        self._under_way: set[str] = set()
        self._failed = 0
        self._lock = threading.Lock()

    @property
    def spent(self) -> Spent:
        """What was paid so far, by this run and by those of this job that died before it."""
        return self._spent

    def paid_before(self, spent: Spent) -> None:
        """Count what runs of the same job paid before they died."""
        with self._lock:
            self._spent = self._spent.or_more(spent)

    def price(self, model: str, tokens: Mapping[str, Any]) -> float | None:
        """Return what one call cost in US dollars, None where that is not known."""
        return self._price(model, tokens)

    def begin(self, call: str, judge: Callable[[Spent, int, int], T | None]) -> T | None:
        """Count a call as under way unless ``judge`` says what speaks against it; return that.

        It is told what was spent, how many calls were ever begun, and how many are under way.
        No other call begins or ends meanwhile.
        """
        with self._lock:
            if call in self._under_way:
                return None
            under_way = len(self._under_way)
            begun = self._spent.lm_calls + self._failed + under_way
            against = judge(self._spent, begun, under_way)
            if against is None:
                self._under_way.add(call)
            return against

    def end(self, call: str) -> None:
        """Count a call as failed if it was begun and nothing is known of what it took."""
        with self._lock:
            if call in self._under_way:
                self._under_way.remove(call)
                self._failed += 1

    def refund(self) -> None:
        """Take back a call that failed, for it will be made again."""
        with self._lock:
            self._failed -= 1

    def add_usage(self, lm: str, usage_entry: Mapping[str, Any]) -> None:
        """Count one paid call; DSPy calls this, also where the LM reported no tokens."""
        if lm.startswith(small_model.PREFIX):  # answers on this machine, for nothing
            with self._lock:
                self._under_way.discard(current_call())
            return
        cost = self._price(lm, usage_entry)
        with self._lock:
            self._under_way.discard(current_call())
            self._spent = self._spent.plus(usage_entry, cost)

    def add_training(self, cost_usd: float) -> None:
        """Count what a provider takes for training a model."""
        with self._lock:
            self._spent = replace(self._spent, cost_usd=self._spent.cost_usd + cost_usd)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: see the class."""
        return self


def current_call() -> str:
    """Return the id of the LM call that the calling thread makes, as DSPy's callbacks have it.

    Outside of any, each call has an id of its own, and counts as under way for good.
    """
    from dspy.utils.callback import ACTIVE_CALL_ID

    return ACTIVE_CALL_ID.get() or uuid4().hex
