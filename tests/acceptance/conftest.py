"""Real workers, a client of their broker, and the stand-in language model."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bespoke_client import Client
from examples.support_desk.standin_lm import standin_process
from tests.nodes.process import ProcessContainer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(broker_url: str) -> Iterator[Client]:
    """An application's client of this test's broker."""
    with Client(broker_url) as connected:
        yield connected


@pytest.fixture
def learning_env() -> Iterator[dict[str, str]]:
    """What a worker needs to optimize the support desk's program with the stand-in."""
    with standin_process() as url:
        yield {
            "BESPOKE_PROGRAMS": "examples.support_desk.program",
            "BESPOKE_LM": "openai/standin",
            "BESPOKE_LM_API_BASE": url,
            "BESPOKE_LM_API_KEY": "none",
            "LITELLM_LOCAL_MODEL_COST_MAP": "true",
            "PYTHONPATH": str(ROOT),
        }


@pytest.fixture
def start_command(bespoke_env: dict[str, str]) -> Iterator[Callable[..., ProcessContainer]]:
    """Start ``bespoke ARGUMENTS`` and wait until it prints ``ready``; killed at the end."""
    started: list[ProcessContainer] = []

    def start(
        *arguments: str, ready: str, env: Mapping[str, str] | None = None
    ) -> ProcessContainer:
        process = ProcessContainer(
            "bespoke " + " ".join(arguments),
            [sys.executable, "-m", "bespoke_workers.cli", *arguments],
            environment={**bespoke_env, **(env or {})},
            ready_prompt=ready,
        )
        started.append(process)
        process.ready()
        return process

    yield start
    for process in started:
        process.teardown()


@pytest.fixture
def start_beat(
    start_command: Callable[..., ProcessContainer],
) -> Callable[[Mapping[str, str]], None]:
    """Start the clock, which also sends the reaper."""

    def start(env: Mapping[str, str]) -> None:
        start_command("beat", ready="beat: Starting", env=env)

    return start
