"""An application calls users' versions with the models that were trained for them."""

import json
from typing import Any

import dspy
import pytest

from bespoke_client import NotServed, programs
from bespoke_schemas.small_model import PREFIX, SmallModel
from tests.unit.test_client_programs import answering, loaded, said, served
from tests.unit.test_small_model import LINES

THEIRS = programs.UserModel(provider="openai", name="ft:base:ada", base_model="base")


def with_model(model: programs.UserModel) -> programs.Loaded:
    return loaded("ada's").model_copy(update={"model": model})


def lms(module: Any) -> list[Any]:
    return [each.lm for each in module.predictors()]


def test_a_model_at_a_provider_is_called_as_the_application_says() -> None:
    asked: list[programs.UserModel] = []

    def model_lm(model: programs.UserModel) -> dspy.LM:
        asked.append(model)
        return dspy.LM(f"openai/{model.name}", api_base="http://ours.invalid", api_key="ours")

    here = served(answering(with_model(THEIRS)), model_lm=model_lm)
    for _ in range(2):
        module = here.for_user("triage", "ada")
        assert {lm.model for lm in lms(module)} == {"openai/ft:base:ada"}
        assert said(module) == "ada's"
    assert asked == [THEIRS]


def test_without_a_word_on_how_to_call_it_the_version_is_not_served() -> None:
    here = served(answering(with_model(THEIRS), programs.Loaded(version=None)))

    module = here.for_user("triage", "ada")
    assert (said(module), lms(module)) == (None, [None, None])
    with pytest.raises(NotServed, match="model_lm"):
        here.for_user("triage", "ada", strict=True)


def test_a_small_model_comes_along_and_is_called_here() -> None:
    content = json.dumps(SmallModel.trained(LINES).stored())
    model = programs.UserModel(
        provider="local", name="x", base_model="naive-bayes", content=content
    )

    module = served(answering(with_model(model))).for_user("triage", "ada")
    assert all(lm.model.startswith(PREFIX) for lm in lms(module))
    broken = model.model_copy(update={"content": "{}"})
    here = served(answering(with_model(broken), programs.Loaded(version=None)))
    assert lms(here.for_user("triage", "ada")) == [None, None]


def test_others_are_served_without_it() -> None:
    here = served(answering(loaded("grace's", "grace")), model_lm=dspy.LM)

    assert lms(here.for_user("triage", "grace")) == [None, None]
