"""What crosses Bespoke's queue: payloads, their queues and their results.

One module for each group of payloads: ``memories``, ``programs``, ``examples``,
``optimization``, ``exports`` and ``jobs``. Depends on pydantic and nothing else.
"""

from bespoke_schemas.ids import uuid7
from bespoke_schemas.payload import Payload, Result, payload_type, payload_types

__version__ = "0.1.0"

__all__ = ["Payload", "Result", "__version__", "payload_type", "payload_types", "uuid7"]
