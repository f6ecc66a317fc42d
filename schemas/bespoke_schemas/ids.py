"""Job ids: UUIDv7 (RFC 9562), in the order of their making to the millisecond."""

import secrets
import time
from uuid import UUID


def uuid7() -> UUID:
    """Return a new UUIDv7: 48 bits of milliseconds since the epoch, then 74 random bits.

    ``uuid.uuid7`` exists from Python 3.14 on only, and this distribution depends on
    pydantic and nothing else.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)
