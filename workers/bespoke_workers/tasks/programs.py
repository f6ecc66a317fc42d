"""The tasks of the programs."""

from bespoke_schemas import programs
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(programs.Save)
async def save(payload: programs.Save, this: Runtime) -> programs.Saved:
    """Save a version of a program."""
    return await this.programs.save(payload)


@serves(programs.Load)
async def load(payload: programs.Load, this: Runtime) -> programs.Loaded:
    """Load a version by its id."""
    return await this.programs.load(payload)


@serves(programs.LoadActive)
async def load_active(payload: programs.LoadActive, this: Runtime) -> programs.Loaded:
    """Load the version that a user has in use."""
    return await this.programs.load_active(payload)


@serves(programs.Best)
async def best(payload: programs.Best, this: Runtime) -> programs.Loaded:
    """Load the version of the highest score."""
    return await this.programs.best(payload)


@serves(programs.Find)
async def find(payload: programs.Find, this: Runtime) -> programs.Found:
    """Find one user's versions, or the shared base's."""
    return await this.catalogue.find(payload)


@serves(programs.List)
async def list_(payload: programs.List, this: Runtime) -> programs.Found:
    """List everything of one user, or of the shared base."""
    return await this.catalogue.list(payload)


@serves(programs.History)
async def history(payload: programs.History, this: Runtime) -> programs.ProgramHistory:
    """Tell how versions got better, or did not."""
    return await this.catalogue.history(payload)


@serves(programs.Compare)
async def compare(payload: programs.Compare, this: Runtime) -> programs.Compared:
    """Compare two versions."""
    return await this.catalogue.compare(payload)


@serves(programs.Delete)
async def delete(payload: programs.Delete, this: Runtime) -> programs.Deleted:
    """Delete a version."""
    return await this.changing.delete(payload)


@serves(programs.Activate)
async def activate(payload: programs.Activate, this: Runtime) -> programs.Activated:
    """Put a version into use."""
    return await this.changing.activate(payload)


@serves(programs.Rollback)
async def rollback(payload: programs.Rollback, this: Runtime) -> programs.RolledBack:
    """Put the version into use that was in use before."""
    return await this.changing.rollback(payload)


@serves(programs.Cleanup)
async def cleanup(payload: programs.Cleanup, this: Runtime) -> programs.CleanedUp | None:
    """Delete versions that are too many; a long cleanup goes back to the end of its queue."""
    return await this.cleaning.clean_up(payload)


@serves(programs.Checkpoint)
async def checkpoint(payload: programs.Checkpoint, this: Runtime) -> programs.Checkpointed:
    """Save a checkpoint."""
    return await this.checkpoints.save(payload)


@serves(programs.RestoreCheckpoint)
async def restore_checkpoint(
    payload: programs.RestoreCheckpoint, this: Runtime
) -> programs.Restored:
    """Load the newest checkpoint of a name, or put its state into use."""
    return await this.checkpoints.restore(payload)


@serves(programs.SaveWhole)
async def save_whole(payload: programs.SaveWhole, this: Runtime) -> programs.SavedWhole:
    """Save a program with its code."""
    return await this.whole_programs.save(payload)


@serves(programs.ListWhole)
async def list_whole(payload: programs.ListWhole, this: Runtime) -> programs.ListedWhole:
    """List the programs that were saved whole."""
    return await this.whole_programs.list(payload)


@serves(programs.DeleteWhole)
async def delete_whole(payload: programs.DeleteWhole, this: Runtime) -> programs.DeletedWhole:
    """Delete a program that was saved whole."""
    return await this.whole_programs.delete(payload)
