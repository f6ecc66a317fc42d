"""KNNFewShot through a run: examples are embedded once, and what comes of it can be kept."""

from collections import Counter
from pathlib import Path
from typing import Any

import dspy
import pytest

from bespoke_schemas import program_state
from bespoke_schemas.examples import AddMany, Clear, Embed, Nearest
from bespoke_workers.errors import Refused
from bespoke_workers.learning.embeddings import ExampleEmbeddings
from bespoke_workers.learning.nearest import Neighbourhood
from bespoke_workers.memories import lexical
from bespoke_workers.memories.embedding import PROBE
from examples.support_desk import answers, prompts
from examples.support_desk.standin_lm import StandinLM
from tests import counting_embedder
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, lessons, texts, working
from tests.integration.test_auto import half_right

KNN: dict[str, Any] = {"optimizer": "KNNFewShot", "options": {"k": 3}}
INPUTS = ("text",)


def embedded() -> Counter[str]:
    """Return what was embedded since it was last asked, without the probe of a new embedder."""
    found = Counter(one for one in counting_embedder.asked if one != PROBE)
    counting_embedder.asked.clear()
    return found


@in_loop
async def test_its_version_has_a_pool_of_examples_that_were_not_held_out(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            optimized = await worker.optimize("ada", **KNN)
            version = await worker.in_use("ada")
    assert optimized.optimizer == "KNNFewShot"
    assert optimized.promoted
    assert optimized.lm_calls == lm.calls == 2 * optimized.held_out  # of scoring, and no others
    assert version is not None
    (part,) = version.state.values()
    assert len(part["demos"]) == 3
    assert (part["pool"]["k"], part["pool"]["embedder"]) == (3, lexical.NAME)
    assert len(part["pool"]["demos"]) == 40 - optimized.held_out
    assert texts(part["pool"]["demos"]) <= texts(lessons(40))


@in_loop
async def test_two_optimizations_embed_each_example_once(database_url: str, tmp_path: Path) -> None:
    embedded()
    with StandinLM() as lm:
        async with working(
            database_url, tmp_path, lm=lm.url, embedder=counting_embedder.NAME
        ) as worker:
            await worker.teach("ada", 20)
            await worker.optimize("ada", **KNN)
            assert embedded() == Counter(texts(lessons(20)))
            await worker.optimize("ada", **KNN)  # also scores the pool that is in use now
            assert embedded() == Counter()
            await worker.teach("ada", 26)
            await worker.optimize("ada", optimizer="LabeledFewShot")  # the one in use picks
            new = texts(lessons(26)) - texts(lessons(20))
            assert embedded() == Counter(new)
        async with working(
            database_url, tmp_path, lm=lm.url, embedder=counting_embedder.OTHER
        ) as worker:
            await worker.optimize("ada", **KNN)
            assert embedded() == Counter(texts(lessons(26)))
            await worker.execute('UPDATE example SET fields = fields || \'{"text": "new"}\'')
            await worker.optimize("ada", **KNN)
            assert embedded() == Counter(["new"])


@in_loop
async def test_an_example_s_vector_goes_with_it(database_url: str, tmp_path: Path) -> None:
    async with working(database_url, tmp_path) as worker:
        embeddings = ExampleEmbeddings(worker.database, worker.settings)
        for user_id in ("ada", "bob"):
            await worker.teach(user_id, 5)
            await embeddings.of_user(user_id, PROGRAM, INPUTS)
        assert await worker.execute("SELECT count(*) FROM example_embedding") == [10]
        await worker.examples.clear(Clear(user_id="ada"))
        assert set(await worker.execute("SELECT user_id FROM example_embedding")) == {"bob"}


@in_loop
async def test_examples_are_read_for_the_user_who_is_named_alone(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        embeddings = ExampleEmbeddings(worker.database, worker.settings)
        for user_id in ("ada", "bob"):
            mine = ({"text": f"of {user_id}", "label": "x"},)
            await worker.examples.add_many(AddMany(user_id=user_id, program=PROGRAM, examples=mine))
        await embeddings.of_user("bob", PROGRAM, INPUTS)
        vectors = await embeddings.of_user("ada", PROGRAM, INPUTS)
        assert set(vectors.known) == {"of ada"}


@pytest.mark.parametrize("bootstrapped", [0, 5])
@in_loop
async def test_bootstrapped_examples_cost_a_call_each_and_only_once(
    database_url: str, tmp_path: Path, bootstrapped: int
) -> None:
    asked = {**KNN, "options": {"k": 4, "max_bootstrapped_demos": bootstrapped}}
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 30)
            optimized = await worker.optimize("ada", **asked)
            assert lm.calls == 2 * optimized.held_out + bootstrapped
            version = await worker.in_use("ada")
            assert version is not None
            module = worker.library.module_for(PROGRAM, version)
            model = dspy.LM("openai/x", api_base=lm.url, api_key="x", cache=False)
            with dspy.context(lm=model):
                module(text="my card was lost")
            assert lm.calls == 2 * optimized.held_out + bootstrapped + 1
    assert program_state.dump(module) == version.state


@in_loop
async def test_the_nearest_examples_are_found_among_the_user_s_own(
    database_url: str, tmp_path: Path
) -> None:
    async with working(database_url, tmp_path) as worker:
        await worker.teach("ada", 12)
        await worker.teach("bob", 30)
        embeddings = ExampleEmbeddings(worker.database, worker.settings)
        neighbourhood = Neighbourhood(worker.database, worker.settings, embeddings)
        sought = lessons(12)[7]
        asked = {"user_id": "ada", "program": PROGRAM, "inputs": {"text": sought["text"]}}
        near = await neighbourhood.nearest(Nearest(**asked, limit=3))
        assert near.examples[0].fields == sought
        assert near.examples[0].similarity == pytest.approx(1, abs=1e-3)
        assert texts([one.fields for one in near.examples]) <= texts(lessons(12))
        everything = await neighbourhood.nearest(Nearest(**asked, limit=100))
        assert len(everything.examples) == 12
        with pytest.raises(Refused, match="hold none of 'support': text"):
            await neighbourhood.nearest(Nearest(**{**asked, "inputs": {"label": "x"}}))
        nobody = await neighbourhood.nearest(Nearest(**{**asked, "user_id": "eve"}))
        assert nobody.examples == ()
        answer = await embeddings.embedded(Embed(text=sought["text"]))
        assert (answer.embedder, answer.dim) == (lexical.NAME, lexical.DEFAULT.dim)


@pytest.mark.parametrize("answered", [0, 10])
@in_loop
async def test_of_few_examples_each_is_held_out_once_and_never_shown_to_itself(
    database_url: str, tmp_path: Path, answered: int
) -> None:
    asked: list[prompts.Prompt] = []

    def noting(prompt: prompts.Prompt) -> str:
        asked.append(prompt)
        return answers.answer(prompt)

    with StandinLM(answer=noting) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            options = {"k": 3, "max_bootstrapped_demos": answered}
            optimized = await worker.optimize("ada", optimizer="KNNFewShot", options=options)
            version = await worker.in_use("ada")
    assert (optimized.held_out, optimized.promoted) == (12, True)
    assert optimized.lm_calls == lm.calls == len(asked)
    # At most: in each of five splits and for the final version, each example is answered once.
    assert 24 <= lm.calls <= 24 + 6 * answered
    for prompt in asked:
        assert prompt.inputs["text"] not in {one.inputs["text"] for one in prompt.demonstrations}
    shown = Counter(len(prompt.demonstrations) for prompt in asked)
    assert shown == {0: 12, 3: lm.calls - 12}
    assert version is not None
    (part,) = version.state.values()
    assert len(part["pool"]["demos"]) == 12


@in_loop
async def test_auto_tries_it_on_few_examples_too(database_url: str, tmp_path: Path) -> None:
    with StandinLM(answer=half_right(12)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            optimized = await worker.optimize("ada", optimizer="auto")
    tried = {candidate.name: candidate.lm_calls for candidate in optimized.candidates}
    assert set(tried) == {"base", "LabeledFewShot", "KNNFewShot", "BootstrapFewShot"}
    assert tried["KNNFewShot"] == optimized.held_out == 12
    assert optimized.optimizer == "LabeledFewShot"  # as good, and the cheapest
    assert optimized.lm_calls == lm.calls
