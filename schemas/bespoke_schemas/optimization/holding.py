"""Batches that are held up for a while."""

from uuid import UUID

from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class BatchPaused(Result):
    """Whether the batch is paused now. ``reason`` says what that means, or why it is not."""

    paused: bool
    reason: str


class PauseBatch(Payload[BatchPaused], queue=Queue.UPKEEP):
    """Begin no further run of a batch; those that run go on to their ends."""

    batch_id: UUID


class BatchResumed(Result):
    """Whether the batch goes on now. ``reason`` says why it does not."""

    resumed: bool
    reason: str


class ResumeBatch(Payload[BatchResumed], queue=Queue.UPKEEP):
    """Let a paused batch go on where it was."""

    batch_id: UUID
