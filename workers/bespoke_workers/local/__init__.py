"""PostgreSQL and Redis out of wheels, for one machine that has neither.

Both are the real servers, run in the foreground as children of this process and gone when it is.
"""

from bespoke_workers.local.postgres import LocalPostgres
from bespoke_workers.local.redis import LocalRedis
from bespoke_workers.local.stack import Stack, StackAddress, read_stack

__all__ = ["LocalPostgres", "LocalRedis", "Stack", "StackAddress", "read_stack"]
