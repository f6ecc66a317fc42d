"""Each optimization is one run of MLflow, told to a real tracking server, when it is there."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from celery import Celery
from mlflow import MlflowClient

from bespoke_client import Client, examples, optimization
from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.errors import Permanent, Transient
from bespoke_workers.observe import events
from bespoke_workers.optimization.tracking import mlflow_server as door
from bespoke_workers.optimization.tracking.tracking import Tracking
from examples.support_desk.standin_lm import StandinLM, standin_process
from tests.conftest import StartWorker
from tests.integration.holding import Holding
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import (
    MODULE,
    PROGRAM,
    lessons,
    until,
    working,
)
from tests.integration.stubborn_programs import SECRET
from tests.integration.tracked import (
    HeldBack,
    broken,
    come_due,
    runs,
    told,
    tracking,
    untold,
    waits_for_a_lock,
)
from tests.nodes.mlflow import mlflow_server
from tests.nodes.waiting import SECONDS, wait_until

PASSWORD = "hunter2-the-password"


EVERY = ("ada", "bob")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tracking server keeps what it is told."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def server(kept: Path) -> Iterator[str]:
    with mlflow_server(kept) as url:
        yield url


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A client of the server, on which no other test has left a run."""
    for name in ("REQUEST_TIMEOUT", "REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(f"MLFLOW_HTTP_{name}", "1")  # restored at the end, whoever sets them
    monkeypatch.setattr(door, "REQUEST_SECONDS", 60)  # the server shares its machine with tests
    client = door._client(server)
    yield client
    for run in runs(client):
        client.delete_run(run.info.run_id)


@in_loop
async def test_an_optimization_is_one_run_however_often_it_is_told(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient, kept: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **tracking(server)) as worker:
            await worker.teach("ada", 12)
            optimized = await worker.optimize("ada")
            assert await told(worker) == 1
            await worker.execute("UPDATE optimization_job SET track_at = now()")
            assert await told(worker) == 1
            assert await untold(worker) == []
            row = await worker.row(optimized.program_id or UUID(int=0))
            version = await worker.in_use("ada")

    (run,) = runs(client)
    assert (run.info.status, run.info.user_id) == ("FINISHED", "unknown")
    assert client.get_experiment(run.info.experiment_id).name == "bespoke/support"
    assert row.started_at is not None
    assert row.finished_at is not None
    assert run.info.start_time == int(row.started_at.timestamp() * 1000)
    assert run.info.end_time == int(row.finished_at.timestamp() * 1000)
    assert run.data.params == {
        "program": "support",
        "optimizer": "LabeledFewShot",
        "tier": "basic",
        "examples": "12",
        "held_out": str(optimized.held_out),
        "dspy_version": version.meta["versions"]["dspy"] if version else "",
        "python_version": version.meta["versions"]["python"] if version else "",
    }
    assert optimized.score_after is not None
    assert optimized.score_before is not None
    assert run.data.metrics == {
        "score_before": optimized.score_before,
        "score_after": optimized.score_after,
        "gain": optimized.score_after - optimized.score_before,
        "held_out": optimized.held_out,
        "lm_calls": optimized.lm_calls,
        "prompt_tokens": optimized.prompt_tokens,
        "completion_tokens": optimized.completion_tokens,
        "cost_usd": optimized.cost_usd,
        "unpriced_calls": optimized.unpriced_calls,
        "seconds": optimized.seconds,
    }
    ours = {name: value for name, value in run.data.tags.items() if name.startswith("bespoke.")}
    assert ours == {
        "bespoke.job_id": str(optimized.program_id),
        "bespoke.version_id": str(optimized.program_id),
        "bespoke.user": events.hashed("ada"),
        "bespoke.program": "support",
        "bespoke.tier": "basic",
        "bespoke.promoted": "true",
        "bespoke.reason": optimized.reason,
        "bespoke.attempts": "1",
    }
    assert client.list_artifacts(run.info.run_id) == []
    everything = b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert run.info.run_id.encode() in everything
    assert all(str(one["text"]).encode() not in everything for one in lessons(12))


@in_loop
async def test_the_state_is_kept_there_where_that_is_asked_for(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient
) -> None:
    options = tracking(server, mlflow_state=True)
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **options) as worker:
            await worker.teach("ada", 12)
            await worker.optimize("ada")
            await told(worker)
            version = await worker.in_use("ada")

    (run,) = runs(client)
    path = client.download_artifacts(run.info.run_id, "state.json", str(tmp_path))
    assert version is not None
    assert json.loads(Path(path).read_text()) == version.state


