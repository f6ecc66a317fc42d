"""kombu's Redis transport, whose internals this package builds on.

kombu's type stubs name its public surface only, so the module is taken untyped.
"""

from importlib import import_module
from typing import Any

redis: Any = import_module("kombu.transport.redis")
virtual: Any = import_module("kombu.transport.virtual")
