"""Whether a new version is better than the one in use. Pure arithmetic over scores."""

from collections.abc import Sequence
from dataclasses import dataclass

Score = float | None
"""Of one held-out example, 0 … 1; None where the language model did not answer."""


@dataclass(frozen=True)
class Comparison:
    """Two versions' mean scores over the same ``held_out`` examples."""

    before: float
    after: float
    held_out: int

    @property
    def better(self) -> bool:
        """Whether the new version is strictly better."""
        return self.after > self.before

    @property
    def reason(self) -> str:
        """Say in one line why the new version is, or is not, put into use."""
        said = f"{self.before:.3f} before, {self.after:.3f} after, on {self.held_out} held out"
        return f"better: {said}" if self.better else f"not better: {said}"


def compare(before: Sequence[Score], after: Sequence[Score]) -> Comparison | None:
    """Compare over the examples that both versions were answered for; None if there is none.

    An example that the language model failed on for one version only would otherwise count
    against that version, and an outage of a second could decide which one is in use.
    """
    pairs = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if one is not None and other is not None
    ]
    if not pairs:
        return None
    return Comparison(
        before=sum(one for one, _ in pairs) / len(pairs),
        after=sum(other for _, other in pairs) / len(pairs),
        held_out=len(pairs),
    )
