"""The tables. The database holds the truth; indexes and caches follow it.

Everything a user owns names the user in its key or in an index that starts with it.
``user_id`` is None only where a row belongs to everybody: the shared base of a program.
"""

from bespoke_workers.database.tables.compaction import (
    CompactionPart,
    CompactionRound,
    CompactionRun,
)
from bespoke_workers.database.tables.embedding import EmbedderTarget, MemoryReembedding, Reembedding
from bespoke_workers.database.tables.erasure import Erasure
from bespoke_workers.database.tables.jobs import Delivery, Job
from bespoke_workers.database.tables.learning import Example, ExampleEmbedding, Learner
from bespoke_workers.database.tables.memories import Memory, MemoryArchive, MemorySpace, SpaceMember
from bespoke_workers.database.tables.optimization import Batch, LmAnswers, OptimizationJob
from bespoke_workers.database.tables.programs import (
    Activation,
    ActiveProgram,
    ProgramVersion,
    UserModel,
    VersionTag,
    WholeProgram,
)

__all__ = [
    "Activation",
    "ActiveProgram",
    "Batch",
    "CompactionPart",
    "CompactionRound",
    "CompactionRun",
    "Delivery",
    "EmbedderTarget",
    "Erasure",
    "Example",
    "ExampleEmbedding",
    "Job",
    "Learner",
    "LmAnswers",
    "Memory",
    "MemoryArchive",
    "MemoryReembedding",
    "MemorySpace",
    "OptimizationJob",
    "ProgramVersion",
    "Reembedding",
    "SpaceMember",
    "UserModel",
    "VersionTag",
    "WholeProgram",
]
