"""Blocking work in threads, which a cancellation waits for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from bespoke_workers.storage.files import Writer

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


async def write_whole(writer: Writer, fill: Callable[[], Awaitable[T]]) -> tuple[T, int, str]:
    """Write a file that has its name only once ``fill`` has ended, or leave nothing.

    Returns what ``fill`` returned, the file's size in bytes and its SHA-256.
    """
    try:
        await in_thread(writer.open)
        filled = await fill()
        size, sha256 = await in_thread(writer.finish)
    except BaseException:
        await in_thread(writer.abort)
        raise
    return filled, size, sha256
