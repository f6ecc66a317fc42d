"""One user's optimization end to end, in each tier, against a real database and a real LM."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.ids import uuid7
from bespoke_schemas.optimization import Optimized
from bespoke_schemas.programs import Save
from bespoke_workers.programs import state
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, lessons, texts, working
from tests.integration.test_once import until_a_session_waits


@pytest.mark.parametrize(
    ("count", "tier", "optimizer", "held_out"),
    [
        (20, "basic", "LabeledFewShot", 6),
        (80, "advanced", "BootstrapFewShot", 24),
        (210, "premium", "MIPROv2", 63),
    ],
)
@in_loop
async def test_the_tier_follows_from_the_examples_and_the_better_version_comes_into_use(
    database_url: str, tmp_path: Path, count: int, tier: str, optimizer: str, held_out: int
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", count)
            optimized = await worker.optimize("ada")
            assert (optimized.examples, optimized.tier) == (count, tier)
            assert (optimized.optimizer, optimized.held_out) == (optimizer, held_out)
            assert optimized.score_before is not None
            assert optimized.score_after is not None
            assert optimized.score_after > optimized.score_before
            assert optimized.promoted
            assert optimized.reason.startswith("better: ")
            assert optimized.lm_calls == lm.calls
            assert optimized.prompt_tokens > optimized.completion_tokens > 0
            assert optimized.seconds > 0
            version = await worker.in_use("ada")
            assert version is not None
            assert version.id == optimized.program_id
            assert version.score == optimized.score_after
            assert Optimized.model_validate(version.optimization_result) == optimized
            row = await worker.row(version.id)
            assert (row.state, row.answered, row.lease_owner) == ("succeeded", True, None)
            assert worker.outbox.succeeded == {version.id: optimized}
            assert list((tmp_path / "lm-cache").iterdir()) == []


@in_loop
async def test_too_few_examples_are_an_answer_and_not_an_error(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 5)
            optimized = await worker.optimize("ada")
            assert (optimized.tier, optimized.optimizer) == ("none", None)
            assert optimized.reason == "5 examples; optimizing begins at 10"
            assert not optimized.promoted
            assert optimized.program_id is None
            forced = await worker.optimize("bob", tier="premium")
            assert forced.reason == "0 examples; MIPROv2 needs 4 at least"
            assert lm.calls == 0


@pytest.mark.parametrize("tier", ["basic", "advanced", "premium"])
@in_loop
async def test_a_tier_can_be_asked_for_with_few_examples(
    database_url: str, tmp_path: Path, tier: str
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 6)
            assert (await worker.optimize("ada", tier=tier)).tier == tier


def perfect_state(worker: Any) -> dict[str, Any]:
    """Return the state of a program that is shown every example, and so answers all of them."""
    module = state.fresh(worker.library.registered(PROGRAM))
    (predictor,) = state.predictors(module).values()
    predictor.demos = [dict(one) for one in lessons(30)]
    return state.dump(module)


@pytest.mark.parametrize("owner", ["ada", None])
@in_loop
async def test_a_version_that_is_not_better_is_kept_but_not_used(
    database_url: str, tmp_path: Path, owner: str | None
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 30)
            perfect = Save(
                program=PROGRAM, user_id=owner, state=perfect_state(worker), activate=True
            )
            await worker.library.save(perfect)
            optimized = await worker.optimize("ada")
            assert optimized.score_before == 1.0
            assert not optimized.promoted
            assert optimized.reason.startswith("not better: 1.000 before")
            version = await worker.in_use("ada")
            assert version is not None
            assert version.id == perfect.id
            saved = await worker.execute("SELECT parent_id FROM program_version WHERE score < 2")
            assert saved == [perfect.id]


@in_loop
async def test_a_version_that_came_into_use_meanwhile_stays_in_use(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 30)
            running = asyncio.create_task(worker.optimize("ada"))
            await holding.holds()
            by_hand = Save(
                program=PROGRAM, user_id="ada", state=perfect_state(worker), activate=True
            )
            await worker.library.save(by_hand)
            holding.let_go()
            optimized = await running
            assert not optimized.promoted
            assert optimized.reason == "another version came into use while this one was made"
            version = await worker.in_use("ada")
            assert version is not None
            assert version.id == by_hand.id


@pytest.mark.parametrize("before", ["a version of the user's own", "the plain program"])
@in_loop
async def test_a_version_that_comes_into_use_at_the_moment_of_a_promotion_stays_in_use(
    database_url: str, tmp_path: Path, before: str
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 30)
            if before != "the plain program":
                plain = state.dump(state.fresh(worker.library.registered(PROGRAM)))
                await worker.library.save(
                    Save(program=PROGRAM, user_id="ada", state=plain, activate=True)
                )
            by_hand = Save(program=PROGRAM, user_id="ada", state=perfect_state(worker))
            await worker.library.save(by_hand)
            running = asyncio.create_task(worker.optimize("ada"))
            await holding.holds()
            async with worker.database.transaction() as session:
                await worker.library.activate(
                    session, "ada", PROGRAM, by_hand.id, reason="activated"
                )
                holding.let_go()
                await until_a_session_waits(worker.database)
            optimized = await running
            assert not optimized.promoted
            assert optimized.reason == "another version came into use while this one was made"
            version = await worker.in_use("ada")
            assert version is not None
            assert version.id == by_hand.id
            kept = await worker.execute(
                "SELECT optimization_result ->> 'promoted' FROM program_version WHERE id = :id",
                id=optimized.program_id,
            )
            assert kept == ["false"]


@in_loop
async def test_what_is_held_out_is_never_shown_to_the_new_version(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 20)
            await worker.optimize("ada")
            version = await worker.in_use("ada")
            assert version is not None
            (predictor,) = version.state.values()
            shown = texts(predictor["demos"])
            assert len(shown) == 14
            assert shown < texts(lessons(20))


@in_loop
async def test_a_program_that_changed_its_shape_is_optimized_from_its_plain_self(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 20)
            old = Save(
                id=uuid7(),
                program=PROGRAM,
                user_id="ada",
                state=perfect_state(worker),
                activate=True,
            )
            await worker.library.save(old)
            await worker.execute("UPDATE program_version SET fingerprint = 'another'")
            optimized = await worker.optimize("ada")
            assert optimized.score_before == 0.0
            assert optimized.promoted
