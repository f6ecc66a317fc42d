"""What the tests of bundles share: a side with a database and a storage, and bundles by hand."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from bespoke_schemas import exports, ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ActiveProgram, Job, ProgramVersion
from bespoke_workers.programs.bundles import Bundles
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.two_predictors import NAME, tame_state

FILE = "bundle.jsonl.gz"


class Side:
    """One installation: its database, and a storage that it may share with another one."""

    def __init__(self, url: str, storage: Path, runner: asyncio.Runner) -> None:
        settings = Settings(storage_url=storage.as_uri(), programs=("tests.two_predictors",))
        self.storage = storage
        self.database = Database(url, pool_size=4)
        self.library = Library(self.database, settings)
        self.bundles = Bundles(self.database, settings)
        self.runner = runner

    def save(self, **changes: Any) -> programs.Saved:
        payload = {"program": NAME, "user_id": "ada", "state": tame_state(), **changes}
        return self.runner.run(self.library.save(programs.Save(**payload)))

    def export(self, **query: Any) -> exports.Exported:
        payload = exports.ExportPrograms(**{"overwrite": True, **query})
        return self.runner.run(self.bundles.export(payload))

    def activate(self, user_id: str | None, version_id: Any) -> None:
        async def move() -> None:
            async with self.database.transaction() as session:
                await self.library.activate(session, user_id, NAME, version_id, reason="activated")

        self.runner.run(move())

    def import_(self, url: str = FILE, **how: Any) -> exports.Imported:
        payload = exports.ImportPrograms(url=url, **how)
        return self.runner.run(self.bundles.import_(payload))

    def versions(self) -> list[dict[str, Any]]:
        return [row.model_dump() for row in self.rows(ProgramVersion)]

    def pointers(self) -> dict[tuple[str | None, str], Any]:
        return {(row.user_id, row.program): row.version_id for row in self.rows(ActiveProgram)}

    def is_empty(self) -> bool:
        return not any(self.rows(table) for table in (ProgramVersion, ActiveProgram, Job))

    def rows(self, table: Any) -> list[Any]:
        async def read() -> list[Any]:
            async with self.database.transaction() as session:
                return list(await session.exec(select(table).order_by(col(table.id))))

        return self.runner.run(read())


@contextmanager
def side(url: str, storage: Path, runner: asyncio.Runner) -> Iterator[Side]:
    made = Side(url, storage, runner)
    yield made
    runner.run(made.database.close())


def an_entry(**changes: Any) -> dict[str, Any]:
    """Return a good entry of either format, with some of its keys changed."""
    return {
        "program_id": str(ids.uuid7()),
        "user_id": "ada",
        "program": NAME,
        "saved_at": "2026-01-02T03:04:05.678901Z",
        "program_data": tame_state(),
        "optimization_result": {"trials": 3},
        "metadata": {"versions": {"dspy": "3.4.1"}},
        "signature": "text -> label",
        "fingerprint": "classify(text: str -> label: str)",
        "optimizer": "MIPROv2",
        "score": 0.5,
        "tags": ["a"],
        "description": "",
        "parent_id": None,
        "active": False,
        **changes,
    }


def a_header(count: int, **changes: Any) -> dict[str, Any]:
    """Return the header of a bundle of format 1, with some of its keys changed."""
    return {
        "format": "bespoke-programs", "version": 1, "count": count,
        "created_at": "2026-01-02T03:04:05Z", **changes,
    }  # fmt: skip


def encoded(*documents: Any) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def sealed(body: bytes, count: int) -> bytes:
    """Return the lines with a right trailer."""
    digest = hashlib.sha256(body).hexdigest()
    return body + encoded({"sha256": digest, "count": count})


def bundle_of(*entries: dict[str, Any], **header: Any) -> bytes:
    """Return the uncompressed lines of a whole bundle."""
    return sealed(encoded(a_header(**{"count": len(entries), **header}), *entries), len(entries))


def put(storage: Path, lines: bytes) -> None:
    (storage / FILE).write_bytes(gzip.compress(lines))
