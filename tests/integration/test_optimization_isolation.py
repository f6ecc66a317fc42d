"""Users who are optimized at once, in one process and in several, see nothing of each other."""

import asyncio
import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import dspy
import pytest

from bespoke_client import Client, examples, optimization
from bespoke_workers.optimization.language_model.lm_cache_folders import FILE
from examples.support_desk import answers, prompts
from examples.support_desk.standin_lm import Answer, StandinLM
from tests.conftest import StartWorker
from tests.integration import planted
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    AUTO,
    DESKS,
    EXPLAINED,
    GEPA,
    KNN,
    MODULE,
    PROGRAM,
    RULES,
    SEARCH,
    marked,
    working,
)
from tests.nodes.waiting import SECONDS

USERS = ("ada", "bob", "cay", "dan")
TUNING: dict[str, Any] = {"optimizer": "BootstrapFinetune"}
ROUNDS = (RULES, KNN, SEARCH)


@pytest.mark.parametrize(
    "asked",
    [
        {"tier": "basic"},
        {"tier": "advanced"},
        {"tier": "premium"},
        SEARCH,
        KNN,
        RULES,
        {**GEPA, "program": EXPLAINED},
        AUTO,
        TUNING,
    ],
)
@in_loop
async def test_nothing_that_is_written_for_one_user_holds_another_s(
    database_url: str, tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bespoke_workers.optimization.language_model.lm_cache_folders.remove", lambda *_: None
    )
    program = asked.get("program", PROGRAM)
    own = {"programs": DESKS, "finetune_provider": "local"}
    traced = len(dspy.settings.trace)
    with StandinLM(latency=timedelta(milliseconds=2)) as lm:
        async with working(database_url, tmp_path, lm=lm.url, **own) as worker:
            for user_id in USERS:
                await worker.teach_marked(user_id, 60, program)
            done = await asyncio.gather(*(worker.optimize(user, **asked) for user in USERS))
            assert sum(optimized.lm_calls for optimized in done) == lm.calls
            assert all(optimized.program_id for optimized in done)
            rows = await planted.in_database(worker)
            owners = await planted.owners(worker)
    assert len(dspy.settings.trace) == traced, "the process keeps what programs were asked"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    mine = {(user_id, user_id) for user_id in USERS}
    assert {table: found for table, found in rows.items() if planted.foreign(found)} == {}
    assert set(planted.in_files(files, owners)) == mine
    if asked is not TUNING:
        assert {path.name for path in files} == {FILE}
        assert set(rows["program_version"]) == mine


def keeping(lm_caches: Path, into: Path) -> Answer:
    """Answer as ever, and give each LM cache a second name, under which it outlives its job.

    A job's cache is there from its first answer on, and while any other of its calls is made.
    """
    into.mkdir()

    def answer(prompt: prompts.Prompt) -> str:
        for cache in lm_caches.glob(f"*/{FILE}"):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(cache, into / cache.parent.name)
        return answers.answer(prompt)

    return answer


def test_nor_do_processes_that_work_for_one_user_after_another(
    start_worker: StartWorker,
    database_url: str,
    broker_url: str,
    bespoke_env: dict[str, str],
    tmp_path: Path,
) -> None:
    for name in ("tmp", "dspy"):
        (tmp_path / name).mkdir()
    home = Path(bespoke_env["BESPOKE_HOME"])
    kept = tmp_path / "kept"
    with (
        StandinLM(answer=keeping(home / "lm-cache", kept)) as lm,
        Client(broker_url) as client,
    ):
        taught = [
            client.enqueue(
                examples.AddMany(user_id=user_id, program=PROGRAM, examples=marked(user_id, 30))
            )
            for user_id in USERS
        ]
        assert {user_id for _, user_id in planted.in_redis(broker_url)[1]} == set(USERS)
        worker = start_worker(
            concurrency=2,
            env={
                "BESPOKE_PROGRAMS": MODULE,
                "BESPOKE_LM": "openai/standin",
                "BESPOKE_LM_API_BASE": lm.url,
                "BESPOKE_LM_API_KEY": "a key of no value",
                "DSPY_CACHEDIR": str(tmp_path / "dspy"),
                "TMPDIR": str(tmp_path / "tmp"),
            },
        )
        assert [job.result(SECONDS).total for job in taught] == [30] * len(USERS)
        done = [
            job.result(SECONDS)
            for turn in range(len(ROUNDS))
            for job in [
                client.enqueue(
                    optimization.OptimizeUser(
                        user_id=user_id,
                        program=PROGRAM,
                        **ROUNDS[(turn + place) % len(ROUNDS)],
                    )
                )
                for place, user_id in enumerate(USERS)
            ]
        ]
        assert sum(optimized.lm_calls for optimized in done) == lm.calls
        keys, in_redis = planted.in_redis(broker_url)
        logged = worker.logs()
    rows, owners = asyncio.run(written(database_url, tmp_path))
    mine = {(user_id, user_id) for user_id in USERS}
    assert {table: found for table, found in rows.items() if planted.foreign(found)} == {}
    assert set(rows["program_version"]) == set(rows["example"]) == mine
    assert len(owners) == len(done) == len(ROUNDS) * len(USERS)
    assert set(planted.in_files(kept.iterdir(), owners)) == mine
    assert len(list(kept.iterdir())) == len(done)
    others = [path for path in tmp_path.rglob("*") if kept not in path.parents]
    assert planted.in_files(others, owners) == {}
    assert (keys > 0, in_redis) == (True, {})
    assert logged.count("bespoke.optimization.optimize_user") >= len(done)
    assert planted.in_text(logged) == {}


async def written(database_url: str, home: Path) -> tuple[dict[str, planted.Found], dict[str, str]]:
    """Return what is where in the database, and whose which job is."""
    async with working(database_url, home) as worker:
        return await planted.in_database(worker), await planted.owners(worker)
