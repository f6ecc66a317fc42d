"""What one run may take, and which limit one more LM call would break. Pure."""

from dataclasses import dataclass, field
from typing import Literal

from bespoke_workers.optimization.language_model.usage import Spent

Limit = Literal["lm_calls", "tokens", "usd", "seconds"]


@dataclass(frozen=True)
class Budget:
    """What one run may take: seconds of work and, unless None, LM calls, tokens, US dollars.

    ``asked`` are the limits that the job itself brought; the others are the installation's.
    """

    seconds: float
    lm_calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    asked: frozenset[Limit] = field(default=frozenset())

    def lowered(
        self,
        *,
        lm_calls: int | None = None,
        tokens: int | None = None,
        usd: float | None = None,
        seconds: float | None = None,
    ) -> "Budget":
        """Return this budget with the limits that a job asks for, where they are lower."""
        calls, fewer = _lower(self.lm_calls, lm_calls)
        most_tokens, less = _lower(self.tokens, tokens)
        most_usd, cheaper = _lower(self.usd, usd)
        most_seconds, shorter = _lower(self.seconds, seconds)
        asked: dict[Limit, bool] = {
            "lm_calls": fewer, "tokens": less, "usd": cheaper, "seconds": shorter
        }  # fmt: skip
        return Budget(
            seconds=self.seconds if most_seconds is None else most_seconds,
            lm_calls=None if calls is None else int(calls),
            tokens=None if most_tokens is None else int(most_tokens),
            usd=most_usd,
            asked=self.asked | {limit for limit, is_lower in asked.items() if is_lower},
        )

    def broken(self, spent: Spent, begun: int, under_way: int) -> Limit | None:
        """Say which limit one call more might break; None if it may be made.

        ``begun`` calls were ever made, of which ``under_way`` have not ended: these, and the one
        that is to be made, are expected to take what those before took on average. Of the very
        first calls nothing is known.
        """
        if self.lm_calls is not None and begun >= self.lm_calls:
            return "lm_calls"
        expected = (under_way + 1) / max(spent.lm_calls, 1)
        if _is_too_much(self.tokens, spent.tokens, expected):
            return "tokens"
        unknown = self.usd is not None and spent.unpriced_calls > 0
        if unknown or _is_too_much(self.usd, spent.cost_usd, expected):
            return "usd"
        return None

    def told(self, limit: Limit, spent: Spent) -> str:
        """Say that a limit was met, and what to do about it."""
        if limit == "usd" and spent.unpriced_calls:
            return (
                f"the price of {spent.unpriced_calls} LM calls is not known, so a limit in US "
                "dollars cannot be kept; set BESPOKE_PRICES"
            )
        where = f"max_{limit}" if limit in self.asked else f"BESPOKE_OPTIMIZATION_{limit.upper()}"
        return f"{self._met(limit, spent)}; raise {where} or give it fewer examples"

    def _met(self, limit: Limit, spent: Spent) -> str:
        if limit == "lm_calls":
            return f"the optimization may pay for {self.lm_calls} LM calls"
        if limit == "tokens":
            return f"the optimization took {spent.tokens:,} of {self.tokens:,} tokens"
        if limit == "usd":
            return f"the optimization cost ${spent.cost_usd:,.4f} of ${self.usd:,.4f}"
        return f"the optimization took longer than {self.seconds:g} seconds"


def _lower(mine: float | None, asked: float | None) -> tuple[float | None, bool]:
    if asked is None or (mine is not None and mine <= asked):
        return mine, False
    return asked, True


def _is_too_much(limit: float | None, spent: float, expected: float) -> bool:
    if limit is None:
        return False
    return spent >= limit or spent * (1 + expected) > limit
