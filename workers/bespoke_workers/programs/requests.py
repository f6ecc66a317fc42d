"""What embeds the inputs of requests in this process, so that demos can be picked for them."""

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from bespoke_schemas.program_state import Kind
from bespoke_workers.errors import BespokeError
from bespoke_workers.memories import lexical
from bespoke_workers.observe import logging
from bespoke_workers.programs.embedder import embedder
from bespoke_workers.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAUSE = 5.0  # seconds for which an embedder that failed is not asked again
TOLD_AGAIN = 60.0  # seconds after which the same trouble is logged once more

_log = logging.quiet("bespoke.programs")


class RequestEmbeds:
    """Embeds requests by the embedder that is set, and by no other one that a state names.

    A state may come from outside, and an embedder's name can name any function there is, or
    another provider. Where a state's embedder is not the one that is set, or cannot be
    reached, the request has the version's fixed demos.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = settings.embedder or "lexical"
        if self._name == "lexical":
            self._name = lexical.NAME
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._told_at: dict[str, float] = {}

    def embed(self, kind: Kind, text: str) -> "NDArray[np.float32] | None":
        """Return the vector of a text, None where it cannot be made."""
        if kind[0] != self._name:
            self._tell("a version's examples were embedded by another embedder; optimize anew")
            return None
        if self._failed_at is not None and time.monotonic() - self._failed_at < PAUSE:
            return None
        try:
            using = embedder(self._settings)
            vector = using.embed([text])[0] if using.kind == kind else None
        except BespokeError as error:
            self._failed_at = time.monotonic()
            self._tell(f"no demos can be picked: {error}")
            return None
        self._failed_at = None
        if vector is None:
            self._tell("the embedder has other dimensions than before; optimize anew")
        return vector

    async def aembed(self, kind: Kind, text: str) -> "NDArray[np.float32] | None":
        """Do the same without keeping an event loop waiting."""
        return await asyncio.to_thread(self.embed, kind, text)

    def _tell(self, problem: str) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._told_at.get(problem, -TOLD_AGAIN) < TOLD_AGAIN:
                return
            self._told_at[problem] = now
        _log.warning("requests have fixed demos", reason=problem)
