"""A policy is a preset with some fields set, and refuses what makes no sense."""

from dataclasses import fields
from typing import Any

import pytest

from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import AGGRESSIVE, CONSERVATIVE, DEFAULT, Policy, resolve


def test_presets_have_the_documents_figures() -> None:
    figures = [
        (p.max_memories, p.max_age_days, p.similarity_threshold, p.low_access_threshold)
        for p in (DEFAULT, CONSERVATIVE, AGGRESSIVE)
    ]

    assert figures == [(1000, 90, None, 0.1), (5000, 365, 0.98, 0.05), (500, 30, 0.85, 0.2)]


def test_no_preset_is_the_default_given() -> None:
    own = Policy(max_memories=20)

    assert resolve(None, {}) == DEFAULT
    assert resolve(None, {}, default=own) == own
    assert resolve("default", {}, default=own) == DEFAULT
    assert resolve("aggressive", {}, default=own) == AGGRESSIVE


def test_overrides_set_fields_and_none_leaves_them() -> None:
    given = {"max_memories": 7, "similarity_threshold": None, "dedup_guard": False}

    assert resolve("conservative", given) == Policy(
        max_memories=7,
        max_age_days=365,
        similarity_threshold=0.98,
        low_access_threshold=0.05,
        dedup_guard=False,
    )


def test_without_a_threshold_the_embedder_decides() -> None:
    assert DEFAULT.threshold(0.97) == 0.97
    assert AGGRESSIVE.threshold(0.97) == 0.85
    assert Policy(similarity_threshold=0.0).threshold(0.97) == 0.0


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("max_memories", 0, "a whole number from 1 to 1000000"),
        ("max_memories", True, "a whole number from 1 to 1000000"),
        ("max_memories", 10.0, "a whole number from 1 to 1000000"),
        ("max_age_days", 36_501, "a whole number from 1 to 36500"),
        ("max_age_days", "90", "a whole number from 1 to 36500"),
        ("similarity_threshold", 1.01, "a number from -1 to 1"),
        ("similarity_threshold", float("nan"), "a number from -1 to 1"),
        ("low_access_threshold", -0.1, "a number from 0 to 1"),
        ("dedup_guard", 1, "true or false"),
        ("compaction", "never", "inline or background"),
        ("eviction", "newest", "oldest or redundant"),
        ("eviction", ["oldest"], "oldest or redundant"),
    ],
)
def test_a_wrong_value_is_refused_by_field_got_and_allowed(
    field: str, value: Any, allowed: str
) -> None:
    with pytest.raises(Refused) as refusal:
        resolve(None, {field: value})

    assert str(refusal.value) == f"policy field {field}: got {value!r}, allowed: {allowed}"


def test_unknown_presets_and_fields_are_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="got 'bold', allowed: default, conservative, aggressive"):
        resolve("bold", {})
    with pytest.raises(Refused, match="got 'max_memory', allowed: max_memories, max_age_days"):
        resolve(None, {"max_memory": 1})


@pytest.mark.parametrize("policy", [DEFAULT, CONSERVATIVE, AGGRESSIVE])
def test_every_field_of_a_preset_is_itself_allowed(policy: Policy) -> None:
    given = {field.name: getattr(policy, field.name) for field in fields(Policy)}

    assert resolve(None, given) == policy
