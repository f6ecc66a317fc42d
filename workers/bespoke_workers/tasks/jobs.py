"""The tasks about other jobs."""

from bespoke_schemas import jobs
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(jobs.Cancel)
async def cancel(payload: jobs.Cancel, this: Runtime) -> jobs.Cancelled:
    """Stop a job."""
    return await this.cancellation.cancel(payload)


@serves(jobs.Get)
async def get(payload: jobs.Get, this: Runtime) -> jobs.Got:
    """Read the record of a job."""
    return await this.job_records.get(payload)


@serves(jobs.List)
async def list_(payload: jobs.List, this: Runtime) -> jobs.Listed:
    """List jobs."""
    return await this.job_records.list(payload)


@serves(jobs.ListFailed)
async def list_failed(payload: jobs.ListFailed, this: Runtime) -> jobs.Listed:
    """List jobs that ended without an effect."""
    return await this.job_records.list_failed(payload)
