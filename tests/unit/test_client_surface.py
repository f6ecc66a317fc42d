"""The public names, and the types that a type checker infers for them."""

import asyncio
import inspect
import subprocess
import sys
from typing import assert_type

import pytest

import bespoke_client
from bespoke_client import (
    AsyncClient,
    AsyncJob,
    BespokeClientError,
    Client,
    Job,
    errors,
    exports,
    jobs,
    memories,
    optimization,
)
from bespoke_client.testing import RecordingAsyncClient, RecordingClient
from bespoke_schemas import Result


def test_a_result_is_typed_by_its_payload() -> None:
    client: Client = RecordingClient()
    store = memories.Store(user_id="ada", content="x")
    assert isinstance(client, RecordingClient)
    client.answer(memories.Store, memories.Stored(memory_id=store.id, outcome="merged", count=1))
    job = client.enqueue(store)
    assert_type(job, Job[memories.Stored])
    assert_type(job.result(timeout=1), memories.Stored)
    assert_type(client.enqueue_many([store]), list[Job[memories.Stored]])
    assert_type(client.job(job.id), Job[Result])
    assert_type(job.cancel(), Job[jobs.Cancelled])
    assert_type(job.status(), jobs.Status)
    assert_type(job.progress(), jobs.Progress | None)
    assert_type(client.enqueue(exports.ExportPrograms()), Job[exports.Exported])


def test_jobs_of_several_kinds_fit_one_list() -> None:
    client = RecordingClient()
    made: list[Job[Result]] = [client.enqueue(memories.Count(user_id="ada"))]
    made.append(client.enqueue(memories.Store(user_id="ada", content="x")))
    made.extend(client.enqueue_many([memories.Count(user_id="ada"), exports.ExportPrograms()]))
    assert len(made) == 4


def test_asyncio_results_are_typed_too() -> None:
    async def use(client: AsyncClient) -> None:
        job = await client.enqueue(optimization.OptimizeUser(user_id="ada", program="support"))
        assert_type(job, AsyncJob[optimization.Optimized])
        many = await client.enqueue_many([memories.Count(user_id="ada")])
        assert_type(many, list[AsyncJob[memories.Counted]])
        assert_type(await many[0].result(), memories.Counted)
        assert_type(await job.cancel(), AsyncJob[jobs.Cancelled])

    client = RecordingAsyncClient()
    client.answer(memories.Count, memories.Counted(count=1))
    asyncio.run(use(client))


def public(kind: type) -> dict[str, list[str]]:
    members = inspect.getmembers(
        kind, lambda member: callable(member) or isinstance(member, property)
    )
    return {
        name: list(inspect.signature(member).parameters) if callable(member) else []
        for name, member in members
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("sync", "twin"), [(Client, AsyncClient), (Job, AsyncJob)])
def test_the_asyncio_twin_has_the_same_surface(sync: type, twin: type) -> None:
    assert public(sync) == public(twin)


@pytest.mark.parametrize(
    ("real", "fake"), [(Client, RecordingClient), (AsyncClient, RecordingAsyncClient)]
)
def test_a_fake_has_the_clients_surface_and_little_more(real: type, fake: type) -> None:
    assert issubclass(fake, real)
    assert public(fake).keys() - public(real).keys() == {"answer", "enqueued"}


def test_every_error_is_exported_and_drawn_in_the_hierarchy() -> None:
    own = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    ]
    for kind in own:
        assert issubclass(kind, BespokeClientError)
        assert kind.__name__ in bespoke_client.__all__
        assert errors.__doc__ is not None
        assert kind.__name__ in errors.__doc__


def test_every_exported_name_is_there() -> None:
    for name in bespoke_client.__all__:
        assert getattr(bespoke_client, name) is not None


def test_an_application_imports_neither_workers_nor_what_they_need() -> None:
    look = (
        "import sys, bespoke_client, bespoke_client.testing;"
        "print([name for name in ('bespoke_workers', 'sqlalchemy', 'faiss', 'dspy', 'asyncpg',"
        " 'numpy', 'pytest') if name in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert seen.stdout == "[]\n"
