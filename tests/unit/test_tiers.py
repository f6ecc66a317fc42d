"""Which optimizer a number of examples leads to."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_schemas.optimization import Optimizer
from bespoke_workers import configuration
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.optimization.choosing.tiers import RECOMMENDED, STANDARD, Table
from bespoke_workers.settings import Settings

OWN = [
    {"tier": "few", "from": 2, "optimizer": "LabeledFewShot", "options": {"k": 3}},
    {"tier": "rest", "from": 30},
    {"tier": "many", "from": 90, "optimizer": "GEPA", "options": {"max_metric_calls": 60}},
]


def set_to(table: Any, home: Path = Path("/nowhere")) -> Settings:
    text = table if isinstance(table, str) else json.dumps(table)
    return Settings(tiers=text, home=home)


def own() -> Table:
    return Table.from_settings(set_to(OWN))


@pytest.mark.parametrize(
    ("table", "examples", "tier", "optimizer"),
    [
        ("standard", 0, "none", None),
        ("standard", 9, "none", None),
        ("standard", 10, "basic", "LabeledFewShot"),
        ("standard", 49, "basic", "LabeledFewShot"),
        ("standard", 50, "advanced", "BootstrapFewShot"),
        ("standard", 199, "advanced", "BootstrapFewShot"),
        ("standard", 200, "premium", "MIPROv2"),
        ("standard", 100_000, "premium", "MIPROv2"),
        ("recommended", 3, "none", None),
        ("recommended", 9, "starting", "LabeledFewShot"),
        ("recommended", 10, "basic", "BootstrapFewShot"),
        ("recommended", 50, "advanced", "BootstrapFewShotWithRandomSearch"),
        ("recommended", 200, "premium", "MIPROv2"),
        (OWN, 1, "none", None),
        (OWN, 2, "few", "LabeledFewShot"),
        (OWN, 89, "rest", None),
        (OWN, 90, "many", "GEPA"),
    ],
)
def test_a_tier_follows_from_the_number_of_examples(
    table: Any, examples: int, tier: str, optimizer: Optimizer | None
) -> None:
    chosen = Table.from_settings(set_to(table))

    assert chosen.tier_for(examples) == tier
    assert chosen.band(tier).optimizer == optimizer


@given(
    table=st.sampled_from([STANDARD, RECOMMENDED, own()]),
    examples=st.integers(min_value=0, max_value=10_000),
)
def test_the_bounds_that_the_planner_uses_agree_with_the_tier(table: Table, examples: int) -> None:
    tier = table.tier_for(examples)
    fewest, beyond = table.bounds(tier)

    too_few_to_split = table.band(tier).optimizer is not None and examples < 4
    assert fewest <= examples or too_few_to_split
    assert beyond is None or examples < beyond


def test_optimizing_begins_with_the_first_tier_that_has_an_optimizer() -> None:
    assert (STANDARD.first_optimized(), RECOMMENDED.first_optimized()) == (10, 4)
    assert own().first_optimized() == 4  # two cannot be split


def test_a_tier_given_by_hand_stands_above_the_examples_as_long_as_there_is_such_a_tier() -> None:
    assert STANDARD.tier_for(500, by_hand="basic") == "basic"
    assert STANDARD.tier_for(500, by_hand="none") == "none"
    assert own().tier_for(500, by_hand="none") == "none"
    assert STANDARD.tier_for(500, by_hand="starting") == "premium"


@pytest.mark.parametrize(
    ("by_hand", "fewest"), [(None, 10), ("starting", 10), ("premium", 4), ("none", None)]
)
def test_whoever_was_given_a_tier_is_optimized_with_as_few_examples_as_can_be_split(
    by_hand: str | None, fewest: int | None
) -> None:
    assert STANDARD.fewest_for(by_hand) == fewest


def test_a_tier_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refused, match="unknown tier 'gold'; BESPOKE_TIERS has none, basic, adv"):
        STANDARD.band("gold")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("fancy", "got neither a name nor JSON; give standard, recommended, or a table such as"),
        ({"tier": "a"}, "valid list"),
        ([], "at least 1"),
        ([{"tier": "a", "from": 1, "optimizer": "COPRO"}], "entry 1 'optimizer': Input should be"),
        ([{"tier": "a", "from": -1, "optimizer": "GEPA"}], "entry 1 'from': Input should be great"),
        ([{"tier": " ", "from": 1, "optimizer": "GEPA"}], "entry 1 'tier'"),
        ([{"tier": "a", "optimizer": "GEPA"}], "entry 1 'from': Field required"),
        ([{"tier": "a", "from": 1, "when": 2}], "entry 1 'when': Extra inputs"),
        ([{**OWN[0]}, {**OWN[0], "from": 9}], "tier 'few' is there twice"),
        ([OWN[2], OWN[0]], "tier 'few' does not begin above 'many'"),
        ([OWN[1]], "no tier has an optimizer"),
        ([{"tier": "none", "from": 0, "optimizer": "GEPA"}], "tier 'none' begins at 0 and has no"),
        ([OWN[0], {"tier": "b", "from": 9, "options": {"k": 1}}], "'b' has options and no optim"),
        ([{**OWN[0], "options": {"log_dir": "x"}}], "tier 'few': LabeledFewShot has no option"),
    ],
)
def test_a_wrong_table_is_one_line_at_the_start(table: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        configuration.check_tiers(set_to(table, tmp_path))

    line = str(refused.value)
    assert line.startswith("BESPOKE_TIERS: ")
    assert told in line
    assert "\n" not in line


def test_each_tier_that_optimizes_has_its_batch_at_night(tmp_path: Path) -> None:
    def batches(table: Any) -> set[str]:
        entries = configuration.beat_entries(set_to(table, tmp_path)).values()
        return {
            entry["kwargs"]["tier"]
            for entry in entries
            if entry["task"] == configuration.NIGHTLY_TIER
        }

    assert batches("standard") == {"basic", "advanced", "premium"}
    assert batches("recommended") == {"starting", "basic", "advanced", "premium"}
    assert batches(OWN) == {"few", "many"}
