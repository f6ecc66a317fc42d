"""An application serves users' programs through the queue: kept for a time, asked for once."""

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import bespoke_schemas.programs
from bespoke_client import NotServed, programs
from bespoke_client.testing import RecordingAsyncClient, RecordingClient
from bespoke_schemas import ids, program_state
from tests import hybrid_program
from tests.hybrid_program import Desk
from tests.nodes.waiting import SECONDS
from tests.two_predictors import Triage, tame_state

REGISTER = {"triage": Triage, "desk": Desk}
LONG = 20.0  # seconds; for what takes milliseconds


def version(words: str, user_id: str | None = "ada", **changes: Any) -> programs.Version:
    facts: dict[str, Any] = {
        "program_id": ids.uuid7(), "user_id": user_id, "program": "triage", "signature": "",
        "optimizer": None, "score": None, "state": tame_state(words), "optimization_result": {},
        "tags": (), "description": "", "metadata": {}, "parent_id": None, "size_bytes": 100,
        "fingerprint": program_state.fingerprint(Triage()), "saved_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return programs.Version.model_validate(facts | changes)


def loaded(words: str, user_id: str | None = "ada", **changes: Any) -> programs.Loaded:
    return programs.Loaded(version=version(words, user_id, **changes))


def served(client: RecordingClient, **changes: Any) -> programs.Programs:
    return programs.Programs(client, **{"register": REGISTER, "timeout": LONG, **changes})


def said(module: Any) -> str | None:
    return module.classify.demos[0]["text"] if module.classify.demos else None


def answering(*answers: Any) -> RecordingClient:
    """Return a client whose jobs answer these in turn, and then the last one for ever."""
    client, left = RecordingClient(), list(answers)

    def answer(_: programs.LoadActive) -> programs.Loaded:
        given = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given, Exception):
            raise given
        return given() if callable(given) else given  # type: ignore[no-any-return]  # a Loaded

    client.answer(programs.LoadActive, answer)
    return client


def test_every_payload_of_programs_is_there() -> None:
    for name in bespoke_schemas.programs.__all__:
        assert getattr(programs, name) is getattr(bespoke_schemas.programs, name)
        assert name in programs.__all__


def test_a_program_is_asked_for_once_and_then_comes_from_memory() -> None:
    client = answering(loaded("ada's"))
    here = served(client)
    assert [said(here.for_user("triage", "ada")) for _ in range(5)] == ["ada's"] * 5

    (asked,) = client.enqueued
    assert isinstance(asked, programs.LoadActive)
    assert (asked.program, asked.user_id) == ("triage", "ada")
    stats = here.stats()
    assert (stats.hits, stats.misses, stats.size, stats.state_bytes) == (4, 1, 1, 100)


def test_what_one_caller_does_to_its_module_the_next_one_does_not_see() -> None:
    here = served(answering(loaded("ada's")))
    mine = here.for_user("triage", "ada")
    mine.classify.demos.clear()
    mine.classify.signature.instructions = "changed"
    assert program_state.dump(here.for_user("triage", "ada")) == tame_state("ada's")


def test_a_user_without_a_version_gets_the_plain_program() -> None:
    here = served(answering(programs.Loaded(version=None)))
    assert said(here.for_user("triage", "ada", strict=True)) is None
    assert said(here.for_user("triage", "ada")) is None
    assert here.stats().hits == 1


def a_desk(shape: str) -> programs.Loaded:
    """Return ada's version of a program of which one predictor is shared, and a base of a shape."""
    whole = hybrid_program.worded("base")
    own = {hybrid_program.OWN: hybrid_program.worded("ada's")[hybrid_program.OWN]}
    facts = {"program": "desk"}
    return programs.Loaded(
        version=version(
            "", state=own, fingerprint=program_state.fingerprint(Desk(), [hybrid_program.OWN]),
            **facts,
        ),
        base=version("", None, state=whole, fingerprint=shape, **facts),
        own=(hybrid_program.OWN,),
    )  # fmt: skip


def words(module: Any) -> dict[str, str]:
    return {name: each.signature.instructions for name, each in module.named_predictors()}


def test_the_shared_predictors_are_the_base_s() -> None:
    here = served(answering(a_desk(program_state.fingerprint(Desk()))))
    module = here.for_user("desk", "ada")
    assert words(module) == {hybrid_program.SHARED: "base", hybrid_program.OWN: "ada's"}


