"""An embedder that remembers what it was asked for, for tests of who embeds what, how often."""

from typing import Any

from bespoke_workers.memories import lexical

NAME = "tests.counting_embedder:embed"
OTHER = "tests.counting_embedder:embed_again"

asked: list[str] = []


def embed(texts: list[str]) -> Any:
    asked.extend(texts)
    return lexical.embed(texts)


def embed_again(texts: list[str]) -> Any:
    """Embed as another embedder would, whose vectors have another name."""
    return embed(texts)
