"""What ends a run, what its LM calls come to, and which of them are not paid twice."""

import copy
import json
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.callback import ACTIVE_CALL_ID

from bespoke_workers.errors import Cancelled
from bespoke_workers.optimization.budget import Budget
from bespoke_workers.optimization.language_model import lm_cache
from bespoke_workers.optimization.language_model.lm_cache import ContextCache, JobCache
from bespoke_workers.optimization.language_model.lm_cache_folders import FILE
from bespoke_workers.optimization.language_model.usage import Spent, Usage
from bespoke_workers.optimization.stopping import OutOfBudget, Stop, Stopped

ANSWER: dict[str, Any] = {
    "outputs": ["yes"],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    "cost": 0.25,
}


@contextmanager
def dspy_call(name: str) -> Iterator[str]:
    """Be in an LM call of this id, as DSPy says it to those who ask."""
    token = ACTIVE_CALL_ID.set(name)
    try:
        yield name
    finally:
        ACTIVE_CALL_ID.reset(token)


def in_threads(work: Callable[[int], None], count: int = 4) -> None:
    threads = [threading.Thread(target=work, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_run_pays_for_as_many_calls_as_it_may_and_none_more() -> None:
    stop = Stop(Budget(seconds=60, lm_calls=100))
    paid, refused = [], []

    def spend(number: int) -> None:
        for turn in range(50):
            try:
                stop.spend(f"{number} {turn}")
                paid.append(1)
            except Stopped:
                refused.append(1)

    in_threads(spend)
    assert (len(paid), len(refused)) == (100, 100)
    assert isinstance(stop.reason, OutOfBudget)
    assert "may pay for 100 LM calls; raise BESPOKE_OPTIMIZATION_LM_CALLS" in str(stop.reason)


@pytest.mark.parametrize(
    ("budget", "setting", "took"),
    [
        (Budget(seconds=60, tokens=10_000), "BESPOKE_OPTIMIZATION_TOKENS", 100),
        (Budget(seconds=60, usd=1.0), "BESPOKE_OPTIMIZATION_USD", 0.01),
    ],
)
def test_what_is_known_only_after_a_call_is_exceeded_by_the_calls_under_way_at_most(
    budget: Budget, setting: str, took: float
) -> None:
    """Each call takes up to three times the average, so four under way are worth twelve."""
    usage = Usage(price=lambda model, tokens: tokens["prompt_tokens"] / 10_000)
    stop = Stop(budget, usage)
    under_way, most = [], []

    def call(number: int) -> None:
        for turn in range(200):
            with dspy_call(f"{number} {turn}") as name:
                try:
                    stop.spend(name)
                except Stopped:
                    return
                under_way.append(1)
                most.append(len(under_way))
                tokens = (50, 100, 300)[turn % 3]
                usage.add_usage("any", {"prompt_tokens": tokens, "completion_tokens": 0})
                under_way.pop()

    in_threads(call)
    limit = budget.tokens or budget.usd
    spent = usage.spent.tokens if budget.tokens else usage.spent.cost_usd
    assert limit is not None
    assert limit - 4 * 3 * took <= spent < limit + 4 * 3 * took
    assert setting in str(stop.reason)
    assert max(most) <= 4


def test_calls_under_way_are_expected_to_take_what_those_before_took() -> None:
    spent = Spent(lm_calls=8, prompt_tokens=700, completion_tokens=100)
    budget = Budget(seconds=60, tokens=1200)

    assert budget.broken(spent, begun=11, under_way=3) is None  # 800, and four of 100
    assert budget.broken(spent, begun=12, under_way=4) == "tokens"


def test_of_the_first_calls_nothing_is_known_and_they_are_made() -> None:
    assert Budget(seconds=60, tokens=1, usd=0.001).broken(Spent(), begun=3, under_way=3) is None


def test_a_budget_of_dollars_ends_where_a_price_is_not_known() -> None:
    usage = Usage()
    stop = Stop(Budget(seconds=60, usd=5), usage)
    stop.spend("first")
    usage.add_usage("openai/nobody-knows", {"prompt_tokens": 1, "completion_tokens": 1})
    with pytest.raises(Stopped):
        stop.spend("second")
    assert "price of 1 LM calls is not known" in str(stop.reason)
    assert "BESPOKE_PRICES" in str(stop.reason)


def test_a_job_lowers_the_limits_of_its_installation_and_raises_none() -> None:
    installed = Budget(seconds=3600, lm_calls=100)

    budget = installed.lowered(lm_calls=500, tokens=2000, usd=None, seconds=60)

    assert (budget.lm_calls, budget.tokens, budget.usd, budget.seconds) == (100, 2000, None, 60)
    assert "raise max_tokens" in budget.told("tokens", Spent())
    assert "raise BESPOKE_OPTIMIZATION_LM_CALLS" in budget.told("lm_calls", Spent())


def test_a_call_that_failed_counts_as_one_that_was_made() -> None:
    usage = Usage()
    stop = Stop(Budget(seconds=60, lm_calls=2), usage)
    stop.spend("failed")
    usage.end("failed")
    with dspy_call("answered"):
        stop.spend("answered")
        usage.add_usage("any", {})
    usage.end("answered")
    assert usage.spent.lm_calls == 1
    with pytest.raises(Stopped):
        stop.spend("third")


def test_calls_that_were_paid_before_a_kill_count() -> None:
    usage = Usage(Spent(lm_calls=3, prompt_tokens=40))
    stop = Stop(Budget(seconds=60, lm_calls=10), usage)
    usage.paid_before(Spent(lm_calls=9, prompt_tokens=30))  # the row was told later than the cache
    assert usage.spent == Spent(lm_calls=9, prompt_tokens=40)
    stop.spend("last")
    with pytest.raises(Stopped):
        stop.spend("one more")


def test_seconds_of_work_before_a_kill_count() -> None:
    stop = Stop(Budget(seconds=60), seconds_before=50)
    assert 9 < stop.seconds_left <= 10


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

    threads = [threading.Thread(target=use, args=[copy.deepcopy(usage)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert usage.spent == Spent(
        lm_calls=1001, prompt_tokens=3010, completion_tokens=1, cost_usd=0.5, unpriced_calls=1000
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
    usage = Usage(price=lambda model, tokens: 0.25)
    stop = Stop(Budget(seconds=60, lm_calls=1), usage)
    with JobCache(tmp_path / "job") as cache:
        cache.account(stop, usage)
        assert cache.find("question") is None
        cache.keep("question", ANSWER, ANSWER["usage"], cache.price("any", ANSWER["usage"]))
        usage.add_usage("any", ANSWER["usage"])
        assert cache.find("question") == ANSWER
        assert usage.spent == Spent(1, 7, 2, 0.25)
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
    assert not (tmp_path / "bob").exists()  # nothing was paid for
    with dspy.context(**{lm_cache.SETTING: ada}):
        ours.put(request, ANSWER)  # from a thread that an ended job left behind
    assert len((tmp_path / "ada" / FILE).read_text().splitlines()) == 1
