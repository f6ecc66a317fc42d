"""Payloads of the optimization: one user's program, or a whole tier's."""

from bespoke_schemas.optimization.batches import BatchSummary, OptimizeTier
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
    "BatchGot",
    "BatchRecord",
    "BatchState",
    "BatchSummary",
    "BatchesListed",
    "GetBatch",
    "ListBatches",
    "OptimizeTier",
    "OptimizeUser",
    "Optimized",
    "RunError",
    "Tier",
]
