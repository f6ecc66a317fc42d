"""Compaction in the background, for users who opted into it: stores do not wait for it."""

from datetime import datetime
from uuid import UUID, uuid5

import structlog

from bespoke_schemas.memories import Compact
from bespoke_workers.memories.space import Space
from bespoke_workers.outbox import Outbox

ASK_AGAIN_EVERY = 16
"""Stores after which a compaction is asked for again, whose message may be lost."""
COMPACTIONS = UUID("7f0a5c1e-5f0b-4f6e-9a53-0d6a1c1b2f11")

_log = structlog.get_logger("bespoke.memories")


def hard_cap(max_memories: int) -> int:
    """Return the count beyond which a store compacts at once, whatever was opted into."""
    return max_memories * 5 // 4


def job_id(user_id: str, space: Space) -> UUID:
    """Return the id of the compaction that is due: one until the rows have been looked at."""
    return uuid5(COMPACTIONS, f"{user_id}:{space.compacted_version}")


class Deferral:
    """Lets compaction wait where the policy allows it, and asks for it through the outbox.

    Without an outbox nothing waits.
    """

    def __init__(self, outbox: Outbox | None) -> None:
        self._outbox = outbox

    def allows(self, space: Space) -> bool:
        """Whether a compaction of this space may wait."""
        policy = space.policy
        is_asked_for = self._outbox is not None and policy.compaction == "background"
        return is_asked_for and space.count <= hard_cap(policy.max_memories)

    def ask(self, user_id: str, before: Space | None, after: Space, now: datetime) -> None:
        """Ask for what a committed store found due; again now and then, while it still is.

        ``before`` is what this process knew of the space until then.
        """
        if self._outbox is None or not self.allows(after) or not after.is_compaction_due(now):
            return
        was_due = before is not None and before.is_compaction_due(now)
        if was_due and after.stored_total % ASK_AGAIN_EVERY:
            return
        try:
            self._outbox.enqueue(Compact(id=job_id(user_id, after), user_id=user_id))
        except Exception as error:  # noqa: BLE001  # whichever way the broker fails
            _log.warning("compaction is asked for again later", error=type(error).__name__)
