"""What an optimization saves: its result, and checkpoints on the way while its row is its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import programs
from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.optimization.checkpoints import KEPT, RunCheckpoints
from bespoke_workers.optimization.leases import Claim, Leases
from bespoke_workers.optimization.snapshots import Snapshot
from bespoke_workers.optimization.stopping import LostLease
from bespoke_workers.programs import state
from bespoke_workers.programs.checkpoints import Checkpoints
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, Worker, working

CHECKPOINTS = (
    "SELECT checkpoint FROM program_version WHERE checkpoint_of IS NOT NULL ORDER BY saved_at"
)


@pytest.mark.parametrize("auto_save", [True, False])
@in_loop
async def test_a_version_that_is_not_promoted_is_saved_where_that_is_set(
    database_url: str, tmp_path: Path, auto_save: bool
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, auto_save=auto_save) as worker:
            await worker.teach("ada", 20)
            first = await worker.optimize("ada")
            second = await worker.optimize("ada")

            assert (first.promoted, second.promoted) == (True, False)
            assert second.score_after is not None
            saved = await worker.execute("SELECT id FROM program_version ORDER BY saved_at")
            if auto_save:
                assert saved == [first.program_id, second.program_id]
            else:
                assert (saved, second.program_id) == ([first.program_id], None)
            in_use = await worker.in_use("ada")
            assert in_use is not None
            assert in_use.id == first.program_id


@in_loop
async def test_a_long_optimization_saves_the_best_so_far_and_it_can_be_restored(
    database_url: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"save_intermediate_results": True, "checkpoint_every": 3}
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **options) as worker:
            await worker.teach("ada", 40)
            optimized = await worker.optimize("ada", tier="premium")

            names = await worker.execute(CHECKPOINTS)
            assert 1 <= len(names) <= KEPT
            assert all(int(name.removeprefix("auto_checkpoint_")) % 3 == 0 for name in names)
            checkpoints = Checkpoints(worker.database, worker.library)
            restored = await checkpoints.restore(
                programs.RestoreCheckpoint(
                    program=PROGRAM, user_id="ada", name=names[-1], activate=True
                )
            )
            assert restored.active
            assert restored.version is not None
            assert restored.version.score is not None
            assert 0 < restored.version.score <= 1
            assert restored.version.optimizer == "MIPROv2"
            assert optimized.promoted


@asynccontextmanager
async def claimed(url: str, home: Path) -> AsyncIterator[tuple[Worker, RunCheckpoints, Claim]]:
    """A run of a row that a worker has claimed."""
    async with working(url, home) as worker:
        payload = OptimizeUser(user_id="ada", program=PROGRAM)
        await worker.execute(
            "INSERT INTO optimization_job (id, user_id, program, state)"
            " VALUES (:id, 'ada', :program, 'queued')",
            id=payload.id,
            program=PROGRAM,
        )
        leases = Leases(worker.database, worker.settings.lease, max_attempts=5)
        claim = await leases.claim(payload.id)
        assert claim is not None
        yield worker, RunCheckpoints(worker.database, worker.library, leases, 1), claim


def snapshot(worker: Worker, evaluation: int) -> Snapshot:
    module = worker.library.module_for(PROGRAM, None)
    return Snapshot(evaluation, 0.5, state.dump(module))


@in_loop
async def test_each_job_keeps_its_last_checkpoints_and_no_other_job_s(
    database_url: str, tmp_path: Path
) -> None:
    async with claimed(database_url, tmp_path) as (worker, checkpoints, claim):
        another = Checkpoints(worker.database, worker.library)
        await another.save(
            programs.Checkpoint(
                program=PROGRAM, user_id="ada", name="mine", state=snapshot(worker, 1).state
            )
        )
        for evaluation in (10, 20, 30, 40, 50):
            assert await checkpoints.save(claim, "MIPROv2", snapshot(worker, evaluation))

        kept = await worker.execute("SELECT checkpoint FROM program_version ORDER BY saved_at")
        assert kept == ["mine", *(f"auto_checkpoint_{n}" for n in (30, 40, 50))]


@in_loop
async def test_a_run_that_begins_again_saves_nothing_until_it_is_as_far(
    database_url: str, tmp_path: Path
) -> None:
    async with claimed(database_url, tmp_path) as (worker, checkpoints, claim):
        assert await checkpoints.save(claim, "MIPROv2", snapshot(worker, 20))

        assert not await checkpoints.save(claim, "MIPROv2", snapshot(worker, 10))
        assert not await checkpoints.save(claim, "MIPROv2", snapshot(worker, 20))
        assert await checkpoints.save(claim, "MIPROv2", snapshot(worker, 30))

        assert len(await worker.execute(CHECKPOINTS)) == 2


@pytest.mark.parametrize(
    "loss",
    ["lease_owner = 'another'", "state = 'cancelled'", "state = 'succeeded', lease_owner = NULL"],
)
@in_loop
async def test_nothing_is_saved_once_the_lease_is_lost(
    database_url: str, tmp_path: Path, loss: str
) -> None:
    async with claimed(database_url, tmp_path) as (worker, checkpoints, claim):
        await worker.execute(f"UPDATE optimization_job SET {loss}")

        with pytest.raises(LostLease):
            await checkpoints.save(claim, "MIPROv2", snapshot(worker, 10))

        assert await worker.execute(CHECKPOINTS) == []


@in_loop
async def test_what_cannot_be_saved_is_tried_again_and_fails_nothing(
    database_url: str, tmp_path: Path
) -> None:
    async with claimed(database_url, tmp_path) as (worker, checkpoints, claim):
        snapshots = checkpoints.snapshots()
        assert snapshots is not None
        module = worker.library.module_for(PROGRAM, None)
        await worker.execute("ALTER TABLE program_version RENAME TO away")
        try:
            async with checkpoints.kept(claim, "MIPROv2", snapshots):
                snapshots.evaluated(module, 0.5)
            assert snapshots.waiting is not None
        finally:
            await worker.execute("ALTER TABLE away RENAME TO program_version")

        async with checkpoints.kept(claim, "MIPROv2", snapshots):
            pass

        assert snapshots.waiting is None
        assert await worker.execute(CHECKPOINTS) == ["auto_checkpoint_1"]
