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
from bespoke_schemas.optimization.spending import (
    Spending,
    SpendingBy,
    SpendingLine,
    Spent,
)
from bespoke_schemas.optimization.users import (
    AUTO,
    FINETUNES,
    NO_TIER,
    Candidate,
    Choice,
    Optimized,
    Optimizer,
    OptimizeUser,
    SetTier,
    Tier,
    TierSet,
)

__all__ = [
    "AUTO",
    "FINETUNES",
    "NO_TIER",
    "BatchBegun",
    "BatchGot",
    "BatchPaused",
    "BatchRecord",
    "BatchResumed",
    "BatchState",
    "BatchSummary",
    "BatchesBegun",
    "BatchesListed",
    "Candidate",
    "Choice",
    "GetBatch",
    "ListBatches",
    "OptimizeAll",
    "OptimizeTier",
    "OptimizeUser",
    "Optimized",
    "Optimizer",
    "PauseBatch",
    "ResumeBatch",
    "RunError",
    "SetTier",
    "Spending",
    "SpendingBy",
    "SpendingLine",
    "Spent",
    "Tier",
    "TierSet",
]
