"""Which of a family's shards a channel takes messages from, among all that consume them.

A soft right: it makes one worker at a time do each user's jobs, whose index is up to date
then. Nothing depends on it. Two owners of a shard for a moment do no harm, since the database
decides; and none is there for longer than a dead member's name stands.
"""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import uuid4

from redis.exceptions import ResponseError

from bespoke_workers.transport import scripts
from bespoke_workers.transport.shares import owners

log = logging.getLogger(__name__)

BEATS = 4
"""Signs of life within the time after which a silent member is dropped."""


class Membership:
    """One channel's place among the members that consume ``shards``.

    ``client`` returns the redis-py client to use now; ``key`` is the sorted set of live members:
    JSON [id, queues] -> Redis time of the last beat, s. A member that gave no beat for
    ``timeout`` seconds is dropped by any other's beat. Methods raise redis-py's errors.
    """

    def __init__(
        self, client: Callable[[], Any], key: str, shards: Sequence[str], timeout: float
    ) -> None:
        self._client = client
        self._key = key
        self._shards = tuple(shards)
        self._timeout = timeout
        self._id = uuid4().hex
        self._consumed: set[str] = set()
        self._owned: frozenset[str] = frozenset()
        self._entry = ""
        self._beat_at = 0.0

    def owns(self, queue: str) -> bool:
        """Whether to take messages from a queue; from one that is no shard, always."""
        return queue in self._owned or queue not in self._shards

    def consume(self, queue: str) -> None:
        """Stand for a shard, from the next beat on."""
        if queue in self._shards:
            self._consumed.add(queue)
            self._beat_at = 0.0

    def cancel(self, queue: str) -> None:
        """Stand for a shard no longer, from the next beat on; after the last one, at once."""
        if queue not in self._consumed:
            return
        self._consumed.discard(queue)
        self._beat_at = 0.0
        if not self._consumed:
            self.leave()

    def beat_if_due(self, *, available: bool) -> bool:
        """Give a sign of life and look who else does; returns whether the own share changed.

        Who is not ``available``, because it is busy, leaves its share to the others.
        """
        if not self._consumed or monotonic() < self._beat_at:
            return False
        self._beat_at = monotonic() + self._timeout / BEATS
        before = self._owned
        if available:
            self._owned = self._beat()
        else:
            self.leave()
        return self._owned != before

    def leave(self) -> None:
        """Leave the share to the others now, not only when silence tells them."""
        self._owned = frozenset()
        if self._entry:
            entry, self._entry = self._entry, ""
            with suppress(ResponseError):  # the key holds something else: nobody is a member
                scripts.run(self._client(), scripts.LEAVE, [self._key], [entry])

    def _beat(self) -> frozenset[str]:
        former, self._entry = self._entry, json.dumps([self._id, *sorted(self._consumed)])
        try:
            arguments = [self._timeout, self._entry, former]
            live = scripts.run(self._client(), scripts.BEAT, [self._key], arguments)
            members = {name: set(queues) for name, *queues in map(json.loads, live)}
        except (ResponseError, ValueError, TypeError) as error:
            log.warning("Who owns which shard cannot be told (%s); taking all", error)
            return frozenset(self._consumed)
        shards = owners(self._shards, members)
        return frozenset(shard for shard, owner in shards.items() if owner == self._id)
