"""The embedders of one process: the one that is set, and those that older spaces are of."""

import time
from collections.abc import Callable
from dataclasses import replace

from bespoke_workers.errors import Permanent, Transient
from bespoke_workers.memories import lexical
from bespoke_workers.memories.embedding import Embedder, load_embedder

AGAIN_SECONDS = 60.0
"""After this long, an embedder that could not be loaded is tried again."""

Kind = tuple[str, int]
"""What tells the vectors of one embedder from those of another: its name and its dimension."""


class OtherEmbedder(Transient):
    """A space holds vectors of another embedder than the one that it was met with."""

    def __init__(self, kind: Kind, met_with: Kind) -> None:
        """Say of which embedder the space is, and which one it was met with."""
        self.kind = kind
        super().__init__(
            f"this user's memories were embedded by {_named(kind)}, not by {_named(met_with)}; "
            "the job is done after they are embedded anew"
        )


class Unloadable(Transient):
    """The embedder of an older space is gone, so the job waits for the space to be renewed."""

    @classmethod
    def because(cls, kind: Kind, reason: str) -> "Unloadable":
        """Make the error of an embedder that cannot be loaded for a reason."""
        return cls(
            f"this user's memories were embedded by {_named(kind)}, which this worker cannot load "
            f"({reason}); the job is done after they are embedded anew"
        )


def _named(kind: Kind) -> str:
    return f"{kind[0]!r} ({kind[1]} dimensions)"


def load_older(name: str, at_least: float | None = None) -> Embedder:
    """Return the embedder whose name stands with a space.

    ``at_least`` is the threshold set for the present embedder, which was maybe set for this one:
    the higher of the two holds, since a wrong merge is worse than a duplicate.
    """
    embedder = load_embedder(None if name == lexical.NAME else name)
    if at_least is None:
        return embedder
    return replace(embedder, threshold=max(embedder.threshold, at_least))


class Embedders:
    """Loads the embedders of older spaces when they are first met, each once for a process."""

    def __init__(
        self,
        current: Embedder,
        load: Callable[[str], Embedder] = load_older,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current = current
        self._load = load
        self._clock = clock
        self._loaded = {current.kind: current}
        self._failed: dict[Kind, tuple[float, Unloadable]] = {}

    def of(self, kind: Kind) -> Embedder:
        """Return the embedder of a space.

        Raises Unloadable if its module or package is gone, if the provider refuses it or if it
        has other dimensions now; Transient if it cannot be reached.
        """
        found = self._loaded.get(kind)
        if found is None:
            found = self._loaded[kind] = self._tried(kind)
        return found

    def _tried(self, kind: Kind) -> Embedder:
        until, failure = self._failed.get(kind, (self._clock(), None))
        if failure is not None and self._clock() < until:
            raise failure
        try:
            embedder = self._load(kind[0])
        except Permanent as error:
            raise self._failure(kind, str(error)) from None
        if embedder.kind != kind:
            raise self._failure(kind, f"it has {embedder.dim} dimensions now")
        return embedder

    def _failure(self, kind: Kind, reason: str) -> Unloadable:
        failure = Unloadable.because(kind, reason)
        self._failed[kind] = self._clock() + AGAIN_SECONDS, failure
        return failure
