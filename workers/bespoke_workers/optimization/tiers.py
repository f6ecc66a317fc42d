"""Tiers: which optimizer suits how many examples. Data, and nothing that does anything."""

from dataclasses import dataclass
from typing import Final

from bespoke_schemas.optimization import Tier

FEWEST_EXAMPLES: Final = 4
"""With fewer, one side of the split would be a single example, whatever tier was asked for."""


@dataclass(frozen=True)
class Band:
    """A tier, the fewest examples it begins with, and the optimizer that it stands for."""

    tier: Tier
    fewest: int
    optimizer: str | None


STANDARD: Final = (
    Band("none", 0, None),
    Band("basic", 10, "LabeledFewShot"),
    Band("advanced", 50, "BootstrapFewShot"),
    Band("premium", 200, "MIPROv2"),
)


def tier_for(examples: int) -> Tier:
    """Return the tier of a user who has this many examples."""
    return next(band.tier for band in reversed(STANDARD) if examples >= band.fewest)


def optimizer_of(tier: Tier) -> str | None:
    """Return the name of a tier's optimizer; None for the tier that optimizes nothing."""
    return next(band.optimizer for band in STANDARD if band.tier == tier)


def bounds(tier: Tier) -> tuple[int, int | None]:
    """Return the fewest examples of a tier and the fewest of the next one, None after the last."""
    fewest = [band.fewest for band in STANDARD]
    place = next(place for place, band in enumerate(STANDARD) if band.tier == tier)
    return fewest[place], fewest[place + 1] if place + 1 < len(fewest) else None


def first_optimized() -> int:
    """Return the number of examples from which on something is optimized."""
    return next(band.fewest for band in STANDARD if band.optimizer is not None)
