"""Tools by which an application's agent uses one user's memories, through the queue."""

from collections.abc import Sequence

from bespoke_client.client import Client
from bespoke_schemas.toolset import NAMES, TIMEOUT, MemoryTools, through_queue


class MemoryToolset(MemoryTools):
    """One user's memories as tools for an agent; each call is a job that workers do.

    ``dspy.ReAct("question -> answer", tools=MemoryToolset("ada", client).tools)``. A tool waits
    at most ``timeout`` seconds.
    """

    def __init__(
        self,
        user_id: str,
        client: Client,
        *,
        timeout: float = TIMEOUT,
        prefix: str = "",
        only: Sequence[str] = NAMES,
    ) -> None:
        super().__init__(user_id, through_queue(client, timeout), prefix=prefix, only=only)
