"""Agents for tests: real ``dspy.ReAct``, and a stand-in that decides by a script what to do."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dspy
import pytest

from examples.support_desk.prompts import Prompt
from examples.support_desk.standin_lm import StandinLM

Step = tuple[str, dict[str, Any]]
"""A tool and its arguments. In an argument, "#0" is the id in the first observation."""

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def acting(scripts: Mapping[str, Sequence[Step]]) -> Callable[[Prompt], str]:
    """Return what a language model says that takes the steps of its question's script."""

    def answer(prompt: Prompt) -> str:
        observations = list(_observations(prompt))
        if "next_tool_name" not in prompt.outputs:
            values = {"reasoning": "It is done.", "answer": observations[-2]}
            return _reply({name: values[name] for name in prompt.outputs})
        script = [*scripts[prompt.inputs["question"]], ("finish", {})]
        name, arguments = script[len(observations)]
        filled = {key: _filled(value, observations) for key, value in arguments.items()}
        return _reply(
            {
                "next_thought": "The script says so.",
                "next_tool_name": name,
                "next_tool_args": json.dumps(filled),
            }
        )

    return answer


def _observations(prompt: Prompt) -> Iterator[str]:
    place = 0
    while f"observation_{place}" in prompt.inputs:
        yield prompt.inputs[f"observation_{place}"]
        place += 1


def _filled(value: Any, observations: Sequence[str]) -> Any:
    if not (isinstance(value, str) and value.startswith("#")):
        return value
    (found, *_) = _ID.findall(observations[int(value[1:])])
    return found


def _reply(values: Mapping[str, str]) -> str:
    sections = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])


@contextmanager
def scripted(
    monkeypatch: pytest.MonkeyPatch, scripts: Mapping[str, Sequence[Step]]
) -> Iterator[None]:
    """Let agents talk to a server that takes the steps of these scripts, by question."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")  # prices come with the wheel
    with StandinLM(answer=acting(scripts)) as standin:
        lm = dspy.LM("openai/standin", api_base=standin.url, api_key="none", cache=False)
        with dspy.context(lm=lm):
            yield


def agent(tools: Sequence[Callable[..., Any]]) -> dspy.ReAct:
    """Return an agent that answers a question."""
    return dspy.ReAct("question -> answer", tools=list(tools), max_iters=12)


def observations(prediction: dspy.Prediction) -> list[str]:
    """Return what an agent's tools answered, but for the last one, which ends the work."""
    trajectory = prediction.trajectory
    count = sum(key.startswith("observation_") for key in trajectory)
    return [trajectory[f"observation_{place}"] for place in range(count - 1)]
