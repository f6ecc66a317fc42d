"""A kombu Redis transport that cannot lose a message between the queue and the worker.

The stock transport pops a message (BRPOP) and records it as unacknowledged afterwards; a
worker killed in between loses it for good. Here a claim is one Lua script: it pops and
records in a single atomic step, so each message is at every moment either in its queue or in
the record. Waiting for work pops nothing: on a connection per queue, `BLMOVE q q RIGHT RIGHT`
blocks until the queue holds a message and leaves it where it is (Redis 6.2 or later).

Stock: producers (LPUSH on the list named after the queue), message format, fanout over
PUB/SUB and so remote control, and the record's format, which stock kombu can restore.

Keys, each to be renamed by the transport option in brackets:
    unacked            hash  receipt -> JSON [message, "", queue]        [unacked_key]
    unacked_index      zset  receipt -> Redis time of the last sign of life of its holder, s
                                                                         [unacked_index_key]
    members            zset  JSON [id, queues] of a member -> Redis time of its last beat, s
                                                                         [members_key]
    <queue>.unreadable list  messages that cannot be decoded
    <unacked>.unreadable     list  records that cannot be restored
A receipt is the message's delivery tag, or `tag/2` while a copy of the message is held.

Liveness takes the place of a long visibility timeout. A channel renews the times of all that
it holds every third of `visibility_timeout` (30 s), so a task may run for hours; what a dead
worker held returns to the front of its queue after `visibility_timeout`, plus at most
`unacked_restore_interval` (5 s), marked as redelivered.

Of the queues named in `sharded_queues` a channel takes only its share: those that consume them
divide them evenly among themselves, and again when one comes, goes, falls silent or is busy for
`member_timeout` (4 s). So the jobs of one queue are done by one worker at a time, as a rule; see
`membership`. A worker that runs tasks in its loop sets `tasks_in_loop`: a thread then renews what
it holds, and hands back what has not begun behind a task of more than `member_timeout`.

Acknowledgements travel with the next claim, or at the end of the loop's turn if there is
none. A late one can only duplicate, never lose.

Not supported, and refused: `global_keyprefix`, `ack_emulation: False`, `priority_steps` other
than `[0]` (one list per queue), and a `queue_order_strategy` other than round robin.
"""

from typing import Any, ClassVar

from kombu import Connection

from bespoke_workers.transport.bell import Bell
from bespoke_workers.transport.channel import Channel
from bespoke_workers.transport.membership import BEATS
from bespoke_workers.transport.poller import Poller
from bespoke_workers.transport.stock import redis

__all__ = ["Channel", "Transport"]

# Celery's banner and Flower read the broker's kind from the URL that kombu rebuilds.
Connection.resolve_aliases["bespoke_workers.transport:Transport"] = "redis"

MAX_BEAT_SECONDS = 1.0


class Transport(redis.Transport):  # type: ignore[misc]  # untyped base: see stock.py
    """Redis, with claims that are atomic.

    Raises ValueError for a transport option that it cannot honour.
    """

    Channel = Channel

    _honoured: ClassVar[dict[str, tuple[Any, ...]]] = {
        "global_keyprefix": ("", None),
        "ack_emulation": (True,),
        "priority_steps": ([0],),
        "queue_order_strategy": ("round_robin",),
    }

    def __init__(self, client: Any, **kwargs: Any) -> None:
        self._refuse_options(client.transport_options)
        super().__init__(client, **kwargs)
        self.cycle = Poller(self._beat_seconds())

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Watch the sockets of every channel and renew what they hold, on `loop`."""
        self.cycle.watched = loop.readers
        super().register_with_event_loop(connection, loop)
        if self.client.transport_options.get("tasks_in_loop"):
            if self.cycle.bell is not None:
                self.cycle.bell.close()
            self.cycle.bell = Bell(loop)
        if self.cycle.beat_timer is not None:
            self.cycle.beat_timer.cancel()
        self.cycle.beat_timer = loop.call_repeatedly(
            self.cycle.beat_seconds, self.cycle.maybe_restore_messages
        )

    def _beat_seconds(self) -> float:
        options = self.client.transport_options
        timeout = options.get("visibility_timeout", Channel.visibility_timeout)
        interval = options.get("unacked_restore_interval", Channel.unacked_restore_interval)
        silence = options.get("member_timeout", Channel.member_timeout)
        return float(min(MAX_BEAT_SECONDS, timeout / 6, interval / 2, silence / BEATS))

    def _refuse_options(self, options: dict[str, Any]) -> None:
        for name, allowed in self._honoured.items():
            if options.get(name, allowed[0]) not in allowed:
                raise ValueError(
                    f"Transport option {name!r} is {options[name]!r}, but"
                    f" {type(self).__module__} works with {allowed[0]!r} only; leave it out."
                )
