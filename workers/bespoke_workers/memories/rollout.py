"""A preset for some of the users who have none of their own."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import PRESETS

STEPS = 10_000
"""Users fall into so many parts: a percentage counts to the hundredth."""


@dataclass(frozen=True)
class Rollout:
    """A preset and the percentage, 0 to 100, of users who get it."""

    preset: str
    percent: Decimal

    @classmethod
    def parse(cls, text: str) -> "Rollout":
        """Read ``preset:percentage``; raises Refused, naming what was got and what is allowed."""
        preset, _, share = text.partition(":")
        try:
            percent = Decimal(share)
        except InvalidOperation:
            percent = Decimal(-1)
        if preset not in PRESETS or not (percent.is_finite() and 0 <= percent <= 100):
            raise Refused(
                f"got {text!r}, allowed: a preset ({', '.join(PRESETS)}) and a percentage "
                "from 0 to 100, like 'aggressive:10'"
            )
        return cls(preset, percent)

    def includes(self, user_id: str) -> bool:
        """Whether a user gets the preset: by hash, so that a higher percentage only adds users."""
        # With the preset in it, it is not always the same users who try the new one out.
        digest = hashlib.sha256(f"{self.preset}:{user_id}".encode()).digest()
        return int.from_bytes(digest[:8]) % STEPS < self.percent * STEPS / 100
