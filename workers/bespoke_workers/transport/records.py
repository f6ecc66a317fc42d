"""Turning a record back into the message and the lists it belongs to."""

import json
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


def restoration(
    receipt: str, entry: str, lists_of: Callable[[str, str], list[str]], aside: str
) -> list[str | int]:
    """Return the RESTORE arguments of one record: receipt, message, number of lists, lists.

    `entry` is the record's JSON, empty if there is only a receipt in the index;
    `lists_of(exchange, routing_key)` names the lists of a record that stock kombu wrote; a
    record that leads nowhere goes to the list `aside`.
    """
    if not entry:
        return [receipt, "", 0]
    try:
        message, exchange, routing_key = json.loads(entry)
        mark_redelivered(message)
        lists = lists_of(exchange, routing_key)
    except (ValueError, TypeError, KeyError):
        lists = []
    if not lists:
        log.error("Record %r names no queue to return to; moved to the list %r", receipt, aside)
        return [receipt, entry, 1, aside]
    return [receipt, json.dumps(message), len(lists), *lists]


def mark_redelivered(message: dict[str, Any]) -> None:
    """Set `redelivered` where Celery and kombu look for it. KeyError, TypeError if malformed."""
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True
