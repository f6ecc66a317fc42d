"""The poller: which sockets wake the channels, and what they do each time round."""

import logging
from collections.abc import Callable, Container
from queue import Empty
from typing import Any

from bespoke_workers.transport.bell import Bell
from bespoke_workers.transport.peek import Peek
from bespoke_workers.transport.stock import redis

log = logging.getLogger(__name__)


class Poller(redis.MultiChannelPoller):  # type: ignore[misc]  # untyped base: see stock.py
    """Kombu's poller with peeks in the place of BRPOP."""

    def __init__(self, beat_seconds: float) -> None:
        super().__init__()
        #: Seconds between two looks at what is due, with an event loop and without.
        self.beat_seconds = beat_seconds
        #: Descriptors that an event loop watches already.
        self.watched: Container[int] = ()
        self.beat_timer: Any = None
        #: Where tasks are done in the event loop's tick.
        self.bell: Bell | None = None

    @property
    def fds(self) -> dict[int, tuple[Any, str]]:
        """The sockets that the event loop does not watch yet, which is all that it adds."""
        return {fd: chan for fd, chan in self._fd_to_chan.items() if fd not in self.watched}

    def watch(self, channel: Any, peek: Peek) -> None:
        """Connect a peek and register its socket, unless that is done."""
        ident = channel, peek, peek.kind
        sock = peek.connection._sock
        if sock is None or self._chan_to_sock.get(ident) is not sock:
            self._register(*ident)

    def on_poll_start(self) -> None:
        """Take a turn of every channel; called before each wait of the loop."""
        if self._turn(None) and self.bell is not None:
            self.bell.ring()

    def close(self) -> None:
        """Watch nothing any more."""
        if self.bell is not None:
            self.bell.close()
        super().close()

    def _turn(self, limit: int | None) -> bool:
        delivered = False
        for channel in list(self._channels):
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)
            if channel._qos is not None or channel.active_queues:
                delivered = channel.turn(limit) or delivered
        return delivered

    def on_readable(self, fileno: int) -> Any:
        """Let the channel read a socket."""
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if kind.startswith(Peek.PREFIX):
            return channel.on_peek(kind.removeprefix(Peek.PREFIX))
        return super().on_readable(fileno)

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> None:
        """Deliver one message, for consumers without an event loop. Empty: none came."""
        self._in_protected_read = True
        try:
            self.maybe_refresh_binding_expiry()
            self.maybe_restore_messages()
            if self._turn(1):
                return
            wait = self.beat_seconds if timeout is None else min(timeout, self.beat_seconds)
            for fileno, event in self.poller.poll(wait) or ():
                if self._is_peek(fileno):
                    self.handle_event(fileno, event)
                elif self.handle_event(fileno, event):
                    return
            self.maybe_check_brpop_health()
            if not self._turn(1):
                raise Empty
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()

    def _is_peek(self, fileno: int) -> bool:
        _, kind = self._fd_to_chan.get(fileno, (None, ""))
        return str(kind).startswith(Peek.PREFIX)

    def maybe_restore_messages(self) -> None:
        """Renew what the channels hold and return what dead workers held, when due."""
        swept = False
        for channel in list(self._channels):
            try:
                channel.renew_if_due()
                if channel.active_queues and not swept:
                    channel.sweep_if_due()
                    swept = True  # the record is common to all channels
            except channel.connection_errors:
                log.debug("Redis is away; trying again", exc_info=True)

    def maybe_check_brpop_health(self) -> None:
        """Drop peeks whose connection is dead."""
        for channel in list(self._channels):
            channel.drop_overdue_peeks()
