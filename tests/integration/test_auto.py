"""auto: optimizers tried from the cheapest up, within a budget, the best of them kept."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.optimization import Optimized, OptimizeUser
from bespoke_workers.optimization.stopping import OutOfBudget
from bespoke_workers.programs import state
from examples.support_desk import answers
from examples.support_desk.prompts import Prompt
from examples.support_desk.standin_lm import StandinLM
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, lessons, worker_process, working
from tests.integration.test_optimization_resume import taken_up_again

LADDER = ["LabeledFewShot", "BootstrapFewShot"]
AUTO: dict[str, Any] = {"optimizer": "auto", "options": {"ladder": LADDER}}


def half_right(count: int) -> Callable[[Prompt], str]:
    """Answer every other message of a user's right as soon as demos are shown, whichever."""
    wanted = {one["text"]: one["label"] for one in lessons(count)}

    def answer(prompt: Prompt) -> str:
        text = prompt.inputs.get("text", "")
        if not prompt.demonstrations or text not in wanted:
            return answers.answer(prompt)
        return labelled(wanted[text] if list(wanted).index(text) % 2 else "nothing")

    return answer


def labelled(label: str) -> str:
    return f"[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]"


def costs(optimized: Optimized) -> int:
    return sum(candidate.lm_calls for candidate in optimized.candidates)


