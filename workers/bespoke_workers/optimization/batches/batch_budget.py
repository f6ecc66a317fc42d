"""A batch's budget: when it is spent, no further run is begun. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchBudget:
    """What the runs of a batch may take together; None is no limit."""

    lm_calls: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def spent(self, lm_calls: int, usd: float, seconds: float) -> str | None:
        """Say which limit was reached by what was spent; None while there is some left."""
        if self.lm_calls is not None and lm_calls >= self.lm_calls:
            return f"its runs paid for {lm_calls:,} LM calls of {self.lm_calls:,} (max_lm_calls)"
        if self.usd is not None and usd >= self.usd:
            return f"its runs cost ${usd:,.4f} of ${self.usd:,.4f} (max_usd)"
        if self.seconds is not None and seconds >= self.seconds:
            return f"it took {seconds:,.0f} seconds of {self.seconds:,.0f} (max_seconds)"
        return None
