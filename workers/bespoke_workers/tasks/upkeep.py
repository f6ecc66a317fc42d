"""The tasks that beat sends: nightly batches, lost runs, old rows."""

from bespoke_workers.app import NIGHTLY_TIER, PRUNE, REAP, internal
from bespoke_workers.runtime import Runtime


@internal(NIGHTLY_TIER)
async def nightly_tier(this: Runtime, tier: str) -> None:
    """Enqueue tonight's batch of a tier for each registered program."""
    this.batches.enqueue_nightly(tier)


@internal(REAP)
async def reap(this: Runtime) -> None:
    """Send again the runs whose worker died or whose message was lost."""
    await this.optimization.reap()


@internal(PRUNE)
async def prune(this: Runtime) -> None:
    """Delete the records of jobs that are older than their retention."""
    await this.retention.prune()
