"""Which optimizer a number of examples leads to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_schemas.optimization import Tier
from bespoke_workers.optimization import tiers


@pytest.mark.parametrize(
    ("examples", "tier", "optimizer"),
    [
        (0, "none", None),
        (9, "none", None),
        (10, "basic", "LabeledFewShot"),
        (49, "basic", "LabeledFewShot"),
        (50, "advanced", "BootstrapFewShot"),
        (199, "advanced", "BootstrapFewShot"),
        (200, "premium", "MIPROv2"),
        (100_000, "premium", "MIPROv2"),
    ],
)
def test_a_tier_follows_from_the_number_of_examples(
    examples: int, tier: Tier, optimizer: str | None
) -> None:
    assert tiers.tier_for(examples) == tier
    assert tiers.optimizer_of(tier) == optimizer


@given(st.integers(min_value=0, max_value=10_000))
def test_the_bounds_that_the_planner_uses_agree_with_the_tier(examples: int) -> None:
    fewest, beyond = tiers.bounds(tiers.tier_for(examples))
    assert fewest <= examples
    assert beyond is None or examples < beyond


def test_optimizing_begins_with_the_first_tier_that_has_an_optimizer() -> None:
    assert tiers.tier_for(tiers.first_optimized()) == "basic"
    assert tiers.tier_for(tiers.first_optimized() - 1) == "none"
