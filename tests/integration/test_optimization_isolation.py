"""Users who are optimized at once in one process see nothing of each other."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bespoke_schemas.examples import AddMany
from bespoke_workers.optimization.lm_cache_folders import FILE
from examples.support_desk.standin_lm import StandinLM
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    DESKS,
    EXPLAINED,
    GEPA,
    KNN,
    PROGRAM,
    RULES,
    SEARCH,
    Worker,
    lessons,
    working,
)

USERS = ("ada", "bob", "cay", "dan")


async def taught(worker: Worker, user_id: str, program: str = PROGRAM) -> None:
    """Teach the same messages, each with the user's own marker in text and label."""
    marked = tuple(
        {"text": f"{one['text']} marker-{user_id}", "label": f"{one['label']} marker-{user_id}"}
        for one in lessons(60)
    )
    await worker.examples.add_many(AddMany(user_id=user_id, program=program, examples=marked))


@pytest.mark.parametrize(
    "asked",
    [{"tier": "basic"}, {"tier": "advanced"}, {"tier": "premium"}, SEARCH, KNN, RULES],
)
@in_loop
async def test_nothing_that_is_written_for_one_user_holds_another_s(
    database_url: str, tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bespoke_workers.optimization.lm_cache_folders.remove", lambda home, job: None
    )
    with StandinLM(latency=timedelta(milliseconds=2)) as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            for user_id in USERS:
                await taught(worker, user_id)
            done = await asyncio.gather(*(worker.optimize(user, **asked) for user in USERS))
            assert sum(optimized.lm_calls for optimized in done) == lm.calls
            for optimized in done:
                version = await worker.in_use(optimized.user_id)
                assert version is not None
                answers = tmp_path / "lm-cache" / str(version.id) / FILE
                for written in (json.dumps(version.state), answers.read_text()):
                    assert f"marker-{optimized.user_id}" in written
                    for other in set(USERS) - {optimized.user_id}:
                        assert f"marker-{other}" not in written


@in_loop
async def test_what_gepa_writes_of_one_user_holds_nothing_of_another(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bespoke_workers.optimization.lm_cache_folders.remove", lambda *_: None)
    with StandinLM(latency=timedelta(milliseconds=2)) as lm:
        async with working(database_url, tmp_path, lm=lm.url, programs=DESKS) as worker:
            for user_id in USERS:
                await taught(worker, user_id, EXPLAINED)
            done = await asyncio.gather(
                *(worker.optimize(user, program=EXPLAINED, **GEPA) for user in USERS)
            )
            assert sum(optimized.lm_calls for optimized in done) == lm.calls
            for optimized in done:
                version = await worker.in_use(optimized.user_id, EXPLAINED)
                assert version is not None
                answers = tmp_path / "lm-cache" / str(version.id) / FILE
                for written in (json.dumps(version.state), answers.read_text()):
                    assert f"marker-{optimized.user_id}" in written
                    for other in set(USERS) - {optimized.user_id}:
                        assert f"marker-{other}" not in written
            left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
            assert left == {FILE}
