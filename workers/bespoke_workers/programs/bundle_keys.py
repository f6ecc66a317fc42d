"""The keys by which other tools know a saved program, for those that read a bundle.

They look for a version's score in its optimization result and for its signature and optimizer
in its metadata. Saved versions have these apart, so an export adds them where they are missing
and names what it added; an import takes that away again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bespoke_workers.database.tables import ProgramVersion

Key = Literal[
    "optimization_result.best_score_value", "metadata.signature_class", "metadata.optimizer"
]


def missing(row: ProgramVersion) -> tuple[Key, ...]:
    """Return the keys that a version's entry lacks, and whose values are known."""
    keys: list[Key] = []
    if row.score is not None and "best_score_value" not in row.optimization_result:
        keys.append("optimization_result.best_score_value")
    if "signature_class" not in row.meta:
        keys.append("metadata.signature_class")
    if row.optimizer is not None and "optimizer" not in row.meta:
        keys.append("metadata.optimizer")
    return tuple(keys)


def result(row: ProgramVersion, added: Sequence[Key]) -> dict[str, Any]:
    """Return a version's optimization result, the score included."""
    if "optimization_result.best_score_value" not in added:
        return row.optimization_result
    return {**row.optimization_result, "best_score_value": row.score}


def metadata(row: ProgramVersion, added: Sequence[Key]) -> dict[str, Any]:
    """Return a version's metadata, signature and optimizer included."""
    known = {"signature_class": row.signature, "optimizer": row.optimizer}
    return row.meta | {key: known[key] for key in known if f"metadata.{key}" in added}


def without(place: str, stored: Mapping[str, Any], added: Sequence[Key]) -> dict[str, Any]:
    """Return what is stored as ``place`` without what was added there."""
    return {key: value for key, value in stored.items() if f"{place}.{key}" not in added}
