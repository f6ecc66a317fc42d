"""Whoever watches a run sees it move: in each step, and while an optimizer says nothing itself."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bespoke_workers.optimization import supervision
from bespoke_workers.optimization.supervision import TELL_SECONDS
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import SEARCH, working

MANY: dict[str, Any] = {
    "optimizer": "BootstrapFewShot",
    "options": {"max_bootstrapped_demos": 12},
}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (MANY, "BootstrapFewShot"),
        (SEARCH, "BootstrapFewShotWithRandomSearch"),
    ],
)
@in_loop
async def test_steps_calls_and_the_best_score_so_far_are_told_as_they_change(
    database_url: str,
    tmp_path: Path,
    asked: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The shortest step, three rounds of calls, lasts for ten looks and more.
    monkeypatch.setattr(supervision, "TELL_SECONDS", 0.03)
    with StandinLM(latency=timedelta(milliseconds=100)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            optimized = await worker.optimize("ada", **asked)
            told = [progress for _, progress in worker.outbox.told]
    steps = list(dict.fromkeys(progress.step for progress in told))
    assert [step for step in steps if step != "starting"] == [
        "scoring the version in use",
        name,
        "scoring the new version",
    ]
    compiling = [progress for progress in told if progress.step == name]
    # A call takes 0.1 s, and there are ten or more: looks see them grow.
    assert len({progress.lm_calls for progress in compiling}) >= 2
    assert len({progress.done for progress in compiling}) >= 2
    for earlier, later in pairwise(told):
        assert earlier.lm_calls <= later.lm_calls <= optimized.lm_calls
        assert (earlier.best_score or 0) <= (later.best_score or 0)
        assert earlier != later
    assert told[-1].best_score is not None
    assert told[-1].best_score >= (optimized.score_before or 0)
    assert TELL_SECONDS <= 1


@in_loop
async def test_what_is_told_of_a_run_stays_small_however_long_it_is(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 40)
            await worker.optimize("ada", tier="basic")
            assert worker.outbox.told
            for _, progress in worker.outbox.told:
                assert len(progress.model_dump_json()) < 300
