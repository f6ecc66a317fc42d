"""Fine-tuning on this machine: a small model of a user's own, scored, promoted and served."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import programs
from bespoke_schemas.optimization import Optimized, OptimizeUser
from bespoke_workers.database.portal import Portal
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.optimization.finetuning.removal import Removal
from bespoke_workers.optimization.judging.split import split
from bespoke_workers.programs.changing import Changing
from bespoke_workers.programs.serving import ForUser
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    PROGRAM,
    Worker,
    lessons,
    worker_process,
    working,
)
from tests.integration.test_optimization_resume import taken_up_again

TUNING: dict[str, Any] = {"optimizer": "BootstrapFinetune"}
LOCAL: dict[str, Any] = {"finetune_provider": "local"}


def served(worker: Worker) -> Portal:
    """Serve programs as an application that shares this worker's settings does."""
    return Portal(lambda: worker.settings)


def held_out(count: int) -> list[dict[str, Any]]:
    return [dict(one) for one in split(lessons(count), f"ada/{PROGRAM}").held_out]


def files(home: Path) -> list[Path]:
    return [one for one in (home / "storage" / "user-models").rglob("*") if one.is_file()]


async def tuned(worker: Worker, user_id: str = "ada", count: int = 40) -> Optimized:
    """Teach a user and fine-tune for them; the new version is in use."""
    await worker.teach(user_id, count)
    optimized = await worker.optimize(user_id, **TUNING)
    assert optimized.promoted
    return optimized


