"""Real workers and a model's server that answers so many calls a second and refuses the rest."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest

from bespoke_client import Client, examples, optimization
from examples.support_desk import answers, prompts
from examples.support_desk.standin_lm import RefusedError, StandinLM
from tests.conftest import StartWorker
from tests.integration.optimizing import MODULE, PROGRAM, lessons
from tests.nodes.waiting import SECONDS

USERS = 4


@dataclass
class Limited:
    """Answers at most ``allowed`` calls in each second, and fails each of some others once.

    With ``strict``, the first second lasts until it has refused a call: even a machine that is
    too slow for the rate is refused.
    """

    allowed: int
    fail_every: int | None = None
    strict: bool = False
    answered: int = 0
    refused: int = 0
    failed: int = 0
    _recent: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, prompt: prompts.Prompt) -> str:
        with self._lock:
            now = time.monotonic()
            while self._recent and self._recent[0] <= now - 1 and (self.refused or not self.strict):
                self._recent.popleft()
            if len(self._recent) >= self.allowed:
                self.refused += 1
                raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=1)
            self._recent.append(now)
            if self.fail_every and (self.answered + self.failed) % self.fail_every == 1:
                self.failed += 1
                raise RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, retry_after_s=0.05)
            self.answered += 1
        return answers.answer(prompt)


@contextmanager
def serving(limited: Limited) -> Iterator[Mapping[str, str]]:
    with StandinLM(answer=limited) as lm:
        yield {
            "BESPOKE_PROGRAMS": MODULE,
            "BESPOKE_LM": "openai/standin",
            "BESPOKE_LM_API_BASE": lm.url,
            "BESPOKE_LM_API_KEY": "a key of no value",
        }


def batch(client: Client) -> optimization.BatchSummary:
    """Optimize every user at once, and return what came of it."""
    added = [
        examples.AddMany(user_id=f"user-{number}", program=PROGRAM, examples=lessons(12))
        for number in range(USERS)
    ]
    for job in client.enqueue_many(added):
        job.result(SECONDS)
    asked = optimization.OptimizeTier(program=PROGRAM, tier="basic", max_concurrent=USERS)
    return client.enqueue(asked).result(SECONDS)


@pytest.fixture
def client(broker_url: str) -> Iterator[Client]:
    with Client(broker_url) as made:
        yield made


def test_a_server_that_refuses_and_fails_costs_time_and_not_one_answer(
    start_worker: StartWorker, client: Client
) -> None:
    limited = Limited(allowed=12, fail_every=9, strict=True)
    with serving(limited) as env:
        for _ in range(2):
            start_worker(env=env, concurrency=2)
        summary = batch(client)
    assert (summary.eligible, summary.failed) == (USERS, 0)
    assert summary.lm_calls == limited.answered
    assert limited.failed > 0
    # Sixteen threads would be refused again and again; each refusal holds all of them back.
    assert 0 < limited.refused < limited.answered


def test_workers_that_know_the_rate_are_never_refused(
    start_worker: StartWorker, client: Client
) -> None:
    limited = Limited(allowed=11)  # so that 6 a second may be held up for most of one
    with serving(limited) as env:
        for _ in range(2):
            start_worker(env={**env, "BESPOKE_LM_RATE": "360"}, concurrency=2)
        summary = batch(client)
    assert (summary.eligible, summary.failed) == (USERS, 0)
    assert summary.lm_calls == limited.answered
    assert limited.refused == 0
