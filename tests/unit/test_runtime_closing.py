"""A process that ends stops its jobs before it lets go of what they use."""

import asyncio
import sys
from typing import Any, cast

import pytest

from bespoke_workers.database.engine import Database
from bespoke_workers.runtime import Runtime
from bespoke_workers.settings import Settings


class Connections:
    """Stands in for the engine, whose closing is noted."""

    def __init__(self, order: list[str]) -> None:
        self._order = order

    async def close(self) -> None:
        for _ in range(10):  # as one that talks to a server: other tasks would go on meanwhile
            await asyncio.sleep(0)
        self._order.append("connections closed")


def test_a_job_that_a_signal_interrupted_is_stopped_before_the_connections_close() -> None:
    this = Runtime(Settings(), cast("Any", None))
    order: list[str] = []
    this.__dict__["database"] = cast("Database", Connections(order))

    async def job() -> None:
        # What the handler of SIGTERM in a pool process comes to.
        asyncio.get_running_loop().call_soon(sys.exit)
        try:
            for _ in range(1000):
                await asyncio.sleep(0)
                order.append("went on")
        finally:
            order.append("stopped")

    with pytest.raises(SystemExit):
        this.run(job())
    this.close()
    assert order[-2:] == ["stopped", "connections closed"]
