"""Which optimizer a run uses: that of the tier, given by hand or not, or the one asked for."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.optimization import Candidate, OptimizeTier, OptimizeUser, SetTier
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.choosing.given_tiers import GivenTiers
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    DESKS,
    EXPLAINED,
    GEPA,
    PROGRAM,
    SEARCH,
    Worker,
    working,
)

OWN = """[{"tier": "few", "from": 5, "optimizer": "LabeledFewShot", "options": {"k": 3}},
          {"tier": "many", "from": 20, "optimizer": "BootstrapFewShot"}]"""


async def give(worker: Worker, user_id: str, tier: str | None) -> None:
    payload = SetTier(user_id=user_id, program=PROGRAM, tier=tier)
    given = await GivenTiers(worker.database, worker.settings).set(payload)
    assert given.tier == tier


async def planned(worker: Worker, tier: str) -> set[str]:
    payload = OptimizeTier(program=PROGRAM, tier=tier, night=date(2026, 11, 21))
    await worker.batches.plan(payload)
    statement = "SELECT user_id FROM optimization_job WHERE batch_id = :id"
    return set(await worker.execute(statement, id=payload.id))


@in_loop
async def test_a_tier_given_by_hand_stands_above_the_number_of_examples(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for user_id in ("ada", "bob", "cay"):
                await worker.teach(user_id, 20)
            await give(worker, "ada", "advanced")
            await give(worker, "cay", "none")
            await give(worker, "dan", "basic")  # who has no example yet
            assert (await worker.optimize("ada")).optimizer == "BootstrapFewShot"
            assert (await worker.optimize("bob")).optimizer == "LabeledFewShot"
            nothing = await worker.optimize("cay")
            assert (nothing.tier, nothing.optimizer) == ("none", None)
            assert nothing.reason == "20 examples; tier 'none' has no optimizer"
            await give(worker, "ada", None)
            assert (await worker.optimize("ada")).optimizer == "LabeledFewShot"
            with pytest.raises(Refused, match="unknown tier 'gold'"):
                await give(worker, "ada", "gold")


@in_loop
async def test_the_night_finds_users_by_the_tiers_of_an_own_table(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, tiers=OWN) as worker:
            for user_id, count in (("ada", 8), ("bob", 25), ("cay", 4), ("dan", 25), ("eve", 8)):
                await worker.teach(user_id, count)
            await give(worker, "dan", "few")
            await worker.execute(  # given under another table
                "UPDATE learner SET tier = 'premium' WHERE user_id = 'eve'"
            )
            assert await planned(worker, "few") == {"ada", "dan", "eve"}
            assert await planned(worker, "many") == {"bob"}
            with pytest.raises(Refused, match="unknown tier 'basic'"):
                await planned(worker, "basic")
            optimized = await worker.optimize("dan")
            assert (optimized.tier, optimized.optimizer) == ("few", "LabeledFewShot")
            state = await worker.execute("SELECT state FROM program_version")
            (predictor,) = state[0].values()
            assert len(predictor["demos"]) == 3


@in_loop
async def test_random_search_ranks_its_candidates_and_keeps_their_scores(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 60)
            optimized = await worker.optimize("ada", **SEARCH)
            assert optimized.optimizer == "BootstrapFewShotWithRandomSearch"
            assert optimized.promoted
            scores = [candidate.score for candidate in optimized.candidates]
            assert len(scores) == 6
            assert scores == sorted(scores, reverse=True)
            assert 0 <= scores[-1] < scores[0] <= 1
            assert {"as it was", "labeled", "bootstrapped"} < {
                candidate.name for candidate in optimized.candidates
            }
            version = await worker.in_use("ada")
            assert version is not None
            kept = version.optimization_result["candidates"]
            assert [Candidate.model_validate(one) for one in kept] == list(optimized.candidates)
            assert version.meta["options"] == {"num_candidate_programs": 3}


@in_loop
async def test_gepa_rewrites_instructions_by_what_the_metric_says_and_leaves_no_file(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=DESKS) as worker:
            await worker.teach("ada", 60, EXPLAINED)
            optimized = await worker.optimize("ada", program=EXPLAINED, **GEPA)
            assert (optimized.optimizer, optimized.promoted) == ("GEPA", True)
            assert optimized.lm_calls == lm.calls
            first, *_, last = optimized.candidates
            assert first.name.startswith("rewritten")
            assert last.name == "as it was"
            version = await worker.in_use("ada", EXPLAINED)
            assert version is not None
            (predictor,) = version.state.values()
            assert "labelled" in predictor["signature"]["instructions"]
            assert predictor["demos"] == []
            assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("asked", [{"tier": "advanced"}, SEARCH, {"tier": "premium"}])
@in_loop
async def test_a_metric_that_says_more_than_a_score_serves_every_optimizer(
    database_url: str, tmp_path: Path, asked: dict[str, Any]
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=DESKS) as worker:
            await worker.teach("ada", 30, EXPLAINED)
            optimized = await worker.optimize("ada", program=EXPLAINED, **asked)
            assert optimized.promoted


@in_loop
async def test_mipro_tries_more_the_heavier_it_is(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 20)
            calls = [
                (await worker.optimize("ada", optimizer="MIPROv2", options={"auto": auto})).lm_calls
                for auto in ("light", "medium", "heavy")
            ]
            assert calls[0] < calls[1] < calls[2]
            assert sum(calls) == lm.calls


@in_loop
async def test_options_that_the_optimizer_does_not_have_are_refused_before_anything_is_paid(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(
                user_id="ada", program=PROGRAM, optimizer="GEPA", options={"depth": 3}
            )
            with pytest.raises(Refused, match="GEPA has no option 'depth'; it has "):
                await worker.optimization.accept(payload)
            with pytest.raises(Refused, match="unknown tier 'gold'"):
                await worker.optimize("ada", tier="gold")
            assert lm.calls == 0
            assert await worker.states() == []
