"""Payloads of the programs: immutable versions, and the pointer to the one in use."""

from bespoke_schemas.programs.changing import (
    Activate,
    Activated,
    Delete,
    Deleted,
    Rollback,
    RolledBack,
)
from bespoke_schemas.programs.checkpoints import (
    Checkpoint,
    Checkpointed,
    RestoreCheckpoint,
    Restored,
)
from bespoke_schemas.programs.cleanup import CleanedUp, Cleanup
from bespoke_schemas.programs.comparing import (
    Compare,
    Compared,
    Comparison,
    PredictorDifference,
)
from bespoke_schemas.programs.finding import Cursor, Find, Found, List
from bespoke_schemas.programs.history import (
    History,
    OptimizerStats,
    Point,
    ProgramHistory,
    Summary,
    Trend,
    Trends,
)
from bespoke_schemas.programs.loading import Best, Load, LoadActive, Loaded, UserModel
from bespoke_schemas.programs.saving import Save, Saved
from bespoke_schemas.programs.versions import Version, VersionSummary
from bespoke_schemas.programs.whole import (
    DeletedWhole,
    DeleteWhole,
    ListedWhole,
    ListWhole,
    SavedWhole,
    SaveWhole,
    WholeProgram,
)

__all__ = [
    "Activate",
    "Activated",
    "Best",
    "Checkpoint",
    "Checkpointed",
    "CleanedUp",
    "Cleanup",
    "Compare",
    "Compared",
    "Comparison",
    "Cursor",
    "Delete",
    "DeleteWhole",
    "Deleted",
    "DeletedWhole",
    "Find",
    "Found",
    "History",
    "List",
    "ListWhole",
    "ListedWhole",
    "Load",
    "LoadActive",
    "Loaded",
    "OptimizerStats",
    "Point",
    "PredictorDifference",
    "ProgramHistory",
    "RestoreCheckpoint",
    "Restored",
    "Rollback",
    "RolledBack",
    "Save",
    "SaveWhole",
    "Saved",
    "SavedWhole",
    "Summary",
    "Trend",
    "Trends",
    "UserModel",
    "Version",
    "VersionSummary",
    "WholeProgram",
]
