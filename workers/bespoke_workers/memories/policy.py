"""What a user's memories are kept to: limits, thresholds and the order of eviction."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from bespoke_workers.errors import Refused
from bespoke_workers.memories.allowed import check
from bespoke_workers.memories.kinds import Kinds, kinds_of, layered


@dataclass(frozen=True)
class Policy:
    """The limits that compaction and deduplication keep to.

    `similarity_threshold` is a cosine; None is the embedder's own. `low_access_threshold` is a
    share of the user's most accessed memory. `dedup_guard` keeps apart what differs in numbers or
    negations. `eviction` is the order in which size compaction removes: what was touched longest
    ago, or what nobody reads and another memory says too. `scoring` names the function by which
    relevance judges. `compaction` says whether a store does it or leaves it to a job of its own.
    `kinds` are the rules of single kinds.
    """

    max_memories: int = 1000
    max_age_days: int = 90
    similarity_threshold: float | None = None
    low_access_threshold: float = 0.1
    dedup_guard: bool = True
    eviction: str = "oldest"
    scoring: str = "default"
    compaction: str = "inline"
    kinds: Kinds = field(default_factory=dict, hash=False)

    def threshold(self, embedder_threshold: float) -> float:
        """Return the cosine from which two memories count as similar enough to be one."""
        own = self.similarity_threshold
        return embedder_threshold if own is None else own

    def age_days(self, kind: str) -> int:
        """Return the age, in days, above which memories of a kind are too old."""
        rules = self.kinds.get(kind)
        own = None if rules is None else rules.max_age_days
        return self.max_age_days if own is None else own

    @cached_property
    def caps(self) -> Mapping[str, int]:
        """The kinds of which there may be only so many, in the order of their names."""
        return {
            kind: rules.max_memories
            for kind, rules in sorted(self.kinds.items())
            if rules.max_memories is not None
        }

    @cached_property
    def has_ages_by_kind(self) -> bool:
        """Whether any kind has an age of its own."""
        return any(rules.max_age_days is not None for rules in self.kinds.values())

    @cached_property
    def least_age_days(self) -> int:
        """The age, in days, above which memories of some kind are too old."""
        return min([self.max_age_days, *map(self.age_days, self.kinds)])

    @cached_property
    def digest(self) -> str:
        """What tells this policy from another one: watermarks are valid under one policy."""
        canonical = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


DEFAULT = Policy()
CONSERVATIVE = Policy(
    max_memories=5000, max_age_days=365, similarity_threshold=0.98, low_access_threshold=0.05
)
AGGRESSIVE = Policy(
    max_memories=500, max_age_days=30, similarity_threshold=0.85, low_access_threshold=0.2
)
PRESETS = {"default": DEFAULT, "conservative": CONSERVATIVE, "aggressive": AGGRESSIVE}
_OF_PRESETS = ("max_memories", "max_age_days", "similarity_threshold", "low_access_threshold")


def resolve(
    preset: str | None, overrides: Mapping[str, Any], *, default: Policy = DEFAULT
) -> Policy:
    """Return a preset (None: `default`) with some of its fields set; None leaves a field as it is.

    A preset sets limits and thresholds; all else is as `default` has it. Fields that are set
    stand above the rules that `default` has for kinds, and `overrides["kinds"]` above all.

    Raises:
        Refused: the preset or a field is unknown, or a value is not allowed.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    own_kinds = kinds_of(given.pop("kinds", {}))
    for name, value in given.items():
        check(name, value)
    base = default if preset is None else _with_preset(preset, default)
    if not given and not own_kinds:
        return base
    return replace(base, **given, kinds=layered(base.kinds, own_kinds, overridden=given))


def _with_preset(preset: str, default: Policy) -> Policy:
    if preset not in PRESETS:
        raise Refused(f"policy preset: got {preset!r}, allowed: {', '.join(PRESETS)}")
    return replace(default, **{name: getattr(PRESETS[preset], name) for name in _OF_PRESETS})
