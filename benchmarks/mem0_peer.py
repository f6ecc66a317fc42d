"""The peer: mem0 in process, without an LM, looking for a duplicate before each memory it adds.

    .venv-peers/bin/python -m benchmarks.mem0_peer STORE USERS EACH SEED AGAIN

Runs in an environment of its own (`peers.lock`). It uses the same texts and vectors as the
stores that it is compared with, and prints one line of JSON.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import vectors, workload

THRESHOLD = 0.95  # cosine


class Precomputed:
    """An embedding model in mem0's sense."""

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        """Return the vector of a text."""
        vector = vectors.embed([text])[0]
        unit: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return unit


def opened(store: str, directory: Path) -> Any:
    """Open mem0 with a local vector store: chroma, qdrant or faiss."""
    # Both are read on import: it would else report home and write into the user's directory.
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(directory / "mem0")}
    from mem0 import Memory

    where: dict[str, Any] = {"collection_name": "memories", "path": str(directory / "store")}
    if store != "chroma":
        where["embedding_model_dims"] = vectors.DIM
    unused = {"provider": "openai", "config": {"api_key": "unused"}}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": store, "config": where},
            "llm": unused,
            "embedder": unused,
            "history_db_path": str(directory / "history.db"),
        }
    )
    memory.embedding_model = Precomputed()
    return memory


def main(store: str, users: int, each: int, seed: int, again: float) -> None:
    """Store the workload and print how long that took and how many memories were added."""
    texts = list(workload.stores(users, each, seed, again))
    with tempfile.TemporaryDirectory() as directory:
        memory, added = opened(store, Path(directory)), 0
        started = time.perf_counter()
        for user_id, text in texts:
            found = memory.search(text, filters={"user_id": user_id}, top_k=1, threshold=THRESHOLD)
            if not found["results"]:
                memory.add(text, user_id=user_id, infer=False)
                added += 1
        seconds = time.perf_counter() - started
    print(json.dumps({"stores": len(texts), "added": added, "seconds": seconds}))


if __name__ == "__main__":
    store, users, each, seed, again = sys.argv[1:]
    main(store, int(users), int(each), int(seed), float(again))
