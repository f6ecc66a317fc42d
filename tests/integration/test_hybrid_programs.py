"""Some predictors are a user's own, the others everybody's: saved, loaded and optimized so."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas import program_state, programs
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs import registry
from examples.support_desk import answers
from examples.support_desk.prompts import Prompt
from examples.support_desk.standin_lm import StandinLM
from tests.hybrid_program import NAME, OWN, SHARED, Desk, same_label, worded
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import GEPA, SEARCH, Worker, working

MODULES = ("tests.hybrid_program",)


async def save(worker: Worker, words: str, user_id: str | None = "ada", **changes: Any) -> Any:
    """Save a version with these instructions and put it into use."""
    payload = {"state": worded(words), "user_id": user_id, "activate": True, **changes}
    return await worker.library.save(programs.Save(program=NAME, **payload))


async def loaded(worker: Worker, user_id: str | None = "ada") -> programs.Loaded:
    return await worker.library.load_active(programs.LoadActive(program=NAME, user_id=user_id))


async def words(worker: Worker, user_id: str = "ada") -> dict[str, str]:
    """Return the instructions of what the user has in use: a worker's and a client's are one."""
    answer = await loaded(worker, user_id)
    theirs = Desk()
    program_state.assemble(theirs, answer.version, base=answer.base, own=answer.own)
    async with worker.database.transaction() as session:
        version = await worker.library.active(session, user_id, NAME)
        base = await worker.library.base_for(session, NAME, version)
    ours = worker.library.module_for(NAME, version, base)
    assert program_state.dump(ours) == program_state.dump(theirs)
    return {name: each.signature.instructions for name, each in ours.named_predictors()}


@in_loop
async def test_a_user_s_version_holds_what_is_own_and_the_rest_is_the_base_s(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path, programs=MODULES) as worker:
        await save(worker, "base", user_id=None)
        await save(worker, "ada's")
        answer = await loaded(worker)
        assert answer.version is not None
        assert list(answer.version.state) == [OWN]
        assert answer.version.fingerprint.startswith(f"{OWN}(")
        assert answer.own == (OWN,)
        assert await words(worker) == {SHARED: "base", OWN: "ada's"}
        assert await words(worker, "bob") == {SHARED: "base", OWN: "base"}
        by_id = programs.Load(program_id=answer.version.program_id)
        best = programs.Best(program=NAME, user_id="ada")
        assert await worker.library.load(by_id) == answer
        assert (await worker.library.best(best)).version is None


@in_loop
async def test_a_better_base_reaches_everybody_at_once(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path, programs=MODULES) as worker:
        await save(worker, "ada's")
        assert (await loaded(worker)).base is None
        assert (await words(worker))[SHARED] == Desk().topic.signature.instructions
        for better in ("base", "better base"):
            await save(worker, better, user_id=None)
            assert await words(worker) == {SHARED: better, OWN: "ada's"}
            assert await words(worker, "bob") == {SHARED: better, OWN: better}


@in_loop
async def test_what_is_not_own_is_left_out_and_what_is_missing_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path, programs=MODULES) as worker:
        own = {OWN: worded("own")[OWN]}
        await save(worker, "", state=own)
        for state, user_id, lacks in [
            ({SHARED: worded("")[SHARED]}, "ada", OWN),
            (own, None, SHARED),
        ]:
            with pytest.raises(Refused, match=rf"lacks predictors \['{lacks}'\]"):
                await save(worker, "", state=state, user_id=user_id)


@in_loop
async def test_own_that_names_no_predictor_is_misconfigured_with_the_names_there_are(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.program("odd", inputs=["text"], metric=same_label, own=["labels"])(Desk)
    async with working(database_url, tmp_path, programs=()) as worker:
        with pytest.raises(Misconfigured) as wrong:
            worker.library.module_for("odd", None)
    assert str(wrong.value) == (
        "program 'odd': own names 'labels', which is no predictor of tests.hybrid_program.Desk; "
        "it has ['topic', 'label.predict']"
    )


class Recorder:
    """Answers as the stand-in does, and keeps what each predictor was prompted with."""

    def __init__(self) -> None:
        self.shared: set[tuple[str, Sequence[Any]]] = set()
        self.own: set[tuple[str, int]] = set()

    def __call__(self, prompt: Prompt) -> str:
        if set(prompt.outputs) == {"topic"}:
            demos = tuple(str(each) for each in prompt.demonstrations)
            self.shared.add((prompt.instructions, demos))
        elif "label" in prompt.outputs:
            self.own.add((prompt.instructions, len(prompt.demonstrations)))
        return answers.answer(prompt)


@pytest.mark.parametrize(
    "asked", [{"tier": "basic"}, {"tier": "advanced"}, {"tier": "premium"}, SEARCH]
)
@in_loop
async def test_an_optimizer_changes_what_is_own_and_nothing_else(
    database_url: str, tmp_path: Path, asked: dict[str, Any]
) -> None:
    prompted = Recorder()
    with StandinLM(answer=prompted) as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=MODULES) as worker:
            base = await save(worker, "base", user_id=None)
            await worker.teach("ada", 24, program=NAME)
            optimized = await worker.optimize("ada", program=NAME, **asked)
            assert optimized.promoted, optimized.reason
            ((instructions, demos),) = prompted.shared
            assert (instructions, len(demos)) == ("base", 1)
            assert len(prompted.own) > 1
            version = (await loaded(worker)).version
            assert version is not None
            assert list(version.state) == [OWN]
            assert version.metadata["base_id"] == str(base.program_id)
            assert (await words(worker))[SHARED] == "base"


@in_loop
async def test_gepa_rewrites_what_is_own_and_nothing_else(
    database_url: str, tmp_path: Path
) -> None:
    prompted = Recorder()
    with StandinLM(answer=prompted) as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=MODULES) as worker:
            await save(worker, "base", user_id=None)
            await worker.teach("ada", 24, program=NAME)
            await worker.optimize("ada", program=NAME, **GEPA)
            ((instructions, demos),) = prompted.shared
            assert (instructions, len(demos)) == ("base", 1)
            assert len(prompted.own) > 1
            (state,) = await worker.execute(
                "SELECT state FROM program_version WHERE user_id = 'ada'"
            )
            assert list(state) == [OWN]


@in_loop
async def test_the_version_to_beat_is_the_user_s_with_the_base(
    database_url: str, tmp_path: Path
) -> None:
    prompted = Recorder()
    with StandinLM(answer=prompted) as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=MODULES) as worker:
            await save(worker, "base", user_id=None)
            await save(worker, "ada's")
            await worker.teach("ada", 24, program=NAME)
            await worker.optimize("ada", program=NAME, tier="basic")
            assert {instructions for instructions, _ in prompted.shared} == {"base"}
            assert ("ada's", 0) in prompted.own


@in_loop
async def test_a_base_that_changed_meanwhile_makes_the_score_no_comparison(
    database_url: str, tmp_path: Path
) -> None:
    holding = Holding()
    with StandinLM(answer=holding) as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=MODULES) as worker:
            await save(worker, "ada's")
            await worker.teach("ada", 24, program=NAME)
            running = asyncio.create_task(worker.optimize("ada", program=NAME, tier="basic"))
            await holding.holds()
            await save(worker, "base", user_id=None)
            holding.let_go()
            optimized = await running
            assert not optimized.promoted
            assert optimized.reason == "another version came into use while this one was made"