@in_loop
async def test_the_best_is_kept_and_every_candidate_is_told_with_score_and_cost(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            optimized = await worker.optimize("ada", **AUTO)
            assert optimized.promoted
            assert optimized.optimizer in LADDER
            tried = {candidate.name: candidate for candidate in optimized.candidates}
            assert {"base", optimized.optimizer} <= set(tried) <= {"base", *LADDER}
            best = optimized.candidates[0]
            assert best.score == pytest.approx(optimized.score_after, abs=1e-6)
            assert tried["base"].score == pytest.approx(optimized.score_before, abs=1e-6)
            assert costs(optimized) == optimized.lm_calls == lm.calls
            assert all(candidate.prompt_tokens > 0 for candidate in optimized.candidates)
            version = await worker.in_use("ada")
            assert version is not None
            assert version.optimizer == optimized.optimizer
            assert version.meta["chosen_by"] == "auto"
            assert "out of" in optimized.reason


@in_loop
async def test_where_all_are_as_good_the_cheapest_wins_and_what_is_in_use_stays(
    database_url: str, tmp_path: Path
) -> None:
    def knowing(prompt: Prompt) -> str:
        """Answer right as soon as any demo is shown, whichever."""
        if not prompt.demonstrations:
            return answers.answer(prompt)
        wanted = {one["text"]: one["label"] for one in lessons(40)}
        return labelled(wanted[prompt.inputs["text"]])

    with StandinLM(answer=knowing) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            first = await worker.optimize("ada", **AUTO)
            assert (first.optimizer, first.score_after) == ("LabeledFewShot", 1.0)
            assert "BootstrapFewShot not tried: nothing is left to gain" in first.reason
            again = await worker.optimize("ada", tier="advanced")
            assert (again.score_before, again.score_after) == (1.0, 1.0)
            assert not again.promoted


@in_loop
async def test_a_version_worse_than_the_base_gives_way_to_it(
    database_url: str, tmp_path: Path
) -> None:
    def contrary(prompt: Prompt) -> str:
        wanted = {one["text"]: one["label"] for one in lessons(40)}
        return labelled("wrong" if prompt.demonstrations else wanted[prompt.inputs["text"]])

    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            assert (await worker.optimize("ada", tier="basic")).promoted
    with StandinLM(answer=contrary) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            optimized = await worker.optimize("ada", **AUTO)
            assert optimized.promoted
            assert (optimized.score_before, optimized.score_after) == (0.0, 1.0)
            assert optimized.candidates[0].name == "base"
            assert optimized.optimizer is None
            version = await worker.in_use("ada")
            assert version is not None
            plain = state.fresh(worker.library.registered(PROGRAM))
            assert version.state == state.dump(plain)


@in_loop
async def test_the_climb_ends_where_its_money_does_and_keeps_the_best_so_far(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM(answer=half_right(40)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            options = {"ladder": ["LabeledFewShot", "GEPA"], "max_lm_calls": 60}
            optimized = await worker.optimize("ada", optimizer="auto", options=options)
            assert optimized.optimizer == "LabeledFewShot"
            assert optimized.promoted
            assert lm.calls == 24
            assert "GEPA not tried: it takes about 412 LM calls, and 36 are left" in (
                optimized.reason
            )


@in_loop
async def test_a_rung_that_takes_more_than_expected_is_dropped_at_the_limit(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM(answer=half_right(60)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 60)
            few = {"num_candidates": 3, "num_trials": 1, "minibatch": False}
            proposing = {"optimizer": "MIPROv2", "options": few}
            options = {"ladder": ["LabeledFewShot", proposing], "max_lm_calls": 90}
            optimized = await worker.optimize("ada", optimizer="auto", options=options)
            assert optimized.optimizer == "LabeledFewShot"
            assert "the budget ended within MIPROv2" in optimized.reason
            assert lm.calls == optimized.lm_calls <= 90
            assert len(optimized.candidates) == 2


@in_loop
async def test_a_budget_that_does_not_cover_the_version_in_use_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            with pytest.raises(OutOfBudget, match="raise max_lm_calls"):
                await worker.optimize("ada", optimizer="auto", options={"max_lm_calls": 5})
            assert lm.calls == 5


@in_loop
async def test_few_examples_are_each_held_out_once(database_url: str, tmp_path: Path) -> None:
    with StandinLM(answer=half_right(10)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 10)
            options = {"ladder": ["LabeledFewShot"]}
            optimized = await worker.optimize("ada", optimizer="auto", options=options)
            assert optimized.held_out == 10
            assert costs(optimized) <= optimized.lm_calls == lm.calls
            state_ = await worker.execute("SELECT state FROM program_version")
            (predictor,) = state_[0].values()
            assert len(predictor["demos"]) == 10
            again = await worker.optimize("ada", tier="basic")
            assert again.score_before == again.score_after  # its demos show every example
            assert not again.promoted


@in_loop
async def test_where_nothing_is_left_to_gain_that_is_an_answer_and_nothing_is_saved(
    database_url: str, tmp_path: Path
) -> None:
    wanted = {one["text"]: one["label"] for one in lessons(40)}
    with StandinLM(answer=lambda prompt: labelled(wanted[prompt.inputs["text"]])) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            optimized = await worker.optimize("ada", **AUTO)
            assert (optimized.promoted, optimized.program_id) == (False, None)
            assert (optimized.score_before, optimized.score_after) == (1.0, 1.0)
            assert "nothing is left to gain" in optimized.reason
            assert await worker.execute("SELECT id FROM program_version") == []


@pytest.mark.parametrize(("count", "killed_at"), [(12, 45), (40, 30)])
@in_loop
async def test_a_killed_climb_goes_on_pays_for_nothing_twice_and_decides_the_same(
    database_url: str, tmp_path: Path, count: int, killed_at: int
) -> None:
    options = {"ladder": LADDER, "max_lm_calls": 500}
    with StandinLM(answer=half_right(count)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", count)
            undisturbed = await worker.optimize("ada", optimizer="auto", options=options)
            await worker.execute("DELETE FROM active_program")
    holding = Holding(killed_at, half_right(count))
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            payload = OptimizeUser(
                user_id="ada", program=PROGRAM, optimizer="auto", options=options
            )
            await worker.optimization.accept(payload)
            with worker_process(worker, lm, payload.id) as process:
                await holding.holds()
                process.kill()
                await asyncio.to_thread(process.wait)
            holding.let_go()
            await taken_up_again(worker)
            resumed = await worker.optimization.run(payload.id)
            assert resumed is not None
            assert lm.calls <= undisturbed.lm_calls + 4
            assert resumed.lm_calls == undisturbed.lm_calls
            assert resumed.candidates == undisturbed.candidates
            assert resumed.reason == undisturbed.reason
            first, second = await worker.execute("SELECT state FROM program_version")
            assert first == second
