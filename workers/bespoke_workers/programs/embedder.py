"""The embedder of this process, loaded at first use: for examples, and for what is served."""

import functools
import threading

from bespoke_workers.memories.embedding import Embedder, load_embedder
from bespoke_workers.settings import Settings

_loading = threading.Lock()


def embedder(settings: Settings) -> Embedder:
    """Return the embedder that is set.

    Raises Misconfigured or Transient as `load_embedder` does; it is then tried again.
    """
    with _loading:  # two threads would load a model twice
        return _loaded(settings.embedder)


@functools.cache
def _loaded(spec: str | None) -> Embedder:
    return load_embedder(spec)
