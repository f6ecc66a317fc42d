"""Tools by which an agent uses one user's memories, over any store of them."""

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from bespoke_schemas import Payload, Result
from bespoke_schemas.toolset import (
    NAMES,
    TIMEOUT,
    Ask,
    Enqueues,
    MemoryTools,
    ToolRefused,
    ToolsetMisused,
    through_queue,
)
from bespoke_workers.database.portal import Portal, portal, wait
from bespoke_workers.errors import Refused
from bespoke_workers.memories.port import MemoryStore
from bespoke_workers.memories.store import Memories


class MemoryToolset(MemoryTools):
    """One user's memories as tools for an agent: ``dspy.ReAct(…, tools=MemoryToolset(u).tools)``.

    ``store`` is a `MemoryStore`, or a `bespoke_client.Client` whose workers do the jobs; None is
    the database of the settings. ``loop`` is the event loop that the store's connections belong
    to, such as the one that a task runs on; call the agent from another thread then, or give it
    ``async_tools`` and await it. Without it, jobs are done on a loop in a thread of its own, and
    the tools may be called from anywhere; the store must then be used nowhere else, unless it is
    an `InMemoryStore`. A tool waits at most ``timeout`` seconds.
    """

    def __init__(
        self,
        user_id: str,
        store: MemoryStore | Enqueues | None = None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout: float = TIMEOUT,
        prefix: str = "",
        only: Sequence[str] = NAMES,
    ) -> None:
        if isinstance(store, Enqueues):
            ask = through_queue(store, timeout)
        else:
            ask = _asking(store, loop, timeout)
        super().__init__(user_id, ask, prefix=prefix, only=only)


def _asking(
    store: MemoryStore | None, loop: asyncio.AbstractEventLoop | None, timeout: float
) -> Ask:
    """Return what has jobs done by a store, on the loop that it belongs to."""

    def ask(payload: Payload[Any]) -> Result:
        chosen = loop or portal().loop
        _check(chosen)
        method = getattr(store or _memories(portal()), payload.task.rpartition(".")[2])
        try:
            result: Result = wait(lambda: method(payload), chosen, timeout)
        except Refused as refused:
            raise ToolRefused(str(refused)) from None
        return result

    return ask


_made: WeakKeyDictionary[Portal, Memories] = WeakKeyDictionary()


def _memories(portal: Portal) -> Memories:
    """Return the memories that the settings describe, with connections of the portal's own.

    Raises Misconfigured.
    """
    with portal.making:
        if portal not in _made:
            _made[portal] = Memories.from_settings(portal.database, portal.settings)
        return _made[portal]


def _check(loop: asyncio.AbstractEventLoop) -> None:
    """Raise ToolsetMisused where waiting for the loop would never end."""
    if not loop.is_running():
        raise ToolsetMisused(
            "the event loop given to MemoryToolset does not run; give a running one"
        )
    if _running() is loop:
        raise ToolsetMisused(
            "a tool would wait for the event loop that it was called on; give the agent "
            "async_tools and await agent.acall(…), or call it in a thread"
        )


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
