"""Fine-tuning at a server of OpenAI's protocol: begun once, waited for, cancelled, removed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bespoke_schemas import programs
from bespoke_schemas.jobs import Cancel
from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.errors import Cancelled, Misconfigured, Refused, Transient
from bespoke_workers.optimization.finetuning.removal import Removal
from bespoke_workers.programs.changing import Changing
from examples.support_desk.standin_lm import StandinLM
from tests.integration.finetuning_server import KEY, FinetuningServer
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import PROGRAM, Worker, lessons, until, working
from tests.integration.test_optimization_resume import taken_up_again
from tests.nodes.waiting import SECONDS

TUNING: dict[str, Any] = {"optimizer": "BootstrapFinetune"}


@asynccontextmanager
async def tuning(
    url: str, home: Path, server: FinetuningServer, **options: Any
) -> AsyncIterator[Worker]:
    """Open a worker that fine-tunes at the server, with a user who is taught."""
    settings: dict[str, Any] = {
        "finetune_provider": "openai",
        "finetune_api_base": server.url,
        "finetune_api_key": SecretStr(KEY),
        "finetune_usd_per_million": 3.0,
    }
    with StandinLM() as lm:
        async with working(url, home, lm=lm.url, **settings, **options) as worker:
            await worker.teach("ada", 40)
            yield worker


async def begun(worker: Worker, server: FinetuningServer) -> tuple[Any, "asyncio.Task[Any]"]:
    """Begin a run, and wait until its training is under way and looked at."""
    payload = OptimizeUser(user_id="ada", program=PROGRAM, **TUNING)
    await worker.optimization.accept(payload)
    running = asyncio.create_task(worker.optimization.run(payload.id))

    async def looked() -> bool:
        return running.done() or server.asked["GET /v1/fine_tuning/jobs/*"] > 0

    await until(looked)
    assert not running.done()
    return payload, running


@in_loop
async def test_a_model_is_trained_scored_promoted_and_called_there(
    database_url: str, tmp_path: Path
) -> None:
    with FinetuningServer(errors=[429, 500]) as server:
        async with tuning(database_url, tmp_path, server) as worker:
            optimized = await worker.optimize("ada", **TUNING)
            assert optimized.promoted
            assert optimized.cost_usd == pytest.approx(6.0)
            assert server.asked["POST /v1/fine_tuning/jobs"] == 1
            assert server.asked["POST /v1/chat/completions"] == optimized.held_out
            assert server.keys == {KEY}
            active = programs.LoadActive(user_id="ada", program=PROGRAM)
            loaded = await worker.library.load_active(active)
            assert loaded.model is not None
            assert loaded.model.model_dump() == {
                "provider": "openai",
                "name": "ft:standin:ftjob-0",
                "base_model": "standin",
                "content": None,
            }
            assert await worker.execute("SELECT api_base FROM user_model") == [server.url]
            assert KEY not in str(await worker.execute("SELECT CAST(t AS text) FROM user_model t"))
            changing = Changing(worker.database, worker.library)
            await changing.rollback(programs.Rollback(user_id="ada", program=PROGRAM))
            assert optimized.program_id is not None
            gone = programs.Delete(user_id="ada", program_id=optimized.program_id)
            await changing.delete(gone)
            await worker.optimization.reap()
            assert (server.files, server.models) == ({}, {})
            assert await worker.execute("SELECT count(*) FROM user_model") == [0]


@in_loop
async def test_a_worker_that_takes_a_run_up_waits_for_the_same_training(
    database_url: str, tmp_path: Path
) -> None:
    """Whether or not the provider's ids were written down before the worker died."""
    with FinetuningServer(hold=True) as server:
        async with tuning(database_url, tmp_path, server) as worker:
            payload, running = await begun(worker, server)
            running.cancel()
            await asyncio.wait({running})
            await worker.execute(
                "UPDATE user_model SET file_id = NULL, remote_id = NULL, state = 'starting'"
            )
            assert [job["status"] for job in server.jobs.values()] == ["running"]
            server.hold = False
            await taken_up_again(worker)
            optimized = await worker.optimization.run(payload.id)
            assert optimized is not None
            assert optimized.promoted
            assert server.asked["POST /v1/fine_tuning/jobs"] == 1
            assert server.asked["POST /v1/files"] == 1


@in_loop
async def test_a_cancelled_run_cancels_its_training(database_url: str, tmp_path: Path) -> None:
    with FinetuningServer(hold=True) as server:
        async with tuning(database_url, tmp_path, server) as worker:
            payload, running = await begun(worker, server)
            assert (await worker.cancellation.cancel(Cancel(job_id=payload.id))).cancelled
            with pytest.raises(Cancelled):
                await asyncio.wait_for(running, SECONDS)
            assert [job["status"] for job in server.jobs.values()] == ["cancelled"]
            assert server.files == {}
            assert await worker.execute("SELECT count(*) FROM user_model") == [0]


@in_loop
async def test_a_failed_training_fails_the_run_with_the_reason_and_no_example(
    database_url: str, tmp_path: Path
) -> None:
    text = str(lessons(1)[0]["text"])
    for message, told in (("too few examples: 8", True), (f"not allowed: {text}", False)):
        with FinetuningServer(fail={"code": "invalid_file", "message": message}) as server:
            async with tuning(database_url, tmp_path, server) as worker:
                with pytest.raises(Refused, match="training failed: invalid_file") as refused:
                    await worker.optimize("ada", **TUNING)
                assert (message in str(refused.value)) is told
                assert text not in str(refused.value)
                assert server.files == {}


@in_loop
async def test_a_wrong_key_ends_the_run_and_names_the_setting(
    database_url: str, tmp_path: Path
) -> None:
    with FinetuningServer() as server:
        async with tuning(database_url, tmp_path, server) as worker:
            wrong = worker.settings.model_copy(
                update={"finetune_api_key": SecretStr("another one")}
            )
            worker.optimization._settings = wrong
            with pytest.raises(Misconfigured, match="BESPOKE_FINETUNE_API_KEY") as refused:
                await worker.optimize("ada", **TUNING)
            assert "another one" not in str(refused.value)


@in_loop
async def test_an_erasure_waits_for_the_provider_and_a_key_goes_to_no_other_server(
    database_url: str, tmp_path: Path
) -> None:
    with FinetuningServer() as server, FinetuningServer() as elsewhere:
        async with tuning(database_url, tmp_path, server) as worker:
            await worker.optimize("ada", **TUNING)
            other = worker.settings.model_copy(update={"finetune_api_base": elsewhere.url})
            with pytest.raises(Refused, match="BESPOKE_FINETUNE_API_BASE"):
                await Removal(worker.database, other).of_user("ada")
            assert elsewhere.keys == set()
            removal = Removal(worker.database, worker.settings)
            server.errors = [503]
            with pytest.raises(Transient):
                await removal.of_user("ada")
            assert await removal.of_user("ada") == 1
            assert (server.files, server.models) == ({}, {})
