"""The embedder that all spaces are to have: that of the worker started last."""

from collections.abc import Callable
from datetime import timedelta

from bespoke_workers.database.engine import Database
from bespoke_workers.memories import lexical
from bespoke_workers.memories import reembedding_statements as sql
from bespoke_workers.memories.embedders import Kind

SILENCE = timedelta(hours=1)
"""The target is another's only after nobody who has it set was heard of for so long."""


async def is_due(database: Database, embedder: str | None) -> bool:
    """Whether any space may have to change its embedder, given the setting; loads nothing."""
    name = lexical.NAME if embedder in (None, "lexical") else embedder
    async with database.autocommit() as connection:
        return bool((await connection.execute(sql.IS_DUE, {"embedder": name})).scalar_one())


class Target:
    """Says which embedder is set for this worker, and tells which one it is to be for all."""

    def __init__(self, database: Database, current: Kind, running_s: Callable[[], float]) -> None:
        """``running_s`` tells for how many seconds this worker, not its child, has run."""
        self._database = database
        self._current = current
        self._running_s = running_s

    async def announce(self) -> Kind:
        """Say what is set here, and return the target."""
        announced = {
            "embedder": self._current[0],
            "dim": self._current[1],
            "running_s": self._running_s(),
            "silence_s": SILENCE.total_seconds(),
        }
        async with self._database.autocommit() as connection:
            await connection.execute(sql.ANNOUNCE, announced)
            row = (await connection.execute(sql.READ_TARGET)).one()
        return row.embedder, row.dim
