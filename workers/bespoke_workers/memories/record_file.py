"""Writing a user's memories to a file of records, page by page of rows."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from bespoke_workers.memories.records import RECORDS, is_compressed, line_of, record_of
from bespoke_workers.storage.files import Writer
from bespoke_workers.storage.offload import in_thread, write_whole
from bespoke_workers.storage.places import Place, Storage

ROWS_AT_ONCE = 500
"""Rows in memory during an export, a few hundred bytes each as a rule."""


async def write_records(
    storage: Storage,
    place: Place,
    token: str,
    user_id: str,
    pages: AsyncGenerator[Sequence[Any], None],
) -> tuple[int, int, str]:
    """Write a line for each row that EXPORT gave, to a file that is there whole or not at all.

    Returns their number, the file's size in bytes and its SHA-256.
    """
    writer = Writer(RECORDS, storage, place, token, compressed=is_compressed(place))

    async def copy() -> int:
        count = 0
        async with aclosing(pages):
            async for page in pages:
                count += len(page)
                await in_thread(writer.write, [line_of(record_of(row, user_id)) for row in page])
        return count

    return await write_whole(writer, copy)
