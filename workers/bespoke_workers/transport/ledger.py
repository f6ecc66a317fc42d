"""The record of claimed messages in Redis, written and read by scripts only."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from bespoke_workers.keys import UNREADABLE
from bespoke_workers.transport import scripts
from bespoke_workers.transport.records import restoration

log = logging.getLogger(__name__)

#: Receipts in one script call at most, so that none keeps Redis from others for long.
BATCH = 100

Side = Literal["RPUSH", "LPUSH"]
"""Next in line, or last in line."""


class Claimed(NamedTuple):
    """A message in our hands; `recorded` is False for queues consumed without acknowledgement."""

    queue: str
    receipt: str
    text: bytes
    recorded: bool


class Ledger:
    """The hash `record` and the sorted set `index` over one Redis.

    `client` returns the redis-py client to use now; `lists_of(exchange, routing_key)` names the
    lists that a record of stock kombu returns to. Every method raises redis-py's errors.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        record: str,
        index: str,
        lists_of: Callable[[str, str], list[str]],
    ) -> None:
        self._client = client
        self._record = record
        self._index = index
        self._lists_of = lists_of

    def claim(
        self, queues: dict[str, bool], limit: int, acknowledged: Sequence[str]
    ) -> tuple[list[Claimed], list[str]]:
        """Take up to `limit` messages, fairly over `queues` (name -> is it to be recorded).

        Returns the messages and the names of the queues found empty; `acknowledged` receipts
        are forgotten in the same step.
        """
        names = list(queues)
        recorded = [int(queues[name]) for name in names]
        rows, empty = self._run(
            scripts.CLAIM,
            [self._record, self._index, *names],
            [limit, len(acknowledged), *acknowledged, *recorded],
        )
        claimed = []
        for number, receipt, text in rows:
            queue = names[number - 1]
            if receipt is None:
                log.error("A message of queue %r is unreadable; moved to %r", queue, aside(queue))
            else:
                claimed.append(Claimed(queue, receipt.decode(), text, queues[queue]))
        return claimed, [names[number - 1] for number in empty]

    def forget(self, acknowledged: Sequence[str]) -> None:
        """Forget acknowledged receipts."""
        self.claim({}, 0, acknowledged)

    def renew(self, receipts: Sequence[str]) -> None:
        """Show that the holder of these receipts lives."""
        for batch in _batches(receipts):
            self._run(scripts.RENEW, [self._index], batch)

    def restore(self, receipts: Sequence[str], side: Side) -> int:
        """Move recorded messages back to their queues in the order given; return how many."""
        moved = 0
        for batch in _batches(receipts):
            entries = self._client().hmget(self._record, batch)
            moved += self._restore(zip(batch, entries, strict=True), side, "")
        return moved

    def sweep(self, silent_seconds: float) -> int:
        """Return to the front what holders silent for so long had claimed, oldest first in line."""
        moved = 0
        while True:
            flat = self._run(scripts.OVERDUE, [self._record, self._index], [silent_seconds, BATCH])
            pairs = [(flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2)]
            moved += self._restore(pairs, "RPUSH", silent_seconds)
            if len(pairs) < BATCH:
                return moved

    def set_aside(self, message: Claimed) -> None:
        """Move a claimed message that Python cannot read out of everybody's way."""
        log.error(
            "A message of queue %r is unreadable; moved to %r", message.queue, aside(message.queue)
        )
        keys = [self._record, self._index, aside(message.queue)]
        self._run(scripts.SET_ASIDE, keys, [message.receipt, message.text])

    def put_back(self, message: Claimed) -> None:
        """Return one undelivered message as it was to the front of its queue."""
        if message.recorded:
            rows = [message.receipt, message.text, 1, message.queue]
            self._run(scripts.RESTORE, [self._record, self._index], ["", "RPUSH", *rows])
        else:
            self._client().rpush(message.queue, message.text)

    def _restore(
        self, pairs: Iterable[tuple[str, bytes | None]], side: Side, age: float | str
    ) -> int:
        rows: list[str | int] = []
        for receipt, entry in pairs:
            text = (entry or b"").decode(errors="surrogateescape")
            rows += restoration(receipt, text, self._lists_of, aside(self._record))
        if not rows:
            return 0
        return int(self._run(scripts.RESTORE, [self._record, self._index], [age, side, *rows]))

    def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return scripts.run(self._client(), script, keys, args)


def aside(key: str) -> str:
    """Name the list for what cannot be read from `key`."""
    return f"{key}{UNREADABLE}"


def _batches(receipts: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(receipts), BATCH):
        yield list(receipts[start : start + BATCH])
