"""The channel: claims, delivers, acknowledges, hands back."""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple

from bespoke_workers.transport.keeper import Keeper
from bespoke_workers.transport.ledger import Claimed, Ledger, Side
from bespoke_workers.transport.membership import BEATS, Membership
from bespoke_workers.transport.peek import Peek
from bespoke_workers.transport.qos import QoS
from bespoke_workers.transport.stock import redis

log = logging.getLogger(__name__)


class Consumer(NamedTuple):
    """Who consumes a queue, and whether it acknowledges."""

    callback: Callable[[Any], Any]
    acknowledges: bool


class Channel(redis.Channel):  # type: ignore[misc]  # untyped base: see stock.py
    """A Redis channel whose claims are atomic.

    While there is room for more messages, a peek watches each active queue that is the channel's
    own; the queues in `_promising` may hold a message, by what the last peek or claim saw.
    """

    QoS = QoS

    visibility_timeout = 30
    unacked_restore_interval = 5
    priority_steps = (0,)
    socket_keepalive = True
    #: Bounds every command, so that a connection that died silently cannot stop the loop.
    socket_timeout = 30.0
    #: Seconds that one wait for a message lasts on the server.
    peek_seconds = 5
    #: Queues that the workers who consume them divide among themselves.
    sharded_queues: tuple[str, ...] = ()
    members_key = "members"
    #: Seconds without a beat after which a member's shards are others'; and seconds of one task
    #: in the loop after which what has not begun is others' too.
    member_timeout = 4.0
    #: Whether the worker runs its tasks in the delivery callback.
    tasks_in_loop = False
    #: Seconds of one task in the loop after which it is given up for stuck; None: never.
    longest_task: float | None = None

    from_transport_options = (
        *redis.Channel.from_transport_options,
        *("peek_seconds", "sharded_queues", "members_key", "member_timeout"),
        *("tasks_in_loop", "longest_task"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._commands: Any = None
        self._peeks: dict[str, Peek] = {}
        self._promising: set[str] = set()
        self._undelivered: deque[Claimed] = deque()
        self._consumer_of: dict[str, Consumer] = {}
        self._renew_at = self._sweep_at = 0.0
        self._free_at = monotonic()
        self._keeper: Keeper | None = None
        super().__init__(*args, **kwargs)
        self.ledger = self._ledger(lambda: self.commands)
        self.membership = Membership(
            lambda: self.commands, self.members_key, self.sharded_queues, self.member_timeout
        )

    # One turn of the loop.

    def turn(self, limit: int | None = None) -> bool:
        """Claim, deliver at most `limit` messages, tell Redis of acknowledgements, wait for more.

        Returns whether a message was delivered.
        """
        if self.qos.room():
            self._free_at = monotonic()
        self._take_share()
        room = 0 if self._undelivered else self.qos.room()
        queues = self._queue_cycle.consume(len(self.active_queues))
        promising = [q for q in queues if q in self._promising and self.membership.owns(q)]
        if room and promising:
            self._claim(promising, room if limit is None else min(room, limit))
        else:
            self.flush()
        delivered = self._deliver_undelivered(limit)
        comes_again_at_once = delivered and (limit is not None or self.tasks_in_loop)
        if self.qos.room() and not comes_again_at_once:
            self._wait_for_messages()
        return delivered

    def flush(self, ledger: Ledger | None = None) -> None:
        """Tell Redis of the acknowledgements that no claim has carried."""
        receipts = self.qos.take_acknowledged()
        if not receipts:
            return
        try:
            (ledger or self.ledger).forget(receipts)
        except BaseException:
            self.qos.keep_acknowledged(receipts)
            raise

    def _claim(self, queues: list[str], limit: int) -> None:
        receipts = self.qos.take_acknowledged()
        recorded = {queue: self._consumer_of[queue].acknowledges for queue in queues}
        try:
            claimed, empty = self.ledger.claim(recorded, limit, receipts)
        except BaseException:
            self.qos.keep_acknowledged(receipts)
            raise
        self._undelivered.extend(claimed)
        self._promising.difference_update(empty)
        for queue in dict.fromkeys(message.queue for message in claimed):
            self._queue_cycle.rotate(queue)

    def _deliver_undelivered(self, limit: int | None) -> bool:
        delivered = 0
        while limit is None or delivered < limit:
            claimed = _taken(self._undelivered.popleft)
            if claimed is None:
                break
            consumer = self._consumer_of.get(claimed.queue)
            if consumer is None:  # cancelled since the claim
                self.ledger.put_back(claimed)
                continue
            message = self._open(claimed)
            if message is None:
                continue
            if consumer.acknowledges:
                self.qos.append(message, claimed.receipt)
            consumer.callback(message)
            delivered += 1
            # The callback may have run the task.
            self._free_at = monotonic()
            self._take_share()
            self.renew_if_due()
        return delivered > 0

    def _open(self, claimed: Claimed) -> Any:
        try:
            # kombu's own loads takes several times as long, for values of its own types.
            loads = redis.loads if b'"__type__"' in claimed.text else json.loads
            payload = loads(claimed.text)
            payload["properties"]["delivery_tag"] = claimed.receipt
            return self.Message(payload, channel=self)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.ledger.set_aside(claimed)
            return None

    # Shards.

    def _take_share(self) -> None:
        """Tell the other members that this one serves, and wait on what is its own.

        A channel that has had no room for a while does not: nobody is to wait for it.
        """
        available = monotonic() - self._free_at < self.member_timeout
        if not self.membership.beat_if_due(available=available):
            return
        for queue in self.sharded_queues:
            if queue in self._consumer_of and self.membership.owns(queue):
                self._promising.add(queue)
                continue
            self._promising.discard(queue)
            if queue in self._peeks:
                self._peeks[queue].close()

    # Waiting.

    def _wait_for_messages(self) -> None:
        for queue in filter(self.membership.owns, self.active_queues):
            peek = self._peeks.get(queue)
            if peek is None:
                pool = self.async_pool  # its settings; but outside its max_connections
                connection = pool.connection_class(**pool.connection_kwargs)
                peek = self._peeks[queue] = Peek(connection, queue, self.peek_seconds)
            if not peek.waiting and not peek.resting:
                self.connection.cycle.watch(self, peek)
                peek.ask()

    def on_peek(self, queue: str) -> None:
        """Read what a peek's socket has: a reply, or the end of the connection."""
        peek = self._peeks.get(queue)
        if peek is None:  # cancelled while its event was on the way
            return
        if not peek.waiting:
            peek.close()
            return
        try:
            if peek.answer():
                self._promising.add(queue)
        except self.connection_errors:
            # Nothing is lost with it. Asking again connects anew, or raises if Redis is away.
            peek.close()
        except self.ResponseError as error:
            # A full Redis refuses to move a message onto its place, but lets it be claimed.
            log.warning(
                "Redis will not wait on queue %r (%s); asking it now and then", queue, error
            )
            self._promising.add(queue)
            peek.rest()

    def drop_overdue_peeks(self) -> None:
        """Close connections whose reply is overdue; the next turn opens new ones."""
        for peek in self._peeks.values():
            if self.health_check_interval and peek.overdue(self.health_check_interval):
                log.warning("No word on queue %r; connecting again", peek.queue)
                peek.close()

    def _on_connection_disconnect(self, connection: Any) -> None:
        for peek in self._peeks.values():
            if peek.connection is connection:
                peek.waiting = False
        super()._on_connection_disconnect(connection)

    def _poll_error(self, type: str, **options: Any) -> None:  # noqa: A002  # kombu's name
        if type.startswith(Peek.PREFIX):
            self._peeks[type.removeprefix(Peek.PREFIX)].close()
        else:
            super()._poll_error(type, **options)

    # Liveness.

    def renew_if_due(self, ledger: Ledger | None = None) -> None:
        """Show Redis, every third of the visibility timeout, that what we hold is in hand."""
        if monotonic() < self._renew_at:
            return
        self._renew_at = monotonic() + self.visibility_timeout / 3
        self.flush(ledger)
        receipts = self._held()
        if receipts:
            (ledger or self.ledger).renew(receipts)

    def _keep(self, client: Any) -> None:
        """Do what waits for the loop while a task occupies it; the keeper's thread calls this.

        What has not begun is handed back: nobody is to wait behind a long task.
        """
        busy = monotonic() - self._free_at
        if self._qos is None or busy < self.member_timeout / BEATS:
            return
        ledger = self._ledger(lambda: client)
        self.flush(ledger)
        if self.longest_task is None or busy < self.longest_task:
            self.renew_if_due(ledger)
        while monotonic() - self._free_at > self.member_timeout:
            claimed = _taken(self._undelivered.pop)
            if claimed is None:
                break
            try:
                ledger.put_back(claimed)
            except BaseException:
                self._undelivered.append(claimed)
                raise

    def sweep_if_due(self) -> None:
        """Return what dead workers held, every `unacked_restore_interval` seconds."""
        if monotonic() >= self._sweep_at:
            self.sweep()

    def sweep(self) -> None:
        """Return what dead workers held."""
        self._sweep_at = monotonic() + self.unacked_restore_interval
        moved = self.ledger.sweep(self.visibility_timeout)
        if moved:
            log.warning("Returned %d messages of workers that gave no sign of life", moved)

    def _held(self) -> list[str]:
        held: list[str] = self.qos.held()
        return held + [message.receipt for message in list(self._undelivered) if message.recorded]

    # Handing back.

    def restore(self, receipts: list[str], side: Side = "RPUSH") -> None:
        """Return messages to their queues: next in line (RPUSH) or last in line (LPUSH)."""
        self.ledger.restore(receipts, side)

    def close(self) -> None:
        """Stop waiting, hand back what is held, close. Kombu calls this at warm shutdown too."""
        if not self.closed:
            self.connection.cycle.discard(self)
            if self._keeper is not None:
                self._keeper.stop()
            for peek in self._peeks.values():
                peek.close()
            for queue in list(self._consumer_of):
                self._stand_down(queue)
            if self._qos is not None:
                self._hand_back()
        super().close()

    def _hand_back(self) -> None:
        try:
            self.flush()
            while claimed := _taken(self._undelivered.pop):
                self.ledger.put_back(claimed)
        except self.connection_errors as error:
            log.warning("Could not tell Redis what is done (%s); some may run again", error)
        self._qos.restore_unacked_once()

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        self.restore([message.delivery_tag], "LPUSH" if leftmost else "RPUSH")

    def _lists_of(self, exchange: str, routing_key: str) -> list[str]:
        return list(self._lookup(exchange, routing_key))

    # What kombu calls.

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], Any],
        consumer_tag: str,
        **kwargs: Any,
    ) -> Any:
        """Start a consumer, as kombu does."""
        consumed = super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self._consumer_of[queue] = Consumer(callback, acknowledges=not no_ack)
        self._promising.add(queue)
        self.membership.consume(queue)
        if self.tasks_in_loop and self._keeper is None and not no_ack:
            seconds = min(1.0, self.visibility_timeout / 6, self.member_timeout / BEATS)
            self._keeper = Keeper(self._keep, self._connect, seconds)
            self._keeper.start()
        return consumed

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        cancelled = super()._basic_cancel(consumer_tag)
        if queue is not None and queue not in self._active_queues:
            self._consumer_of.pop(queue, None)
            self._promising.discard(queue)
            if queue in self._peeks:
                self._peeks.pop(queue).close()
            self._stand_down(queue)
        return cancelled

    def _stand_down(self, queue: str) -> None:
        try:
            self.membership.cancel(queue)
        except self.connection_errors as error:
            log.debug("Could not leave the members (%s); silence tells them", error)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Claim one message of `queue` and return it, or None."""
        claimed, _ = self.ledger.claim({queue: not no_ack}, 1, ())
        message = self._open(claimed[0]) if claimed else None
        if message is not None and not no_ack:
            self.qos.append(message, message.delivery_tag)
        return message

    # One client for all commands: making one for each costs more than the command.

    @property
    def commands(self) -> Any:
        """The redis-py client for everything that does not block."""
        if self._commands is None:
            self._commands = self._create_client()
        return self._commands

    def _ledger(self, client: Callable[[], Any]) -> Ledger:
        return Ledger(client, self.unacked_key, self.unacked_index_key, self._lists_of)

    def _connect(self) -> Any:
        """Return a client with connections that nothing else uses or closes."""
        pool = self._get_pool()
        credentials = pool.connection_kwargs.get("credential_provider")
        known = {} if credentials is None else {"credential_provider": credentials}
        return self.Client(connection_pool=pool, **known)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield `client`, or the channel's own."""
        yield client or self.commands

    def _disconnect_pools(self) -> None:
        super()._disconnect_pools()
        self._commands = None


def _taken(take: Callable[[], Claimed]) -> Claimed | None:
    """Take from a deque that the loop and the keeper's thread may both empty."""
    try:
        return take()
    except IndexError:
        return None