@in_loop
async def test_a_small_model_beats_the_program_and_is_what_the_user_is_served(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            optimized = await tuned(worker, count=80)
            assert optimized.score_before is not None
            assert optimized.score_after is not None
            assert optimized.score_after > max(0.8, optimized.score_before)
            made = lm.calls
            assert optimized.lm_calls == made  # those of the small model cost nothing
            with closing(served(worker)) as portal:
                for_user = ForUser(lambda: portal)
                module = await asyncio.to_thread(for_user, PROGRAM, "ada")
                answers = [
                    (await asyncio.to_thread(module, text=one["text"])).label == one["label"]
                    for one in held_out(80)
                ]
                assert lm.calls == made
                assert sum(answers) / len(answers) == pytest.approx(optimized.score_after)
                for other in ("grace", None):
                    plain = await asyncio.to_thread(for_user, PROGRAM, other)
                    assert [each.lm for each in plain.predictors()] == [None]


@in_loop
async def test_a_version_is_judged_with_its_own_model(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            first = await tuned(worker, count=80)
            again = await worker.optimize("ada", **TUNING)
            assert again.score_before == first.score_after
            assert not again.promoted


@in_loop
async def test_a_rollback_goes_back_to_the_model_before(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            first = await tuned(worker)
            await worker.execute("UPDATE user_model SET base_model = 'the first'")
            await worker.optimize("ada", **TUNING)
            changing = Changing(worker.database, worker.library)
            active = programs.LoadActive(user_id="ada", program=PROGRAM)
            second = await worker.execute("SELECT id FROM program_version ORDER BY saved_at")
            await changing.activate(
                programs.Activate(user_id="ada", program=PROGRAM, program_id=second[1])
            )
            loaded = await worker.library.load_active(active)
            assert loaded.model is not None
            assert loaded.model.base_model == "naive-bayes"
            await changing.rollback(programs.Rollback(user_id="ada", program=PROGRAM))
            loaded = await worker.library.load_active(active)
            assert loaded.version is not None
            assert loaded.model is not None
            assert (loaded.version.program_id, loaded.model.base_model) == (
                first.program_id,
                "the first",
            )
            await changing.rollback(programs.Rollback(user_id="ada", program=PROGRAM))
            assert (await worker.library.load_active(active)).model is None


@in_loop
async def test_no_state_and_no_other_version_brings_a_model_along(
    database_url: str, tmp_path: Path
) -> None:
    """What a hostile state, metadata or id says of a model counts for nothing."""
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            optimized = await tuned(worker)
            theirs = await worker.in_use("ada")
            assert theirs is not None
            hostile = {
                "model": "openai/theirs",
                "api_base": "http://elsewhere.invalid",
                "engine": {"class": "os:system", "state": {}},
            }
            assert not any("lm" in each for each in theirs.state.values())
            state = {name: {**each, "lm": hostile} for name, each in theirs.state.items()}
            for user_id, optimizer in (("eve", "BootstrapFinetune"), ("ada", "GEPA")):
                saving = programs.Save(
                    user_id=user_id,
                    program=PROGRAM,
                    state=state,
                    optimizer=optimizer,
                    metadata={"model": hostile, "user_model": str(optimized.program_id)},
                    activate=True,
                )
                await worker.library.save(saving)
                active = programs.LoadActive(user_id=user_id, program=PROGRAM)
                loaded = await worker.library.load_active(active)
                assert loaded.version is not None
                assert loaded.model is None
                assert "elsewhere" not in str(loaded.version.state)
                with closing(served(worker)) as portal:
                    module = await asyncio.to_thread(ForUser(lambda: portal), PROGRAM, user_id)
                assert [each.lm for each in module.predictors()] == [None]
            taken = saving.model_copy(update={"id": theirs.id, "user_id": "eve"})
            with pytest.raises(Refused, match="belongs to another job"):
                await worker.library.save(taken)


@in_loop
async def test_a_model_goes_with_the_version_that_has_it(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            optimized = await tuned(worker)
            await tuned(worker, "grace")
            assert optimized.program_id is not None
            assert len(files(tmp_path)) == 2
            await worker.optimization.reap()
            assert len(files(tmp_path)) == 2
            changing = Changing(worker.database, worker.library)
            await changing.rollback(programs.Rollback(user_id="ada", program=PROGRAM))
            gone = programs.Delete(user_id="ada", program_id=optimized.program_id)
            assert (await changing.delete(gone)).deleted
            await worker.optimization.reap()
            assert await worker.execute("SELECT user_id FROM user_model") == ["grace"]
            assert len(files(tmp_path)) == 1


@in_loop
async def test_what_was_not_saved_leaves_no_model(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, auto_save=False, **LOCAL) as worker:
            await tuned(worker, count=80)
            again = await worker.optimize("ada", **TUNING)
            assert (again.promoted, again.program_id) == (False, None)
            assert await worker.execute("SELECT count(*) FROM user_model") == [1]
            assert len(files(tmp_path)) == 1


@in_loop
async def test_an_erased_user_leaves_no_model(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            await tuned(worker)
            await tuned(worker, "grace")
            removal = Removal(worker.database, worker.settings)
            assert await removal.of_user("ada") == 1
            assert await removal.of_user("ada") == 0
            assert await worker.execute("SELECT user_id FROM user_model") == ["grace"]
            assert len(files(tmp_path)) == 1


@in_loop
async def test_a_tier_hands_its_fine_tuning_to_the_queue_of_such_runs(
    database_url: str, tmp_path: Path
) -> None:
    tiers = '[{"tier": "own", "from": 4, "optimizer": "BootstrapFinetune"}]'
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, tiers=tiers, **LOCAL) as worker:
            await worker.teach("ada", 40)
            payload = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(payload)
            assert await worker.optimization.run(payload.id) is None
            assert worker.outbox.finetunings == [payload.id]
            row = await worker.row(payload.id)
            assert (row.state, row.finetuning, row.attempts) == ("queued", True, 0)
            assert lm.calls == 0
            await worker.execute("UPDATE optimization_job SET sent_at = now() - interval '1 h'")
            await worker.optimization.reap()
            assert worker.outbox.finetunings == [payload.id] * 2
            optimized = await worker.optimization.run(payload.id)
            assert optimized is not None
            assert (optimized.optimizer, optimized.tier) == ("BootstrapFinetune", "own")


@in_loop
async def test_without_a_provider_fine_tuning_is_refused_with_what_to_set(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(user_id="ada", program=PROGRAM, **TUNING)
            with pytest.raises(Misconfigured, match="BESPOKE_FINETUNE_PROVIDER is not set"):
                await worker.optimization.accept(payload)
            payload = OptimizeUser(user_id="ada", program=PROGRAM, **TUNING, options={"k": 2})
            with pytest.raises(Refused, match="has no option 'k'; it has none"):
                await worker.optimization.accept(payload)


@in_loop
async def test_a_killed_fine_tuning_is_taken_up_again_and_pays_for_no_call_twice(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESPOKE_FINETUNE_PROVIDER", "local")  # for the process that is killed
    holding = Holding(20)
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url, **LOCAL) as worker:
            await worker.teach("ada", 40)
            payload = OptimizeUser(user_id="ada", program=PROGRAM, **TUNING)
            await worker.optimization.accept(payload)
            with worker_process(worker, lm, payload.id) as process:
                await holding.holds()
                process.kill()
                await asyncio.to_thread(process.wait)
            holding.let_go()
            await taken_up_again(worker)
            resumed = await worker.optimization.run(payload.id)
            assert resumed is not None
            assert resumed.promoted
            assert lm.calls <= resumed.lm_calls + 4