def test_a_base_of_another_shape_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shape = program_state.fingerprint(Desk()).replace("topic: str)", "topic: int)")
    here = served(answering(a_desk(shape)))
    module = here.for_user("desk", "ada")
    assert words(module) == words(Desk()) | {hybrid_program.OWN: "ada's"}
    assert caplog.text.count("the shared base has another shape: desk: ['topic']") == 1


def test_after_its_time_it_is_asked_for_anew_and_kept_if_it_is_the_same() -> None:
    first = loaded("first")
    client = answering(first, first, loaded("second"))
    here = served(client, ttl=0.0)
    assert [said(here.for_user("triage", "ada")) for _ in range(3)] == ["first", "first", "second"]
    assert len(client.enqueued) == 3
    assert here.stats().invalidated == 1


def test_a_user_who_is_forgotten_is_asked_for_anew() -> None:
    client = answering(loaded("first"), loaded("second"))
    here = served(client)
    assert said(here.for_user("triage", "ada")) == "first"
    here.forget("bob")
    assert said(here.for_user("triage", "ada")) == "first"
    here.forget("ada")
    assert said(here.for_user("triage", "ada")) == "second"


def test_with_the_base_everybody_is_forgotten() -> None:
    here = served(answering(loaded("base", None), loaded("base", None), loaded("better", None)))
    assert [said(here.for_user("triage", user)) for user in ("ada", None)] == ["base"] * 2
    here.forget()
    assert [said(here.for_user("triage", user)) for user in ("ada", None)] == ["better"] * 2


class Held:
    """An answer that workers give when they are let."""

    def __init__(self, answer: programs.Loaded) -> None:
        self.asked, self.let = threading.Event(), threading.Event()
        self._answer = answer

    def __call__(self) -> programs.Loaded:
        self.asked.set()
        assert self.let.wait(LONG)
        return self._answer


def test_what_was_under_way_when_a_user_was_forgotten_is_not_kept() -> None:
    held = Held(loaded("rolled back"))
    here = served(answering(held, loaded("in use")))
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(here.for_user, "triage", "ada")
        assert held.asked.wait(LONG)
        here.forget("ada")
        assert said(here.for_user("triage", "ada")) == "in use"
        held.let.set()
        assert said(before.result()) == "rolled back"
    assert said(here.for_user("triage", "ada")) == "in use"
    assert here.stats().hits == 1


def test_threads_that_miss_at_once_ask_once() -> None:
    held = Held(loaded("ada's"))
    client = answering(held)
    here = served(client)
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(here.for_user, "triage", "ada") for _ in range(12)]
        assert held.asked.wait(LONG)
        held.let.set()
        assert [said(call.result()) for call in calls] == ["ada's"] * 12
    assert len(client.enqueued) == 1


def test_while_workers_are_away_what_is_kept_is_served_and_nobody_waits_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held(loaded("late"))
    here = served(answering(loaded("known"), held), ttl=0.0, timeout=0.2)
    assert said(here.for_user("triage", "yolanda")) == "known"

    began = time.monotonic()
    served_now = [said(here.for_user("triage", "yolanda")) for _ in range(50)]
    assert time.monotonic() - began < 50 * 0.2 / 2
    assert served_now == ["known"] * 50
    assert here.stats().stale == 50
    assert caplog.text.count("workers did not answer in time") == 1
    assert "yolanda" not in caplog.text
    with pytest.raises(NotServed, match="workers did not answer in time"):
        here.for_user("triage", "yolanda", strict=True)
    held.let.set()


def test_without_workers_a_new_user_is_served_the_base_s_if_it_is_known_else_the_plain_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = served(answering(RuntimeError("gone"), loaded("base", None), RuntimeError("gone")))
    assert said(here.for_user("triage", "ada")) is None
    assert said(here.for_user("triage")) == "base"
    assert said(here.for_user("triage", "ada")) == "base"
    assert here.stats().without == 2
    assert caplog.text.count("JobFailed") == 2
    assert "gone" not in caplog.text
    with pytest.raises(NotServed, match="its state could not be loaded"):
        here.for_user("triage", "bob", strict=True)


