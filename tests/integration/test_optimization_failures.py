"""A run that fails says in one line what was wrong, and nothing of what it was taught."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.errors import Misconfigured, Permanent, Refused
from bespoke_workers.optimization.language_model.lm import build
from bespoke_workers.settings import Settings
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import MODULE, Worker, lessons, working
from tests.integration.stubborn_programs import SECRET

PROGRAMS = (MODULE, "tests.integration.stubborn_programs")


async def failure(worker: Worker, program: str, **options: Any) -> str:
    """Optimize a program that cannot be; return the one line that says why."""
    payload = OptimizeUser(user_id="ada", program=program, **options)
    await worker.optimization.accept(payload)
    with pytest.raises(Permanent) as failed:
        await worker.optimization.run(payload.id)
    row = await worker.row(payload.id)
    said = str(failed.value)
    assert (row.state, row.error) == ("failed", said)
    assert str(worker.outbox.failed[payload.id]) == said
    assert "\n" not in said
    with pytest.raises(Refused) as again:
        await worker.optimization.accept(payload)
    assert str(again.value) == said
    return said


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (
            "failing-metric",
            "the metric of 'failing-metric' raised KeyError on every held-out example",
        ),
        (
            "failing-program",
            "the program 'failing-program' raised RuntimeError on every held-out example",
        ),
        ("fussy", "the metric of 'fussy' raised ValueError on every held-out example"),
    ],
)
@in_loop
async def test_what_raises_everywhere_is_named_by_its_type_alone(
    database_url: str,
    tmp_path: Path,
    program: str,
    told: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=PROGRAMS) as worker:
            await worker.teach("ada", 20, program)
            assert await failure(worker, program) == f"{told}; correct it"
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed
    assert not any(str(one["text"]) in printed for one in lessons(20))


@in_loop
async def test_a_language_model_that_is_away_is_named(database_url: str, tmp_path: Path) -> None:
    with StandinLM() as lm:
        url = lm.url
    async with working(database_url, tmp_path, lm=url) as worker:
        await worker.teach("ada", 60)
        said = await failure(worker, "support")
        assert said.startswith("the language model answered nothing: ")
        assert "LMTransportError" in said
        assert said.endswith("check BESPOKE_LM, BESPOKE_LM_API_BASE and BESPOKE_LM_API_KEY")


def settings(**options: Any) -> Settings:
    return Settings(lm_api_key=SecretStr("a key of no value"), **options)


def test_a_model_is_built_for_the_settings() -> None:
    assert build(settings(lm="openai/any")).kwargs["temperature"] == 0
    assert build(settings(lm="openai/any", lm_temperature=0.5)).kwargs["temperature"] == 0.5
    assert build(settings(lm="openai/o3-mini")).kwargs["temperature"] is None
    assert build(settings(lm="openai/o3-mini", lm_temperature=1)).kwargs["temperature"] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "BESPOKE_LM is not set"),
        ({"lm": "openai/"}, "BESPOKE_LM: got 'openai/'"),
        ({"lm": "openai/o3-mini", "lm_temperature": 0.5}, "BESPOKE_LM_TEMPERATURE: got 0.5"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_to_set(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(Misconfigured, match=told) as refused:
        build(settings(**options))
    assert "\n" not in str(refused.value)
    assert "key of no value" not in str(refused.value)
