"""The tasks that nobody asks for: nightly work, lost runs, old rows, embedders, MLflow."""

from uuid import UUID

from bespoke_workers.app import internal
from bespoke_workers.configuration import (
    GO_ON,
    NIGHTLY_AGE,
    NIGHTLY_CLEANUP,
    NIGHTLY_TIER,
    PRUNE,
    REAP,
    REEMBED,
    REVOKED,
    TRACK,
)
from bespoke_workers.runtime import Runtime

PRUNE_SECONDS = 30.0
"""Of each kind of old records; the task is a short one, and what is left is for the next."""


@internal(NIGHTLY_TIER)
async def nightly_tier(this: Runtime, tier: str) -> None:
    """Enqueue tonight's batch of a tier for each registered program."""
    this.batches.enqueue_nightly(tier)


@internal(REAP)
async def reap(this: Runtime) -> None:
    """Send again the runs and parts whose worker died or whose message was lost."""
    await this.optimization.reap()
    await this.rounds.reap()


@internal(NIGHTLY_AGE)
async def nightly_age(this: Runtime) -> None:
    """Enqueue tonight's removal of what is too old, for users who store nothing any more."""
    this.rounds.enqueue_nightly()


@internal(NIGHTLY_CLEANUP)
async def nightly_cleanup(this: Runtime) -> None:
    """Enqueue tonight's cleanup of everybody's versions."""
    this.cleaning.enqueue_nightly()


@internal(GO_ON)
async def go_on(this: Runtime, round_id: str) -> None:
    """Plan more users of a round, or end it."""
    await this.rounds.go_on(UUID(round_id))


@internal(PRUNE)
async def prune(this: Runtime) -> None:
    """Delete the records of jobs, and what was archived or exported, after their retention."""
    kinds = (this.retention, this.pruning, this.safeguard_pruning)
    if not all([await kind.prune(PRUNE_SECONDS) for kind in kinds]):
        this.outbox.prune()


@internal(REEMBED)
async def reembed(this: Runtime) -> None:
    """Embed anew, for a while, the memories of users that another embedder embedded."""
    if await this.is_reembedding_due():
        await this.memories.reembed()


@internal(REVOKED)
async def revoked(this: Runtime, job_id: str, process: str | None = None) -> None:
    """Cancel a job that was revoked by Celery's remote control."""
    await this.cancellation.revoked(UUID(job_id), process)


@internal(TRACK)
async def track(this: Runtime) -> None:
    """Tell MLflow of the optimizations that ended."""
    await this.tracking.tell()
