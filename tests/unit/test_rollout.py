"""A preset rolled out to a percentage of users: always the same ones."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.policy import DEFAULT
from bespoke_workers.memories.rollout import Rollout
from bespoke_workers.settings import Settings

USERS = [f"user-{number}" for number in range(2_000)]
PERCENT = st.integers(0, 10_000).map(lambda hundredths: Decimal(hundredths) / 100)


def chosen(percent: Decimal | int, preset: str = "aggressive") -> set[str]:
    rollout = Rollout(preset, Decimal(percent))
    return {user for user in USERS if rollout.includes(user)}


def test_a_percentage_is_about_that_share_of_users() -> None:
    assert chosen(0) == set()
    assert 150 <= len(chosen(10)) <= 250
    assert chosen(100) == set(USERS)


def test_who_gets_it_stays_the_same_wherever_and_whenever_it_is_asked() -> None:
    first = {f"user-{number}" for number in (12, 38, 47, 48)}

    assert {user for user in chosen(10) if user in {f"user-{n}" for n in range(60)}} == first


@given(PERCENT, PERCENT, st.text(min_size=1))
def test_more_per_cent_only_add_users(a: Decimal, b: Decimal, user: str) -> None:
    less, more = (Rollout("aggressive", percent) for percent in sorted((a, b)))

    assert more.includes(user) or not less.includes(user)


def test_another_preset_goes_to_other_users() -> None:
    assert chosen(10) != chosen(10, "conservative")


def test_a_preset_of_one_s_own_stands_above_the_rollout() -> None:
    defaults = Defaults(DEFAULT, Rollout("aggressive", Decimal(100)))

    assert defaults.resolve("ada", None, {}).max_memories == 500
    assert defaults.resolve("ada", None, {"max_memories": 7}).max_age_days == 30
    assert defaults.resolve("ada", "default", {}) == DEFAULT
    assert (defaults.preset("ada", None), defaults.is_rolled_out("ada", None)) == (
        "aggressive",
        True,
    )
    assert not defaults.is_rolled_out("ada", "aggressive")


@pytest.mark.parametrize("text", ["aggressive", "bold:10", "aggressive:101", "aggressive:-1", ":5"])
def test_what_is_no_preset_and_percentage_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        Rollout.parse(text)
    assert str(refusal.value) == (
        f"got {text!r}, allowed: a preset (default, conservative, aggressive) and a percentage "
        "from 0 to 100, like 'aggressive:10'"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"policy_rollout": "aggressive:ten"}, "BESPOKE_POLICY_ROLLOUT: got 'aggressive:ten'"),
        (
            {"kind_policies": {"smalltalk": {"max_memory": 1}}},
            "BESPOKE_KIND_POLICIES: policy of kind 'smalltalk': got 'max_memory', allowed: ",
        ),
    ],
    ids=["rollout", "kinds"],
)
def test_a_wrong_setting_is_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Defaults.from_settings(Settings(**given))
    assert str(refused.value).startswith(told)
