"""Events, by the names of the documents, for subscribers in the process and for the log.

An event says that something happened and how much of it, never what a user said:
``events.subscribe("dspy.memory.size_compaction", f)`` calls ``f(event)`` with a mapping
such as ``{"event": …, "user": "u-1f0c…", "removed_count": 200}``.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from bespoke_workers.observe import logging

Event = Mapping[str, Any]
Subscriber = Callable[[Event], object]

_log = logging.quiet("bespoke.events")
_subscribers: dict[str, list[Subscriber]] = defaultdict(list)


def subscribe(name: str, subscriber: Subscriber) -> Callable[[], None]:
    """Call ``subscriber`` at each event called ``name``; returns what ends the subscription."""
    _subscribers[name].append(subscriber)
    return lambda: _subscribers[name].remove(subscriber)


def emit(name: str, *, user_id: str | None = None, **facts: Any) -> None:
    """Tell of an event. ``facts`` are counts, ids and durations, never contents.

    A subscriber that raises is logged and harms nobody: an event is not a way to fail a job.
    """
    event = {"event": name, **facts}
    if user_id is not None:
        event["user"] = hashed(user_id)
    _log.info(**event)
    for subscriber in tuple(_subscribers[name]):
        try:
            subscriber(event)
        except Exception as error:  # noqa: BLE001  # a subscriber's failure is its own
            _log.warning("subscriber failed", about=name, error=type(error).__name__)


def hashed(user_id: str) -> str:
    """Return a stable short name for a user that does not tell who it is."""
    return "u-" + hashlib.blake2b(user_id.encode(), digest_size=8).hexdigest()
