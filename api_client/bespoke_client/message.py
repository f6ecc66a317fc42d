"""What a payload looks like on its way to the broker."""

import json
from dataclasses import dataclass, field
from typing import Any

from bespoke_client.errors import PayloadTooLarge
from bespoke_schemas import Payload
from bespoke_schemas.queues import queue_name

MESSAGE_LIMIT = 32 * 1024 * 1024
"""Bytes of JSON in one message. Redis and the worker hold each message in memory whole."""


@dataclass(frozen=True)
class Message:
    """One message: the task, the job's id, the queue, and the payload as plain JSON values."""

    task: str
    id: str
    queue: str
    body: dict[str, Any] = field(repr=False)
    shown: str

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments that the task is called with."""
        return {"payload": self.body}


def message(payload: object) -> Message:
    """Return the message that carries ``payload``.

    A payload is validated again: a model is frozen, the mappings in it are not.
    Raises TypeError for what is no payload, ValidationError and PayloadTooLarge.
    """
    if not isinstance(payload, Payload) or not payload.task:
        raise TypeError(
            f"expected a payload such as memories.Store(...), got {type(payload).__name__!r}"
        )
    # Before it becomes JSON, which would make null of NaN and a list of a set.
    type(payload).model_validate(payload.model_dump(warnings=False))
    text = payload.model_dump_json()
    size = len(text.encode())
    if size > MESSAGE_LIMIT:
        raise PayloadTooLarge(payload.task, size, MESSAGE_LIMIT)
    return Message(
        task=payload.task,
        id=str(payload.id),
        queue=queue_name(payload.queue, payload.subject()),
        body=json.loads(text),
        shown=f"<{payload.task.removeprefix('bespoke.')}>",
    )
