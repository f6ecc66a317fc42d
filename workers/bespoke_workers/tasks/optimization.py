"""The tasks of the optimization: short ones that write rows, and the long one that runs a row."""

from uuid import UUID

from bespoke_schemas import optimization
from bespoke_workers.app import Outcome, internal, serves
from bespoke_workers.configuration import RUN_OPTIMIZATION
from bespoke_workers.runtime import Runtime


@serves(optimization.OptimizeUser)
async def optimize_user(
    payload: optimization.OptimizeUser, this: Runtime
) -> optimization.Optimized | None:
    """Accept an optimization: its row is written, and the answer comes from its run."""
    return await this.optimization.accept(payload)


@serves(optimization.OptimizeTier)
async def optimize_tier(
    payload: optimization.OptimizeTier, this: Runtime
) -> optimization.BatchSummary | None:
    """Plan a batch; the answer comes when its last job ended, at once if there is none."""
    return await this.batches.plan(payload)


@serves(optimization.OptimizeAll)
async def optimize_all(
    payload: optimization.OptimizeAll, this: Runtime
) -> optimization.BatchesBegun:
    """Enqueue a batch for each tier."""
    return await this.all_tiers.begin(payload)


@serves(optimization.ListBatches)
async def list_batches(
    payload: optimization.ListBatches, this: Runtime
) -> optimization.BatchesListed:
    """List batches."""
    return await this.batch_records.list(payload)


@serves(optimization.GetBatch)
async def get_batch(payload: optimization.GetBatch, this: Runtime) -> optimization.BatchGot:
    """Tell how far a batch is."""
    return await this.batch_records.get(payload)


@serves(optimization.Spending)
async def spending(payload: optimization.Spending, this: Runtime) -> optimization.Spent:
    """Tell what optimizations took."""
    return await this.spending.told(payload)


@serves(optimization.PauseBatch)
async def pause_batch(payload: optimization.PauseBatch, this: Runtime) -> optimization.BatchPaused:
    """Pause a batch."""
    return await this.pausing.pause(payload)


@serves(optimization.ResumeBatch)
async def resume_batch(
    payload: optimization.ResumeBatch, this: Runtime
) -> optimization.BatchResumed:
    """Let a paused batch go on."""
    return await this.pausing.resume(payload)


@serves(optimization.SetTier)
async def set_tier(payload: optimization.SetTier, this: Runtime) -> optimization.TierSet:
    """Give a user a tier by hand."""
    return await this.given_tiers.set(payload)


@internal(RUN_OPTIMIZATION, acks_late=False, seconds=None, answers=True)
async def run(this: Runtime, job_id: str) -> Outcome | None:
    """Run one row; None where another worker has it or it has ended."""
    optimized = await this.optimization.run(UUID(job_id))
    if optimized is None:
        return None
    return Outcome(optimization.OptimizeUser.task, optimized)
