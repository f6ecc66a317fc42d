"""Events, by the names of the documents, for subscribers in the process and for the log.

An event says that something happened and how much of it, never what a user said:
``events.subscribe("dspy.memory.size_compaction", f)`` calls ``f(event)`` with a mapping
such as ``{"event": …, "user": "u-1f0c…", "removed_count": 200}``; a name that ends in ``*``
stands for all that begin so, as in ``dspy.storage.*``.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging import INFO, getLogger
from typing import Any

from bespoke_workers.observe import logging

Event = Mapping[str, Any]
Subscriber = Callable[[Event], object]

_log = logging.quiet("bespoke.events")
_lines = getLogger("bespoke.events")
_subscriptions: list["_Subscription"] = []


@dataclass(frozen=True, eq=False)  # the same one twice is two, each ended by itself
class _Subscription:
    """A subscriber, and the name of its events or, where that ends in ``*``, how they begin."""

    name: str
    subscriber: Subscriber

    def covers(self, name: str) -> bool:
        """Whether an event of this name is one of those subscribed to."""
        if self.name.endswith("*"):
            return name.startswith(self.name[:-1])
        return name == self.name


def subscribe(name: str, subscriber: Subscriber) -> Callable[[], None]:
    """Call ``subscriber`` at each event called ``name``; returns what ends the subscription.

    ``dspy.storage.*`` stands for each event whose name begins with ``dspy.storage.``. Subscribers
    are called in the thread where the event happens, in the order in which they subscribed.
    """
    subscription = _Subscription(name, subscriber)
    _subscriptions.append(subscription)

    def end() -> None:
        with suppress(ValueError):  # ended before
            _subscriptions.remove(subscription)

    return end


def emit(name: str, *, user_id: str | None = None, **facts: Any) -> None:
    """Tell of an event. ``facts`` are counts, ids and durations, never contents.

    A subscriber that raises is logged and harms nobody: an event is not a way to fail a job.
    """
    heard = [one.subscriber for one in _subscriptions if one.covers(name)]
    if not heard and not _lines.isEnabledFor(INFO):
        return  # as of most stores, nobody is told
    event = {"event": name, **facts}
    if user_id is not None:
        event["user"] = hashed(user_id)
    _log.info(**event)
    for subscriber in heard:
        try:
            subscriber(event)
        except Exception as error:  # noqa: BLE001  # a subscriber's failure is its own
            _log.warning("subscriber failed", about=name, error=type(error).__name__)


def hashed(user_id: str) -> str:
    """Return a stable short name for a user that does not tell who it is."""
    return "u-" + hashlib.blake2b(user_id.encode(), digest_size=8).hexdigest()
