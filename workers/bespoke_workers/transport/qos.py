"""What one channel holds: delivered and not yet acknowledged, or acknowledged and not yet told."""

import logging
from collections import deque
from contextlib import suppress
from typing import Any

from bespoke_workers.transport.stock import redis, virtual

log = logging.getLogger(__name__)

#: Messages in one claim at most, so that a claim stays short for Redis and for the loop.
CLAIM_LIMIT = 64


class QoS(redis.QoS):  # type: ignore[misc]  # untyped base: see stock.py
    """Prefetch limit and acknowledgements of one channel; writes to Redis through the channel."""

    def __init__(self, channel: Any, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        # A deque, for pools that acknowledge from other threads.
        self._acknowledged: deque[str] = deque()

    def room(self) -> int:
        """How many more messages may be claimed now, from 0 to CLAIM_LIMIT."""
        if not self.can_consume():
            return 0
        if "can_consume" in vars(self):  # worker_disable_prefetch: a limit only it knows
            return 1
        estimate = self.can_consume_max_estimate()
        return CLAIM_LIMIT if estimate is None else min(estimate, CLAIM_LIMIT)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a delivered message; its claim has recorded it already."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Let go of a message; Redis is told with the next claim or flush."""
        self._acknowledged.append(delivery_tag)
        self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put a message last in line again (as stock kombu does), or drop it."""
        if not requeue:
            self.ack(delivery_tag)
            return
        self.channel.restore([delivery_tag], side="LPUSH")
        self._quick_ack(delivery_tag)

    def take_acknowledged(self) -> list[str]:
        """Remove and return the receipts that Redis has not been told of.

        The loop and the keeper's thread may do so at the same time; each gets what it took.
        """
        taken: list[str] = []
        with suppress(IndexError):
            while True:
                taken.append(self._acknowledged.popleft())
        return taken

    def keep_acknowledged(self, receipts: list[str]) -> None:
        """Take back receipts that Redis could not be told of."""
        self._acknowledged.extendleft(reversed(receipts))

    def held(self) -> list[str]:
        """Receipts of the delivered messages that are not acknowledged, oldest first."""
        return [receipt for receipt in list(self._delivered) if receipt not in self._dirty]

    def restore_unacked(self, client: Any = None) -> None:
        """Hand everything held back, the oldest first in line."""
        held = self.held()
        try:
            self.channel.restore(held[::-1])
        except self.channel.connection_errors as error:
            log.warning(
                "Could not return %d claimed messages (%s); they return within %s s",
                len(held),
                error,
                self.visibility_timeout,
            )
        self._delivered.clear()

    def restore_visible(self, start: int = 0, num: int | None = None, interval: int = 1) -> None:
        """Return what dead workers held; the arguments are kombu's and mean nothing here."""
        self.channel.sweep()
