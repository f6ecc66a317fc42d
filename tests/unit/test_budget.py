"""What ends a run, what its LM calls come to, and which of them are not paid twice."""

import copy
import json
import stat
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest

from bespoke_workers.errors import Cancelled
from bespoke_workers.optimization import lm_cache
from bespoke_workers.optimization.lm_cache import FILE, ContextCache, JobCache
from bespoke_workers.optimization.stopping import Budget, OutOfBudget, Stop, Stopped
from bespoke_workers.optimization.usage import Spent, Usage

ANSWER: dict[str, Any] = {
    "outputs": ["yes"],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    "cost": 0.25,
}


def test_a_run_pays_for_as_many_calls_as_it_may_and_none_more() -> None:
    stop = Stop(Budget(seconds=60, lm_calls=100))
    paid, refused = [], []

    def spend() -> None:
        for _ in range(50):
            try:
                stop.spend()
                paid.append(1)
            except Stopped:
                refused.append(1)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(paid), len(refused)) == (100, 100)
    assert isinstance(stop.reason, OutOfBudget)
    assert "100 LM calls" in str(stop.reason)


def test_calls_that_were_paid_before_a_kill_count() -> None:
    stop = Stop(Budget(seconds=60, lm_calls=10))
    stop.paid_before(9)
    stop.spend()
    with pytest.raises(Stopped):
        stop.spend()


def test_the_first_reason_to_stop_counts() -> None:
    stop = Stop(Budget(seconds=60))
    stop.check()
    stop.request(Cancelled("cancelled while it ran"))
    stop.expire()
    assert isinstance(stop.reason, Cancelled)
    with pytest.raises(Stopped):
        stop.check()


def test_no_optimizer_can_swallow_the_stop() -> None:
    assert not issubclass(Stopped, Exception)


def test_usage_is_counted_through_the_copies_that_dspy_makes() -> None:
    usage = Usage(Spent(lm_calls=1, prompt_tokens=10, completion_tokens=1, cost_usd=0.5))

    def use(tracker: Usage) -> None:
        for _ in range(250):
            tracker.add_usage("openai/any", {"prompt_tokens": 3, "completion_tokens": None})
            tracker.add_cost(None)

    threads = [threading.Thread(target=use, args=[copy.deepcopy(usage)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert usage.spent == Spent(
        lm_calls=1001, prompt_tokens=3010, completion_tokens=1, cost_usd=0.5
    )


def test_an_answer_that_was_paid_for_is_found_after_a_kill(tmp_path: Path) -> None:
    with JobCache(tmp_path / "job") as cache:
        assert cache.find("question") is None
        cache.keep("question", ANSWER, ANSWER["usage"], ANSWER["cost"])
    with (tmp_path / "job" / FILE).open("a") as file:
        file.write('{"key": "torn, for its writer was ki')
    with JobCache(tmp_path / "job") as cache:
        assert cache.find("question") == ANSWER
        assert cache.spent_before == Spent(
            lm_calls=1, prompt_tokens=7, completion_tokens=2, cost_usd=0.25
        )
        cache.keep("another", ANSWER, {}, None)
    lines = (tmp_path / "job" / FILE).read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["question", "another"]


def test_only_the_owner_may_read_answers(tmp_path: Path) -> None:
    with JobCache(tmp_path / "job") as cache:
        cache.keep("question", ANSWER, {}, None)
    for path in (tmp_path / "job", tmp_path / "job" / FILE):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_found_answer_costs_nothing_and_one_to_be_paid_asks_first(tmp_path: Path) -> None:
    stop, usage = Stop(Budget(seconds=60, lm_calls=1)), Usage()
    with JobCache(tmp_path / "job") as cache:
        cache.account(stop, usage)
        assert cache.find("question") is None
        cache.keep("question", ANSWER, ANSWER["usage"], ANSWER["cost"])
        assert cache.find("question") == ANSWER
        assert usage.spent.cost_usd == 0.25
        with pytest.raises(Stopped):
            cache.find("another")


def test_each_thread_finds_the_cache_of_its_own_job_or_none(tmp_path: Path) -> None:
    request, ours = {"prompt": "the same for all"}, ContextCache()
    with JobCache(tmp_path / "ada") as ada, JobCache(tmp_path / "bob") as bob:
        with dspy.context(**{lm_cache.SETTING: ada}):
            ours.put(request, ANSWER)
            assert ours.get(request) == ANSWER
        with dspy.context(**{lm_cache.SETTING: bob}):
            assert ours.get(request) is None
        ours.put({"prompt": "outside of any job"}, ANSWER)
        assert ours.get(request) is None
    assert (tmp_path / "bob" / FILE).read_text() == ""
    with dspy.context(**{lm_cache.SETTING: ada}):
        ours.put(request, ANSWER)  # from a thread that an ended job left behind
    assert len((tmp_path / "ada" / FILE).read_text().splitlines()) == 1
