"""An embedder that is asked for many texts in no hurry, as one behind a network is."""

import time
from typing import Any

from bespoke_workers.memories import lexical

PATIENCE = 2.1  # seconds for a page of an import; its slice of time is over then


def embed(texts: list[str]) -> Any:
    if len(texts) > 100:
        time.sleep(PATIENCE)
    return lexical.embed(texts)
