"""An export that is killed or cancelled leaves no bundle, and its next delivery a whole one."""

import asyncio
import random
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bespoke_schemas import exports, ids
from bespoke_workers.observe import events
from bespoke_workers.storage.files import Writer
from tests.integration.bundles import FILE, Side, side
from tests.nodes.waiting import SECONDS


@pytest.fixture
def here(database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Side]:
    with side(database_url, tmp_path / "storage", runner) as made:
        yield made


def fill(here: Side) -> None:
    """Save so much, and so random, that the compressor has to write in the middle too."""
    noise = random.Random(7)
    for _ in range(40):
        here.save(description=noise.randbytes(8_000).hex())


def start(storage: str, url: str, job: exports.ExportPrograms, stop_before: str) -> list[str]:
    arguments = [url, storage, str(job.id), stop_before]
    return [sys.executable, "-m", "tests.integration.exporting", *arguments]


def killed_at(command: list[str]) -> None:
    """Run the command, wait until it says that it is there, and kill it."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    with process, selectors.DefaultSelector() as selector:
        try:
            selector.register(process.stdout, selectors.EVENT_READ)
            said = b""
            while b"here\n" not in said and selector.select(SECONDS):
                chunk = process.stdout.read(4096)
                assert chunk, "the export ended before it was killed"
                said += chunk
            assert b"here\n" in said
        finally:
            process.kill()


@pytest.mark.parametrize("step", ["write", "finish"])
def test_a_killed_export_leaves_no_bundle_and_its_redelivery_a_whole_one(
    here: Side, database_url: str, step: str
) -> None:
    fill(here)
    job = exports.ExportPrograms(id=ids.uuid7(), name=FILE)

    killed_at(start(here.storage.as_uri(), database_url, job, step))

    (left,) = here.storage.iterdir()
    assert left.name == f"{FILE}.{job.id}.part"
    assert left.stat().st_size > 0

    told: list[events.Event] = []
    end = events.subscribe("dspy.storage.export", told.append)
    assert here.export(id=job.id, name=FILE).count == 40
    end()
    assert [one["count"] for one in told] == [40]
    assert [file.name for file in here.storage.iterdir()] == [FILE]
    assert here.import_().unchanged == 40


def test_a_killed_export_leaves_the_bundle_of_before_under_its_name(
    here: Side, database_url: str
) -> None:
    fill(here)
    here.export(name=FILE)
    before = (here.storage / FILE).read_bytes()

    killed_at(
        start(here.storage.as_uri(), database_url, exports.ExportPrograms(name=FILE), "finish")
    )

    assert (here.storage / FILE).read_bytes() == before


def test_a_cancelled_export_leaves_nothing(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(here)
    monkeypatch.setattr("bespoke_workers.programs.bundles.ROWS_AT_ONCE", 5)
    write = Writer.write

    async def cancelled_in_the_middle() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        steps = iter(range(5))

        def writes_until_cancelled(self: Writer, lines: list[bytes]) -> None:
            if next(steps) == 4:
                loop.call_soon_threadsafe(task.cancel)
            write(self, lines)

        monkeypatch.setattr(Writer, "write", writes_until_cancelled)
        await here.bundles.export(exports.ExportPrograms(name=FILE))

    with pytest.raises(asyncio.CancelledError):
        here.runner.run(cancelled_in_the_middle())

    monkeypatch.setattr(Writer, "write", write)
    assert list(here.storage.iterdir()) == []
    assert here.export(name=FILE).count == 40
