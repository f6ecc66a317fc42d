"""The queues, and which of them a payload goes to.

No short job waits behind a long one: each kind of work has a queue of its own.
The queue of memories is divided into shards by a stable hash of the user, so that
one user's stores can be done in order by one worker, whose index is up to date.
"""

import zlib
from enum import StrEnum

SHARDS = 16
"""Shards of the memories queue. Both sides must agree, so it is no setting."""


class Queue(StrEnum):
    """A family of queues that a worker can be told to consume."""

    MEMORIES = "memories"
    READS = "reads"
    PROGRAMS = "programs"
    OPTIMIZATION = "optimization"
    FINETUNING = "finetuning"
    EXPORTS = "exports"
    UPKEEP = "upkeep"


OPTIMIZATION_RUNS = "optimization.runs"
"""Carries the long runs, so that accepting an optimization never waits behind one."""


def shard(user_id: str) -> int:
    """Return the shard, 0 … ``SHARDS`` - 1, to which a user's memories belong."""
    return zlib.crc32(user_id.encode()) % SHARDS


def queue_name(queue: Queue, user_id: str | None) -> str:
    """Return the queue on which a message of this family about this user travels."""
    if queue is Queue.MEMORIES:
        return f"{queue}.{shard(user_id or '')}"
    return str(queue)


def members(queue: Queue) -> tuple[str, ...]:
    """Return the names of all queues of a family."""
    if queue is Queue.MEMORIES:
        return tuple(f"{queue}.{number}" for number in range(SHARDS))
    if queue is Queue.OPTIMIZATION:
        return (str(queue), OPTIMIZATION_RUNS)
    return (str(queue),)
