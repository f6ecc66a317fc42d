"""Payloads of the optimization: one user's program, or a whole tier's."""

from bespoke_schemas.optimization.batches import (
    BatchBegun,
    BatchesBegun,
    BatchSummary,
    OptimizeAll,
    OptimizeTier,
)
from bespoke_schemas.optimization.holding import (
    BatchPaused,
    BatchResumed,
    PauseBatch,
    ResumeBatch,
)
from bespoke_schemas.optimization.looking import (
    BatchesListed,
    BatchGot,
    BatchRecord,
    BatchState,
    GetBatch,
    ListBatches,
    RunError,
)
from bespoke_schemas.optimization.users import Optimized, OptimizeUser, Tier

__all__ = [
    "BatchBegun",
    "BatchGot",
    "BatchPaused",
    "BatchRecord",
    "BatchResumed",
    "BatchState",
    "BatchSummary",
    "BatchesBegun",
    "BatchesListed",
    "GetBatch",
    "ListBatches",
    "OptimizeAll",
    "OptimizeTier",
    "OptimizeUser",
    "Optimized",
    "PauseBatch",
    "ResumeBatch",
    "RunError",
    "Tier",
]
