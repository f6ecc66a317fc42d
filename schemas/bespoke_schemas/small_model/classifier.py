"""Naive Bayes: which of the values that it has seen goes with a text. Pure arithmetic.

Each value is held against all others together, so that one with many examples does not win by its
size alone. It is counted in one pass, and the same examples always give the same classifier.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

SMOOTHING = 1.0  # of counts, so that what was never seen is not impossible

Count = Annotated[int, Field(ge=0, le=2**31)]


class Stored(BaseModel):
    """A classifier as JSON: values, how many examples each has, and counts by feature.

    ``counts`` has for each feature the values' numbers and counts in turn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    values: Annotated[tuple[str, ...], Field(min_length=1)]
    examples: tuple[Count, ...]
    counts: dict[int, tuple[Count, ...]]


@dataclass(frozen=True)
class Classifier:
    """What was counted: values, their examples, and each feature's counts by the value's number."""

    values: tuple[str, ...]
    examples: tuple[int, ...]
    counts: Mapping[int, Mapping[int, int]]
    _totals: tuple[int, ...] = field(init=False)
    _sums: Mapping[int, int] = field(init=False)

    def __post_init__(self) -> None:
        totals = [0] * len(self.values)
        for by_value in self.counts.values():
            for number, count in by_value.items():
                totals[number] += count
        object.__setattr__(self, "_totals", tuple(totals))
        sums = {feature: sum(by_value.values()) for feature, by_value in self.counts.items()}
        object.__setattr__(self, "_sums", sums)

    @classmethod
    def trained(cls, examples: Iterable[tuple[Mapping[int, int], str]]) -> Self:
        """Count the features of examples and the values that belong to them."""
        seen = [(dict(features), value) for features, value in examples]
        values = sorted({value for _, value in seen})
        numbers = {value: number for number, value in enumerate(values)}
        counts: dict[int, Counter[int]] = {}
        for features, value in seen:
            for feature, count in features.items():
                counts.setdefault(feature, Counter())[numbers[value]] += count
        each = Counter(value for _, value in seen)
        return cls(tuple(values), tuple(each[value] for value in values), counts)

    def choose(self, features: Mapping[int, int]) -> str:
        """Return the value that fits best, the first in the alphabet on a tie."""
        scores = [self._score(number, features) for number in range(len(self.values))]
        return self.values[max(range(len(scores)), key=lambda number: scores[number])]

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        counts = {
            feature: tuple(n for pair in sorted(by_value.items()) for n in pair)
            for feature, by_value in sorted(self.counts.items())
        }
        stored = Stored(values=self.values, examples=self.examples, counts=counts)
        return stored.model_dump(mode="json")

    @classmethod
    def of(cls, stored: Stored) -> Self:
        """Return what was stored; raises ValueError where that is not whole."""
        known = range(len(stored.values))
        if len(stored.examples) != len(stored.values):
            raise ValueError("values and examples differ in number")
        counts = {}
        for feature, flat in stored.counts.items():
            counts[feature] = dict(zip(flat[::2], flat[1::2], strict=True))
            if any(number not in known for number in counts[feature]):
                raise ValueError("a count names no value")
        return cls(stored.values, stored.examples, counts)

    def _score(self, number: int, features: Mapping[int, int]) -> float:
        room = SMOOTHING * len(self.counts)
        own = self._totals[number] + room
        others = sum(self._totals) - self._totals[number] + room
        score = math.log(max(self.examples[number], SMOOTHING) / max(sum(self.examples), 1))
        for feature, count in features.items():
            if feature not in self.counts:
                continue
            here = self.counts[feature].get(number, 0)
            elsewhere = self._sums[feature] - here
            score += math.log1p(count) * math.log(
                (here + SMOOTHING) / own * others / (elsewhere + SMOOTHING)
            )
        return score
