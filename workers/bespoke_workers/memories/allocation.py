"""How a process of many indexes that come and go gives memory back."""

import ctypes

LARGE_BYTES = 128 * 1024
"""From this size on a block is its own mapping: glibc's default, before it adapts it."""
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h


def return_large_blocks() -> None:
    """Have this process give each large block back to the system as soon as it is freed.

    When glibc first frees a block of up to 32 MiB, it takes blocks of that size from its heap from
    then on, where an index that goes leaves a gap that the next one may not fit into: indexes of
    mixed sizes come to half as much again as their cache may hold. A threshold that is set does
    not move. Other C libraries have no such function, and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
