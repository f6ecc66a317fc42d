"""An export that stops in the middle and waits to be killed: run as a process of its own.

Arguments: database URL, storage URL, the job's id, and the step before which to stop: ``write``
or ``finish``. Says ``here`` on stdout when it has stopped.
"""

import asyncio
import sys
from typing import Any
from uuid import UUID

from bespoke_schemas import exports
from bespoke_workers.database.engine import Database
from bespoke_workers.programs import bundles
from bespoke_workers.settings import Settings
from bespoke_workers.storage import files
from bespoke_workers.storage.files import Writer

BEFORE_STOPPING = 3  # steps: the header, and pages of entries
bundles.ROWS_AT_ONCE = 5
files.BLOCK_BYTES = 5 * 2**20  # the least that S3 takes as one part of several


class StoppingWriter(Writer):
    """Writes as it should, until it stops."""

    stop_before: str
    steps = 0

    def write(self, lines: Any) -> None:
        self.steps += 1
        if self.stop_before == "write" and self.steps > BEFORE_STOPPING:
            stop()
        super().write(lines)

    def finish(self) -> tuple[int, str]:
        if self.stop_before == "finish":
            stop()
        return super().finish()


def stop() -> None:
    sys.stdout.write("here\n")
    sys.stdout.flush()
    sys.stdin.read()


async def main(url: str, storage: str, job_id: str, stop_before: str) -> None:
    StoppingWriter.stop_before = stop_before
    bundles.Writer = StoppingWriter  # type: ignore[attr-defined]  # the real one, with stops
    database = Database(url, pool_size=2)
    exporter = bundles.Bundles(database, Settings(storage_url=storage))
    name = "bundle.jsonl.gz"
    await exporter.export(exports.ExportPrograms(id=UUID(job_id), name=name, overwrite=True))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
