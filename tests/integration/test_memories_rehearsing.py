"""Dry runs of compaction: a report without an effect."""

from typing import Any

import pytest
from pydantic import ValidationError

from bespoke_schemas.memories import Compact, Compaction, SetPolicy
from bespoke_workers.errors import Refused
from bespoke_workers.memories.policy import Policy
from tests.integration.memory_workers import ANGLES, in_loop, query, remember, worker
from tests.integration.test_memories_compaction import fill, word

LOOSE = Policy(dedup_guard=False, similarity_threshold=0.99999)
TABLES = ("memory", "memory_space", "memory_archive", "compaction_run")


async def everything(url: str) -> list[list[Any]]:
    """Return all rows that a compaction could change."""
    return [await query(url, f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]


@in_loop
async def test_a_preset_is_tried_without_an_effect_and_then_does_as_it_was_told(
    database_url: str,
) -> None:
    async with worker(database_url, LOOSE, ANGLES) as memories:
        for content in ("a 0", "a 20", "b 0", "c 0", "c 25", "d 0"):
            await remember(memories, "ada", content)
        await memories.set_policy(SetPolicy(user_id="ada", max_memories=5))
        before = await everything(database_url)
        payload = Compact(user_id="ada", dry_run=True, preset="aggressive")
        report = await memories.compact(payload)
        assert report == await memories.compact(payload)
        assert await everything(database_url) == before
        assert report.size_compaction is not None
        assert report.deduplication is not None
        assert (report.size_compaction.removed_count, report.deduplication.removed_count) == (2, 1)
        as_it_is = await memories.compact(Compact(user_id="ada", dry_run=True))
        assert (as_it_is.total_compacted, as_it_is.deduplication) == (2, None)

        await memories.set_policy(SetPolicy(user_id="ada", preset="aggressive"))
        assert await memories.compact(Compact(user_id="ada")) == report
    jobs = await query(database_url, "SELECT id FROM job WHERE task = 'bespoke.memories.compact'")
    assert len(jobs) == 3


@in_loop
async def test_a_forced_dry_run_tells_what_force_would_remove(database_url: str) -> None:
    async with worker(database_url, Policy(max_memories=20)) as memories:
        await fill(memories, 20)
        report = await memories.compact(Compact(user_id="ada", dry_run=True, force=True))
        assert report.total_compacted == 4
        assert (await remember(memories, "ada", word(20))).compaction.total_compacted == 5


@in_loop
async def test_nothing_is_tried_on_nobody_and_no_unknown_preset(database_url: str) -> None:
    async with worker(database_url) as memories:
        nobody = Compact(user_id="ada", dry_run=True, preset="aggressive")
        assert await memories.compact(nobody) == Compaction()
        with pytest.raises(Refused, match="got 'bold', allowed: default"):
            await memories.compact(Compact(user_id="ada", dry_run=True, preset="bold"))
    assert await query(database_url, "SELECT user_id FROM memory_space") == []


def test_a_preset_is_chosen_by_set_policy_and_not_by_a_compaction() -> None:
    with pytest.raises(ValidationError, match="preset is for a dry_run; SetPolicy chooses"):
        Compact(user_id="ada", preset="aggressive")
