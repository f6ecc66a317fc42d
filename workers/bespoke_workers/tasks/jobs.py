"""The tasks about other jobs."""

from bespoke_schemas import jobs
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(jobs.Cancel)
async def cancel(payload: jobs.Cancel, this: Runtime) -> jobs.Cancelled:
    """Stop a job."""
    return await this.cancellation.cancel(payload)
