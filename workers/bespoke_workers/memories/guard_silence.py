"""Tells, by a few looks, that a text has no facts: as most have, and each look at all costs time.

Errs to one side: what it lets pass has none for certain, the others are read word by word.
"""

import re

from bespoke_workers.memories.guard_numbers import ITSELF, NUMBERS, SCALES
from bespoke_workers.memories.guard_words import (
    CONTRASTS,
    NEGATIONS,
    NO_LONGER,
    NOT_JOINED,
    RARELY,
)

_NUMBERISH = re.compile(r"[0-9$%]")
# Not punctuation alone: whatever is no letter, a control character too, ends a word.
_SPACED = str.maketrans({c: " " for c in map(chr, range(128)) if not c.isalnum()})
_WORDS = frozenset(
    word
    for table in (NEGATIONS, NOT_JOINED, RARELY, NO_LONGER, CONTRASTS, NUMBERS, SCALES, ITSELF)
    for known in table
    for word in known.translate(_SPACED).split()
) | frozenset(
    {
        *("t", "n"),  # of "don't" and "n'a", whose halves are looked at
        *("up", "out"),  # of "gave up" and "out of"
        *("except", "noon", "midday", "midnight"),
    }
)
# Parts of words: endings, prefixes, and numbers that are written as one.
_PARTS = (
    *(" un", "yor", "z ", "free", "frei"),
    *("tausend", "duizend", "mila", "hundert", "honderd", "cent", "cient", "zent"),
)


def says_nothing(text: str) -> bool:
    """Whether a prepared text certainly has no facts; False says nothing of it."""
    if not text.isascii() or _NUMBERISH.search(text):
        return False
    spaced = f" {text.translate(_SPACED)} "
    return not any(part in spaced for part in _PARTS) and _WORDS.isdisjoint(spaced.split())
