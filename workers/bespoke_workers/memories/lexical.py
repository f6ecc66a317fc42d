"""The default embedder: hashed words and character n-grams; it downloads nothing.

It is lexical: it knows spelling, not meaning. The same text gives the same bits in every process
and on every platform, for hashing and sums are whole-number arithmetic.
"""

import hashlib
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

NAME = "lexical-1"  # stored beside every vector: a change of the recipe needs a new name
THRESHOLD = 0.97  # docs/decisions/0003-default-embedder.md

IDENTITY_DIMS = 64  # one per bit of the fingerprint of the whole text

_WORD = re.compile(r"\w+")
_MULTIPLIER = 0x9E3779B97F4A7C15
_INVERSE = pow(_MULTIPLIER, -1, 2**64)
_CODE_POINT = np.uint64(0xD6E8FEB86659FD93)
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_WORD_SALT, _PAIR_SALT = 1001, 1002  # n-grams are salted with n
# Soft hyphens, word joiners and byte-order marks show nothing; a zero-width space is a space.
_INVISIBLE = {0x00AD: None, 0x2060: None, 0xFEFF: None, 0x200B: " "}


@dataclass(frozen=True)
class Recipe:
    """What goes into a vector; the defaults are what the evidence chose.

    `grams` are lengths of character n-grams, which weigh 1; `root` takes the signed square root of
    each sum, so that a word said five times does not drown the rest. `identity` is the share of
    the similarity that only a repeat of the whole text earns: without it, two long texts that
    differ by one name are as good as equal.
    """

    dim: int = 384
    grams: tuple[int, ...] = (2, 3, 4)
    word_weight: int = 2
    pair_weight: int = 0
    root: bool = True
    identity: float = 0.1


DEFAULT = Recipe()


def normal_form(text: str) -> str:
    """Text without differences of case, width, composition and white space."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).translate(_INVISIBLE).upper().casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def repeat_key(text: str) -> str:
    """What two texts share exactly if one repeats the other: a final full stop says nothing."""
    normal = normal_form(text)
    if normal.endswith((".", "\u3002")):  # the second is the ideographic full stop
        return normal[:-1].rstrip() or normal
    return normal


def embed(texts: Sequence[str], recipe: Recipe = DEFAULT) -> NDArray[np.float32]:
    """Return L2-normalised vectors of shape (len(texts), recipe.dim).

    No vector is zero: a text without a letter has n-grams, and an empty one its fingerprint.
    """
    vectors = np.empty((len(texts), recipe.dim), dtype=np.float32)
    for row, text in enumerate(texts):
        vectors[row] = _embed(repeat_key(text), recipe)
    return vectors


def _embed(key: str, recipe: Recipe) -> NDArray[np.float64]:
    identity_dims = IDENTITY_DIMS if recipe.identity else 0
    sums = _features(f" {key} ", recipe, recipe.dim - identity_dims)
    squares = np.abs(sums) if recipe.root else sums * sums
    # Sums of whole numbers are exact in any order, so the norm does not depend on the platform.
    length = float(np.sqrt(squares.sum()))
    spelling = np.copysign(np.sqrt(squares), sums) / length if length else sums
    if not recipe.identity:
        return spelling
    share = recipe.identity if length else 1.0
    vector = np.empty(recipe.dim)
    vector[:-identity_dims] = math.sqrt(1 - share) * spelling
    vector[-identity_dims:] = math.sqrt(share / identity_dims) * _fingerprint(key)
    return vector


def _fingerprint(key: str) -> NDArray[np.float64]:
    """One of 2**64 corners of a cube: two texts share a corner only if their keys are equal."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=IDENTITY_DIMS // 8)
    bits = np.unpackbits(np.frombuffer(digest.digest(), dtype=np.uint8))
    return bits.astype(np.float64) * 2 - 1


def _features(padded: str, recipe: Recipe, space: int) -> NDArray[np.float64]:
    """Signed sums of shape (space,) over the text's features, each a whole number."""
    hashes, weights = [], []
    prefix, inverses = _prefix_hashes(padded)
    for n in recipe.grams:
        grams = (prefix[n:] - prefix[:-n]) * inverses[: max(len(prefix) - n, 0)]
        hashes.append(_mixed(grams, n))
        weights.append(np.ones(len(grams)))
    spans = np.array([word.span() for word in _WORD.finditer(padded)], dtype=np.intp).reshape(-1, 2)
    for weight, salt, starts, ends in (
        (recipe.word_weight, _WORD_SALT, spans[:, 0], spans[:, 1]),
        (recipe.pair_weight, _PAIR_SALT, spans[:-1, 0], spans[1:, 1]),
    ):
        if weight:
            words = (prefix[ends] - prefix[starts]) * inverses[starts]
            hashes.append(_mixed(words, salt))
            weights.append(np.full(len(words), float(weight)))
    hashed = np.concatenate(hashes)
    signed = np.where(hashed & np.uint64(1), 1.0, -1.0) * np.concatenate(weights)
    places = ((hashed >> np.uint64(32)) % np.uint64(space)).astype(np.intp)
    return np.bincount(places, weights=signed, minlength=space).astype(np.float64)


def _prefix_hashes(text: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Polynomial hashes of all prefixes, modulo 2**64, and the inverses of the base's powers.

    The hash of text[i:j] is (prefix[j] - prefix[i]) * inverses[i]: any n-gram or word in two
    operations, wherever it stands.
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    size = 1 << (len(points) + 1).bit_length()
    prefix = np.zeros(len(points) + 1, dtype=np.uint64)
    terms = (points.astype(np.uint64) + np.uint64(1)) * _CODE_POINT
    np.cumsum((terms ^ (terms >> np.uint64(29))) * _powers(_MULTIPLIER, size)[: len(points)],
              out=prefix[1:])  # fmt: skip
    return prefix, _powers(_INVERSE, size)


@cache
def _powers(base: int, size: int) -> NDArray[np.uint64]:
    powers = np.full(size, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(hashes: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    mixed = hashes + np.uint64(salt)
    for factor in _MIX:
        mixed = (mixed ^ (mixed >> np.uint64(32))) * factor
    return mixed ^ (mixed >> np.uint64(32))
