"""What one statement says of size compaction is what the rule over rows says."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from bespoke_schemas import uuid7
from bespoke_schemas.memories import Compaction
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Memory, MemorySpace
from bespoke_workers.memories import plan
from bespoke_workers.memories.archive import Archive
from bespoke_workers.memories.compactor import standings
from bespoke_workers.memories.oldest_first import Evicted, evict
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.space import Space
from bespoke_workers.memories.statements import statement
from bespoke_workers.storage.places import Storage
from tests.integration.memory_workers import in_loop, opened

NOW = datetime(2025, 6, 1, tzinfo=UTC)
CASES = 120
DIM = 2


class Case:
    """One user's memories with many ties, and what their compaction is asked under."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.user_id = f"user-{seed}"
        size = self.chance.choice([*range(1, 12), 60, 70])
        self.memories = [self._memory(number) for number in range(size)]
        limit = max(size - self.chance.choice([0, 1, 1, 2, 5]), 1)
        self.policy = Policy(
            max_memories=limit,
            max_age_days=self.chance.choice([3, 30, 30]),
            low_access_threshold=self.chance.choice([0.1, 0.3, 0.55]),
        )
        ids = [one.id for one in self.memories]
        self.just_stored = self.chance.sample(ids, k=min(self.chance.choice([0, 1, 1, 2]), size))

    def _day(self) -> datetime:
        return NOW - timedelta(days=self.chance.randrange(5), microseconds=self.chance.randrange(2))

    def _maybe_day(self) -> datetime | None:
        return self.chance.choice([None, None, self._day()])

    def _memory(self, number: int) -> Memory:
        reads = self.chance.choice([0, 0, 1, 3, 10])
        fields: dict[str, Any] = {
            "id": UUID(int=self.chance.getrandbits(128)),
            "user_id": self.user_id,
            "content": "Has a cat",
            "kind": self.chance.choice(["fact", "preference"]),
            "facts": "",
            "embedding": b"\0" * 2 * DIM,
            "version": number + 1,
            "access_count": reads,
            "last_accessed_at": self._maybe_day(),
            "created_at": self._day(),
            "updated_at": NOW,
            "renewed_at": self._maybe_day(),
        }
        return Memory(**fields)  # the database makes the rest

    def space(self) -> Space:
        stored = len(self.memories)
        pause = self.chance.choice([0, 0, 4])
        return Space(
            version=stored,
            reload_below=0,
            count=stored,
            oldest_created_at=NOW,
            most_accessed=0,
            stored_total=stored,
            relevance_check_at=0,
            relevance_pause_until=stored + pause,
            embedder="none",
            dim=DIM,
            policy=self.policy,
        )


def cases() -> Iterator[Case]:
    return (Case(seed) for seed in range(CASES))


async def write(database: Database, case: Case) -> None:
    async with database.transaction() as session:
        fields: dict[str, Any] = {"user_id": case.user_id, "embedder": "none", "dim": DIM}
        session.add(MemorySpace(**fields))
        await session.flush()
        session.add_all(case.memories)


def assert_as_planned(found: Evicted, rows: list[plan.Row], case: Case, space: Space) -> None:
    planned = plan.plan(rows, case.policy, NOW, just_stored=case.just_stored, pause=space.pause)
    assert found.gone == planned.removed == planned.size
    assert found.report == Compaction.model_validate(planned.report.as_dict())
    assert space.after_eviction(found.left) == space.after_compaction(planned)


async def written(connection: Connection, archive: Archive) -> dict[str, list[Any]]:
    """Return the ids in the user's space and archive, and the reports that are kept."""
    asked = {
        "there": "SELECT id FROM memory WHERE user_id = :user_id",
        "gone": "SELECT memory_id FROM memory_archive WHERE user_id = :user_id AND reason = 'size'"
        " AND run_id = :run_id AND removed_version = :version AND removed_at = :now",
        "reports": "SELECT report FROM compaction_run WHERE id = :run_id AND user_id = :user_id",
    }
    return {
        name: [row[0] for row in (await connection.execute(statement(sql), archive.run)).all()]
        for name, sql in asked.items()
    }


@in_loop
async def test_one_statement_removes_what_the_rule_over_rows_removes(
    database_url: str, tmp_path: Path
) -> None:
    judged, safeguard = 0, Safeguard(Storage(f"file://{tmp_path}"))
    async with opened(database_url) as database:
        for case in cases():
            await write(database, case)
            space = case.space()
            async with database.direct_transaction() as connection:
                archive = Archive(
                    connection, user_id=case.user_id, run_id=uuid7(), version=space.version, now=NOW
                )
                rows = await standings(connection, case.user_id)
                found = await evict(connection, archive, space, NOW, case.just_stored, safeguard)
                after = await written(connection, archive)
            gone = set() if found is None else set(found.gone)
            assert set(after["gone"]) == gone
            assert set(after["there"]) == {row.id for row in rows} - gone
            if found is None:
                assert after["reports"] == []
            else:
                assert_as_planned(found, rows, case, space)
                (report,) = after["reports"]
                assert Compaction.model_validate(report) == found.report
                judged += 1
    assert CASES // 4 < judged < CASES  # in the others, age or relevance had something to do


@in_loop
async def test_a_compaction_that_is_exported_first_is_left_to_the_rows(
    database_url: str, tmp_path: Path
) -> None:
    async with opened(database_url) as database:
        case = next(one for one in cases() if len(one.memories) > one.policy.max_memories > 3)
        await write(database, case)
        guarding = Safeguard(Storage(f"file://{tmp_path}"), share=0.0)
        async with database.direct_transaction() as connection:
            archive = Archive(connection, user_id=case.user_id, run_id=uuid7(), version=1, now=NOW)
            given = connection, archive, case.space(), NOW, ()
            assert await evict(*given, guarding) is None
            assert len((await written(connection, archive))["there"]) == len(case.memories)
