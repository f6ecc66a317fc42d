"""What holds for users who have set nothing of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.memories import scoring
from bespoke_workers.memories.kinds import Kinds, kinds_of
from bespoke_workers.memories.policy import DEFAULT, Policy, resolve
from bespoke_workers.memories.rollout import Rollout
from bespoke_workers.settings import Settings


@dataclass(frozen=True)
class Defaults:
    """The policy of everybody, and the preset that some get in its place."""

    policy: Policy = DEFAULT
    rollout: Rollout | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Defaults":
        """Read the defaults; raises Misconfigured naming the setting that is wrong."""
        scoring.look_in(settings.programs)
        policy = Policy(
            max_memories=settings.max_memories,
            max_age_days=settings.max_age_days,
            low_access_threshold=settings.low_access_threshold,
            dedup_guard=settings.dedup_guard,
            eviction=settings.eviction,
            scoring=settings.scoring,
            compaction=settings.compaction,
            kinds=_kinds(settings),
        )
        return cls(policy, _rollout(settings))

    def is_rolled_out(self, user_id: str, preset: str | None) -> bool:
        """Whether a user, whose own preset this is, gets the preset of the rollout."""
        return preset is None and self.rollout is not None and self.rollout.includes(user_id)

    def preset(self, user_id: str, preset: str | None) -> str | None:
        """Return the preset of a user: their own, that of the rollout, or none."""
        if self.rollout is not None and self.is_rolled_out(user_id, preset):
            return self.rollout.preset
        return preset

    def resolve(self, user_id: str, preset: str | None, overrides: Mapping[str, Any]) -> Policy:
        """Return the policy in force for a user who has set a preset, or none, and fields above it.

        Raises Refused as `policy.resolve` does.
        """
        return resolve(self.preset(user_id, preset), overrides, default=self.policy)


def _kinds(settings: Settings) -> Kinds:
    try:
        return kinds_of(settings.kind_policies)
    except Refused as refused:
        raise Misconfigured(f"BESPOKE_KIND_POLICIES: {refused}") from None


def _rollout(settings: Settings) -> Rollout | None:
    if settings.policy_rollout is None:
        return None
    try:
        return Rollout.parse(settings.policy_rollout)
    except Refused as refused:
        raise Misconfigured(f"BESPOKE_POLICY_ROLLOUT: {refused}") from None
