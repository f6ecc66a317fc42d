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


@serves(examples.Feedback)
async def feedback(payload: examples.Feedback, this: Runtime) -> examples.Judged:
    """Take what a user says of outputs."""
    return await this.learning.take(payload)


@serves(examples.List)
async def list_(payload: examples.List, this: Runtime) -> examples.Listed:
    """List a user's examples."""
    return await this.examples_read.list(payload)


@serves(examples.Stats)
async def stats(payload: examples.Stats, this: Runtime) -> examples.ExampleStats:
    """Tell what a user's programs have to learn from."""
    return await this.examples_read.stats(payload)


@serves(examples.Nearest)
async def nearest(payload: examples.Nearest, this: Runtime) -> examples.Near:
    """Find the examples that are most like some inputs."""
    return await this.neighbourhood.nearest(payload)


@serves(examples.Embed)
async def embed(payload: examples.Embed, this: Runtime) -> examples.Embedded:
    """Turn a text into a vector."""
    return await this.example_embeddings.embedded(payload)


@serves(examples.Clear)
async def clear(payload: examples.Clear, this: Runtime) -> examples.Cleared:
    """Delete a user's examples."""
    return await this.examples.clear(payload)
