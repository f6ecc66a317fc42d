"""Whether a new version is better than the one in use. Pure arithmetic over scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bespoke_workers.optimization.judging.luck import EQUAL, chance

Score = float | None
"""Of one held-out example, 0 … 1; None where the language model did not answer."""

LUCK: Final = 0.1
"""A gain that luck makes more often than in one of ten cases is within the noise.

With 0.05, four of the six held-out examples of a small set had to turn out better and none
worse; docs/decisions/0028 has what either finds, and how often either is wrong.
"""
LEAD: Final = 0.5
"""Standard errors by which one program leads another: then it is better in two cases of three."""


@dataclass(frozen=True)
class Comparison:
    """Two versions' mean scores over the same ``held_out`` examples.

    ``luck`` is how likely chance alone would make the new version do as well.
    """

    before: float
    after: float
    held_out: int
    luck: float

    @property
    def better(self) -> bool:
        """Whether the new version is better by more than the noise."""
        return self.after > self.before and self.luck <= LUCK

    @property
    def reason(self) -> str:
        """Say in one line why the new version is, or is not, put into use."""
        said = f"{self.before:.3f} before, {self.after:.3f} after, on {self.held_out} held out"
        if self.better:
            return f"better: {said}"
        if self.after <= self.before:
            return f"not better: {said}"
        return f"not clearly better: {said}; luck alone does as well in {self.luck:.0%} of cases"


def compare(
    before: Sequence[Score], after: Sequence[Score], others: Sequence[Sequence[Score]] = ()
) -> Comparison | None:
    """Compare over the examples that both versions were answered for; None if there is none.

    An example that the language model failed on for one version only would otherwise count
    against that version, and an outage of a second could decide which one is in use.
    ``others`` are the scores of the programs among which the new version was chosen.
    """
    known = _answered(before, after)
    if not known:
        return None
    return Comparison(
        before=_mean(before, known),
        after=_mean(after, known),
        held_out=len(known),
        luck=chance(
            _differences(before, after, known),
            [_differences(before, other, known) for other in others],
        ),
    )


def leads(ahead: Sequence[Score], other: Sequence[Score]) -> bool:
    """Return whether ``other`` takes the lead: by more than LEAD standard errors of the difference.

    What is smaller is ahead already, and keeps the lead where a bigger one is hardly better.
    """
    known = _answered(ahead, other)
    if len(known) < 2:
        return False
    differences = _differences(ahead, other, known)
    gain = sum(differences) / len(known)
    variance = sum((one - gain) ** 2 for one in differences) / (len(known) - 1)
    return gain - LEAD * math.sqrt(variance / len(known)) > EQUAL


def mean(scores: Sequence[Score]) -> float | None:
    """Return the mean of the scores that are known; None if none is."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _answered(one: Sequence[Score], other: Sequence[Score]) -> list[int]:
    pairs = enumerate(zip(one, other, strict=True))
    return [place for place, (a, b) in pairs if a is not None and b is not None]


def _mean(scores: Sequence[Score], known: Sequence[int]) -> float:
    return sum(scores[place] or 0.0 for place in known) / len(known)


def _differences(
    before: Sequence[Score], after: Sequence[Score], known: Sequence[int]
) -> list[float]:
    """Return new minus old for each example; an answer that is missing makes no difference."""
    pairs = ((before[place], after[place]) for place in known)
    return [0.0 if one is None or other is None else other - one for one, other in pairs]