@in_loop
async def test_failed_and_cancelled_runs_tell_the_type_of_the_error_alone(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient, kept: Path
) -> None:
    programs = (MODULE, "tests.integration.stubborn_programs")
    holding = Holding(sys.maxsize)
    with StandinLM(answer=holding) as lm:
        options = tracking(server, programs=programs)
        async with working(database_url, tmp_path, lm=lm.url, **options) as worker:
            await broken(worker, "failing-metric")
            await worker.teach("bob", 60)
            payload = OptimizeUser(user_id="bob", program=PROGRAM)
            holding.hold()
            await worker.optimization.accept(payload)
            running = asyncio.create_task(worker.optimization.run(payload.id))
            await holding.holds()
            await worker.cancellation.cancel(Cancel(job_id=payload.id))
            holding.let_go()
            with pytest.raises(Permanent):
                await running
            before = OptimizeUser(user_id="ada", program=PROGRAM)
            await worker.optimization.accept(before)
            await worker.cancellation.cancel(Cancel(job_id=before.id))
            assert await told(worker) == 2  # the one that never began is no run

    ended = {run.info.status: run.data for run in runs(client)}
    assert ended["FAILED"].tags["bespoke.error"] == "Refused"
    assert ended["KILLED"].tags["bespoke.error"] == "Cancelled"
    taken = {"lm_calls", "prompt_tokens", "completion_tokens", "cost_usd", "unpriced_calls"}
    assert set(ended["FAILED"].metrics) == taken | {"seconds"}
    assert ended["FAILED"].params == {"program": "failing-metric"}
    everything = b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert SECRET.encode() not in everything
    assert b"raised KeyError" not in everything


@pytest.mark.parametrize("listening", [True, False])
@in_loop
async def test_while_the_server_is_away_runs_end_as_ever_and_are_told_later(
    database_url: str,
    tmp_path: Path,
    server: str,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    listening: bool,
) -> None:
    with StandinLM() as lm, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:
            silent.listen()
        away = f"http://me:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}"
        async with working(database_url, tmp_path, lm=lm.url, **tracking(away)) as worker:
            await worker.teach("ada", 12)
            assert (await worker.optimize("ada")).promoted
            await worker.optimize("ada")
            paid = lm.calls
            began = time.monotonic()
            with monkeypatch.context() as impatient:
                impatient.setattr(door, "REQUEST_SECONDS", 1)
                assert await told(worker) == 0
            assert time.monotonic() - began < 20
            assert len(await untold(worker)) == 2
            assert await told(worker) == 0  # not due before some minutes have passed
        async with working(database_url, tmp_path, lm=lm.url, **tracking(server)) as worker:
            await come_due(worker)
            assert await told(worker) == 2
    assert lm.calls == paid
    assert len(runs(client)) == 2
    printed = "".join(capfd.readouterr())
    assert PASSWORD not in printed
    assert "BESPOKE_MLFLOW_URI: the tracking server failed" in printed


@in_loop
async def test_what_was_told_in_part_is_completed_and_a_repeat_removed(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **tracking(server)) as worker:
            await worker.teach("ada", 12)
            optimized = await worker.optimize("ada")
            known = client.get_experiment_by_name("bespoke/support")
            place = known.experiment_id if known else client.create_experiment("bespoke/support")
            tags = {"bespoke.job_id": str(optimized.program_id)}
            first, _ = (client.create_run(place, at, tags) for at in (1000, 2000))
            assert await told(worker) == 1
    (run,) = runs(client)
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert "score_after" in run.data.metrics


