"""Setting and reading a user's policy."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from bespoke_schemas.memories import GetPolicy, KindInForce, PolicyInForce, SetPolicy
from bespoke_workers.errors import Refused
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.kinds import KindPolicy
from bespoke_workers.memories.policy import DEFAULT, Policy
from bespoke_workers.memories.rollout import Rollout
from tests.integration.memory_workers import (
    ANGLES,
    ANGLES_POLICY,
    LEXICAL,
    in_loop,
    query,
    remember,
    worker,
    workers,
)

DEFAULTS = PolicyInForce(
    preset=None,
    max_memories=1000,
    max_age_days=90,
    similarity_threshold=LEXICAL.threshold,
    low_access_threshold=0.1,
    dedup_guard=True,
    eviction="oldest",
)


@in_loop
async def test_a_user_without_a_space_has_the_defaults(database_url: str) -> None:
    async with worker(database_url, Policy(max_memories=7)) as memories:
        got = await memories.get_policy(GetPolicy(user_id="ada"))
    assert got == DEFAULTS.model_copy(update={"max_memories": 7})
    assert await query(database_url, "SELECT user_id FROM memory_space") == []


@in_loop
async def test_fields_stand_above_the_preset_until_they_are_reset(database_url: str) -> None:
    async with worker(database_url) as memories:

        async def put(**given: Any) -> PolicyInForce:
            in_force = await memories.set_policy(SetPolicy(user_id="ada", **given))
            assert await memories.get_policy(GetPolicy(user_id="ada")) == in_force
            return in_force

        assert await put() == DEFAULTS
        assert (await put(max_memories=20)).max_memories == 20
        chosen = await put(preset="aggressive")
        assert (chosen.preset, chosen.max_memories, chosen.max_age_days) == ("aggressive", 20, 30)
        assert chosen.similarity_threshold == 0.85
        further = await put(similarity_threshold=0.5, dedup_guard=False)
        assert (further.max_memories, further.similarity_threshold) == (20, 0.5)
        assert not further.dedup_guard
        fresh = await put(preset="conservative", reset=True)
        assert (fresh.max_memories, fresh.similarity_threshold, fresh.dedup_guard) == (
            5000,
            0.98,
            True,
        )
        assert await put(reset=True) == DEFAULTS
        assert await memories.get_policy(GetPolicy(user_id="grace")) == DEFAULTS


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"preset": "frugal"},
            "policy preset: got 'frugal', allowed: default, conservative, aggressive",
        ),
        (
            {"max_memories": 0},
            "policy field max_memories: got 0, allowed: a whole number from 1 to 1000000",
        ),
        (
            {"similarity_threshold": 1.5},
            "policy field similarity_threshold: got 1.5, allowed: a number from -1 to 1",
        ),
        ({"scoring": "bold"}, "unknown scoring 'bold'; registered: default; set BESPOKE_PROGRAMS"),
        (
            {"eviction": "newest"},
            "policy field eviction: got 'newest', allowed: oldest or redundant",
        ),
    ],
)
def test_what_is_not_allowed_is_named_and_changes_nothing(
    database_url: str, given: dict[str, Any], told: str
) -> None:
    @in_loop
    async def run() -> None:
        async with worker(database_url) as memories:
            with pytest.raises(Refused) as refused:
                await memories.set_policy(SetPolicy(user_id="ada", **given))
        assert str(refused.value).startswith(told)
        assert await query(database_url, "SELECT user_id FROM memory_space") == []
        assert await query(database_url, "SELECT id FROM job") == []

    run()


@in_loop
async def test_a_repeated_delivery_sets_nothing_again(database_url: str) -> None:
    payload = SetPolicy(user_id="ada", max_memories=20)
    async with workers(database_url, 2) as (one, other):
        first, second = await asyncio.gather(one.set_policy(payload), other.set_policy(payload))
        await one.set_policy(SetPolicy(user_id="ada", max_memories=30))
        assert first == second == await other.set_policy(payload)
        assert (await other.get_policy(GetPolicy(user_id="ada"))).max_memories == 30


@in_loop
async def test_a_worker_that_has_the_space_cached_keeps_to_the_new_policy(
    database_url: str,
) -> None:
    async with (
        worker(database_url, ANGLES_POLICY, ANGLES) as storing,
        worker(database_url, ANGLES_POLICY, ANGLES) as setting,
    ):
        for content in ("a 0", "a 40", "a 80", "a 120"):
            await remember(storing, "ada", content)
        await setting.set_policy(SetPolicy(user_id="ada", max_memories=3))
        stored = await remember(storing, "ada", "b 0")
        assert stored.count == 2
        assert stored.compaction.total_compacted == 3
        await setting.set_policy(SetPolicy(user_id="ada", similarity_threshold=0.99))
        assert (await remember(storing, "ada", "b 10")).outcome == "inserted"


@in_loop
async def test_policies_set_at_once_all_count(database_url: str) -> None:
    changes: list[dict[str, Any]] = [
        {"max_memories": 20},
        {"max_age_days": 5},
        {"dedup_guard": False},
        {"low_access_threshold": 0.5},
    ]
    async with workers(database_url, 4) as several:
        await asyncio.gather(
            *(
                memories.set_policy(SetPolicy(user_id="ada", **change))
                for memories, change in zip(several, changes, strict=True)
            )
        )
        got = await several[0].get_policy(GetPolicy(user_id="ada"))
    assert got.model_dump().items() >= {key: v for c in changes for key, v in c.items()}.items()


KINDS = Policy(kinds={"chat": KindPolicy(max_memories=5), "note": KindPolicy(max_age_days=10)})


@in_loop
async def test_rules_of_a_kind_stand_above_those_of_everybody(database_url: str) -> None:
    async with worker(database_url, KINDS) as memories:

        async def put(**given: Any) -> dict[str, KindInForce]:
            in_force = await memories.set_policy(SetPolicy(user_id="ada", **given))
            assert await memories.get_policy(GetPolicy(user_id="ada")) == in_force
            return in_force.kinds

        everybody = {"chat": KindInForce(max_memories=5), "note": KindInForce(max_age_days=10)}
        assert await put() == everybody
        own = await put(kind="chat", max_memories=3)
        assert own == everybody | {"chat": KindInForce(max_memories=3)}
        own = await put(kind="chat", max_age_days=4)
        assert own["chat"] == KindInForce(max_memories=3, max_age_days=4)
        assert (await put(kind="chat", max_memories=9, reset=True))["chat"] == KindInForce(
            max_memories=9
        )
        assert await put(kind="chat", reset=True) == everybody
        await put(kind="joke", max_memories=1)
        assert await put(max_age_days=30) == {
            "chat": KindInForce(max_memories=5),
            "joke": KindInForce(max_memories=1),
        }
        assert await put(reset=True) == everybody


@pytest.mark.parametrize("given", [{"preset": "aggressive"}, {"dedup_guard": False}], ids=list)
def test_what_is_none_of_a_kind_is_refused(database_url: str, given: dict[str, Any]) -> None:
    @in_loop
    async def run() -> None:
        async with worker(database_url) as memories:
            with pytest.raises(Refused, match="policy of kind 'chat': got "):
                await memories.set_policy(SetPolicy(user_id="ada", kind="chat", **given))
        assert await query(database_url, "SELECT user_id FROM memory_space") == []

    run()


@in_loop
async def test_a_preset_that_is_rolled_out_is_told_as_such(database_url: str) -> None:
    everybody = Defaults(DEFAULT, Rollout("aggressive", Decimal(100)))
    async with worker(database_url, everybody) as memories:
        for _ in range(2):  # without a space and with one
            got = await memories.get_policy(GetPolicy(user_id="ada"))
            assert (got.preset, got.rolled_out, got.max_memories) == ("aggressive", True, 500)
            await remember(memories, "ada", "Likes tea")
        own = await memories.set_policy(SetPolicy(user_id="ada", preset="conservative"))
        assert (own.preset, own.rolled_out, own.max_memories) == ("conservative", False, 5000)
