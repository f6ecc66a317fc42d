"""The tasks of the training examples."""

from bespoke_schemas import examples
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(examples.Add)
async def add(payload: examples.Add, this: Runtime) -> examples.Added:
    """Add one training example."""
    return await this.examples.add(payload)


@serves(examples.AddMany)
async def add_many(payload: examples.AddMany, this: Runtime) -> examples.Added:
    """Add many training examples."""
    return await this.examples.add_many(payload)