@in_loop
async def test_of_two_passes_at_once_each_row_is_one_s(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **tracking(server)) as worker:
            for user in EVERY:
                await worker.teach(user, 12)
                await worker.optimize(user)
            assert sum(await asyncio.gather(told(worker), told(worker))) == 2
    users = {run.data.tags["bespoke.user"] for run in runs(client)}
    assert len(runs(client)) == 2
    assert users == {events.hashed(user) for user in EVERY}


@in_loop
async def test_a_user_is_forgotten_with_the_states_and_no_other_is(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient, kept: Path
) -> None:
    options = tracking(server, mlflow_state=True)
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **options) as worker:
            for user in EVERY:
                await worker.teach(user, 12)
                await worker.optimize(user)
            await told(worker)
            of_ada = {run.data.tags["bespoke.user"]: run.info.run_id for run in runs(client)}
            gone = of_ada[events.hashed("ada")]
            service = Tracking(worker.database, worker.settings)
            assert await service.forget("ada") == 1
            await service.forget("ada")
            assert await service.forget("nobody") == 0
    (left,) = runs(client)
    assert left.data.tags["bespoke.user"] == events.hashed("bob")
    assert [path.parts[-3] for path in kept.rglob("state.json") if gone in path.parts] == []
    assert client.list_artifacts(left.info.run_id) != []


@in_loop
async def test_of_a_user_who_is_erased_no_run_is_left_whenever_that_is(
    database_url: str, tmp_path: Path, server: str, client: MlflowClient
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url, **tracking(server)) as worker:
            await worker.teach("ada", 12)
            await worker.optimize("ada")
            service = Tracking(worker.database, worker.settings)
            (before,) = await service._due()
            await come_due(worker)
            held = HeldBack(service)
            telling = asyncio.create_task(service.tell())
            assert await asyncio.to_thread(held.begun.wait, SECONDS)
            erasing = asyncio.create_task(worker.execute("DELETE FROM optimization_job"))
            await until(lambda: waits_for_a_lock(worker))
            held.go_on.set()
            assert await telling == 1
            await erasing
            assert await service.forget("ada") == 1
            assert await service._tell(before) is False
    assert runs(client) == []


@in_loop
async def test_forgetting_says_when_the_server_is_away(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://me:{PASSWORD}@127.0.0.1:{closed.getsockname()[1]}"
        async with working(database_url, tmp_path, **tracking(away)) as worker:
            with pytest.raises(Transient) as failed:
                await Tracking(worker.database, worker.settings).forget("ada")
    assert PASSWORD not in str(failed.value)


def test_a_worker_tells_when_upkeep_asks_it_to(
    broker_url: str,
    start_worker: StartWorker,
    server: str,
    client: MlflowClient,
) -> None:
    with standin_process() as lm, Client(broker_url) as application:
        env = {
            "BESPOKE_PROGRAMS": MODULE,
            "BESPOKE_LM": "openai/standin",
            "BESPOKE_LM_API_BASE": lm,
            "BESPOKE_LM_API_KEY": "none",
            "BESPOKE_MLFLOW_URI": server,
            "LITELLM_LOCAL_MODEL_COST_MAP": "true",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        start_worker("programs,optimization,upkeep", concurrency=1, env=env)
        taught = examples.AddMany(user_id="ada", program=PROGRAM, examples=lessons(12))
        application.enqueue(taught).result(SECONDS)
        run = optimization.OptimizeUser(user_id="ada", program=PROGRAM)
        optimized = application.enqueue(run).result(SECONDS)
        with Celery(broker=broker_url) as clock:
            clock.send_task("bespoke.upkeep.track", queue="upkeep")
        wait_until(lambda: [one for one in runs(client) if one.info.end_time], "the run")
    (found,) = runs(client)
    assert found.data.tags["bespoke.version_id"] == str(optimized.program_id)


@in_loop
async def test_without_a_server_nothing_is_kept_to_be_told(
    database_url: str, tmp_path: Path
) -> None:
    with StandinLM() as lm:
        async with working(database_url, tmp_path, lm=lm.url) as worker:
            await worker.teach("ada", 12)
            await worker.optimize("ada")
            assert await untold(worker) == []
            assert await told(worker) == 0
            assert await Tracking(worker.database, worker.settings).forget("ada") == 0
    assert "MLFLOW_RUN_ID" not in os.environ
