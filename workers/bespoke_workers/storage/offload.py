"""Blocking work in threads, which a cancellation waits for."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread; when cancelled, let it end first.

    ``asyncio.to_thread`` leaves its thread behind when it is cancelled, and that one would
    write on into a file that is being removed. So ``work`` is a short step.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
