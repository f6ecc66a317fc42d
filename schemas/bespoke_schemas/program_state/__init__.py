"""A program's state: what of it is kept, which program it fits, and how a program takes it.

Both sides of the queue use it: the workers before anything is stored and after anything is
loaded, and an application that asks for a state through the queue and applies it itself.
DSPy is imported where a module is at hand, never before.
"""

from bespoke_schemas.program_state.applying import apply, check_fits, dump, separate
from bespoke_schemas.program_state.copying import copier
from bespoke_schemas.program_state.hybrid import Stored, assemble, own_part
from bespoke_schemas.program_state.masters import Key, Master, Masters, Stats
from bespoke_schemas.program_state.picking import Embeds, give_pool, pick, pools
from bespoke_schemas.program_state.pool import Kind, Pool, embedded_text, pool_part
from bespoke_schemas.program_state.refusal import StateRefused
from bespoke_schemas.program_state.shape import (
    SIGNATURE_LIMIT,
    fingerprint,
    predictors,
    signature_text,
)
from bespoke_schemas.program_state.whitelist import (
    PICKS_LIMIT,
    POOL_LIMIT,
    SELF,
    clean_state,
    shown,
)

__all__ = [
    "PICKS_LIMIT",
    "POOL_LIMIT",
    "SELF",
    "SIGNATURE_LIMIT",
    "Embeds",
    "Key",
    "Kind",
    "Master",
    "Masters",
    "Pool",
    "StateRefused",
    "Stats",
    "Stored",
    "apply",
    "assemble",
    "check_fits",
    "clean_state",
    "copier",
    "dump",
    "embedded_text",
    "fingerprint",
    "give_pool",
    "own_part",
    "pick",
    "pool_part",
    "pools",
    "predictors",
    "separate",
    "shown",
    "signature_text",
]
