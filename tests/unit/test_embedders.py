"""Which embedder a space of another one is served with, and when it is looked for again."""

from dataclasses import replace

import pytest

from bespoke_workers.errors import Misconfigured
from bespoke_workers.memories import lexical
from bespoke_workers.memories.embedders import AGAIN_SECONDS, Embedders, Unloadable, load_older
from bespoke_workers.memories.embedding import Embedder, load_embedder

LEXICAL = load_embedder(None)
HERE = f"{__name__}:lengths"


def lengths(texts: list[str]) -> list[list[float]]:
    return [[len(text), 1] for text in texts]


class Loading:
    """Loads embedders, of which ``missing`` are gone, and counts the tries."""

    def __init__(self, *missing: str) -> None:
        self.missing = set(missing)
        self.tried: list[str] = []
        self.now = 0.0

    def __call__(self, name: str) -> Embedder:
        self.tried.append(name)
        if name in self.missing:
            raise Misconfigured(f"embedder {name!r}: cannot import it")
        return replace(LEXICAL, name=name, dim=2)


def test_the_one_that_is_set_is_not_loaded_again() -> None:
    load = Loading()
    assert Embedders(LEXICAL, load).of(LEXICAL.kind) is LEXICAL
    assert load.tried == []


def test_an_older_one_is_loaded_once_by_the_name_that_stands_with_the_space() -> None:
    load = Loading()
    embedders = Embedders(LEXICAL, load)
    assert embedders.of(("words", 2)) is embedders.of(("words", 2))
    assert load.tried == ["words"]


def test_the_names_of_spaces_lead_to_their_embedders() -> None:
    assert load_older(lexical.NAME) == LEXICAL
    own = load_older(HERE)
    assert (own.name, own.dim) == (HERE, 2)


@pytest.mark.parametrize(("at_least", "threshold"), [(None, 0.97), (0.9, 0.97), (0.99, 0.99)])
def test_of_its_own_threshold_and_the_one_set_the_higher_holds(
    at_least: float | None, threshold: float
) -> None:
    assert load_older(lexical.NAME, at_least).threshold == threshold


def test_one_that_is_gone_is_tried_again_after_a_while() -> None:
    load = Loading("words")
    embedders = Embedders(LEXICAL, load, clock=lambda: load.now)
    for _ in range(3):
        with pytest.raises(Unloadable, match=r"'words' \(2 dimensions\).*cannot import it"):
            embedders.of(("words", 2))
    assert load.tried == ["words"]
    load.missing.clear()
    load.now = AGAIN_SECONDS
    assert embedders.of(("words", 2)).name == "words"


def test_one_that_has_other_dimensions_now_is_gone() -> None:
    embedders = Embedders(LEXICAL, Loading())
    with pytest.raises(Unloadable, match="it has 2 dimensions now"):
        embedders.of(("words", 3))
    assert embedders.of(("words", 2)).dim == 2