def test_a_state_that_does_not_fit_gives_way_to_the_base_s_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = "classify(a: str -> b: str)"
    client = answering(loaded("ada's", fingerprint=other), loaded("base", None))
    here = served(client)
    assert [said(here.for_user("triage", "ada")) for _ in range(3)] == ["base"] * 3
    assert caplog.text.count("does not fit") == 1
    assert [asked.user_id for asked in client.enqueued if hasattr(asked, "user_id")] == [
        "ada",
        None,
    ]
    with pytest.raises(NotServed, match="another shape"):
        here.for_user("triage", "ada", strict=True)

    here = served(answering(loaded("ada's", fingerprint=other)))
    assert said(here.for_user("triage", "ada")) is None


def test_a_program_that_is_not_registered_is_named() -> None:
    with pytest.raises(NotServed, match=r"unknown program 'other'; registered here: \['desk', "):
        served(RecordingClient()).for_user("other", "ada")


def test_what_the_application_s_own_class_raises_is_raised() -> None:
    def broken() -> Any:
        raise KeyError("prompts.yaml")

    here = served(answering(loaded("ada's")), register={"triage": broken})
    with pytest.raises(KeyError, match=r"prompts\.yaml"):
        here.for_user("triage", "ada")


def test_a_class_is_made_in_the_context_of_the_request() -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    def make() -> Any:
        seen.append(tenant.get())
        return Triage()

    tenant.set("acme")
    served(answering(loaded("ada's")), register={"triage": make}).for_user("triage", "ada")
    assert set(seen) == {"acme"}


def test_no_more_are_kept_than_asked_for() -> None:
    here = served(answering(loaded("base", None)), size=2)
    for number in range(5):
        here.for_user("triage", f"user-{number}")
    stats = here.stats()
    assert (stats.size, stats.evictions) == (2, 3)


def in_asyncio(work: Callable[[programs.AsyncPrograms, RecordingAsyncClient], Any]) -> None:
    client = RecordingAsyncClient()
    client.answer(programs.LoadActive, loaded("ada's"))
    here = programs.AsyncPrograms(client, REGISTER, timeout=LONG)
    asyncio.run(work(here, client))


def test_with_asyncio_it_is_the_same() -> None:
    async def use(here: programs.AsyncPrograms, client: RecordingAsyncClient) -> None:
        many = await asyncio.gather(*(here.for_user("triage", "ada") for _ in range(8)))
        assert [said(module) for module in many] == ["ada's"] * 8
        assert len({id(module) for module in many}) == 8
        assert len(client.enqueued) == 1
        assert said(await here.for_user("triage", "ada")) == "ada's"
        assert here.stats().hits == 1
        here.forget("ada")
        client.answer(programs.LoadActive, RuntimeError("gone"))
        assert said(await here.for_user("triage", "ada")) is None
        assert here.stats().without == 1
        with pytest.raises(NotServed):
            await here.for_user("triage", "ada", strict=True)

    in_asyncio(use)


def test_a_request_that_is_cancelled_takes_no_other_one_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def use(here: programs.AsyncPrograms, client: RecordingAsyncClient) -> None:
        impatient = asyncio.create_task(here.for_user("triage", "ada"))
        patient = asyncio.create_task(here.for_user("triage", "ada"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert said(await patient) == "ada's"

    with caplog.at_level(logging.WARNING):
        in_asyncio(use)
    assert caplog.text == ""


ALONE = """
import os, sys
sys.modules["bespoke_workers"] = None  # it is not installed
import dspy
from bespoke_client import programs
from bespoke_client.testing import RecordingClient

class Support(dspy.Module):
    def __init__(self):
        super().__init__()
        self.label = dspy.Predict("text -> label")

client = RecordingClient()
client.answer(programs.LoadActive, programs.Loaded(version=None))
served = programs.Programs(client, register={"support": Support}, timeout=60)
for _ in range(3):
    served.for_user("support", "ada")
child = os.fork()
served.for_user("support", "ada")
print("child" if child == 0 else "parent", served.stats().hits, served.stats().misses, flush=True)
if child == 0:
    os._exit(0)
os.wait()
"""
WITHOUT_DSPY = """
import sys
sys.modules["dspy"] = None
from bespoke_client import NotServed, programs
from bespoke_client.testing import RecordingClient
try:
    programs.Programs(RecordingClient(), register={"support": dict}).for_user("support", "ada")
except NotServed as error:
    print(error)
"""


def alone(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_an_application_without_the_workers_serves_also_after_a_fork() -> None:
    assert sorted(alone(ALONE)) == ["child 0 1", "parent 3 1"]


def test_without_dspy_it_says_what_to_install() -> None:
    assert alone(WITHOUT_DSPY) == ["programs are DSPy modules; install bespoke-client[dspy]"]
