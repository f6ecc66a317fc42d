"""How alike two short texts are, by their words and by the pieces of their words."""

import math
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise

Features = tuple[dict[str, float], float]  # weights, and their Euclidean length

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
STOP_WORDS = frozenset(
    WORD.findall(
        "a about after again all also am an and any are as at be because been before being but by "
        "can cannot can't could did didn't do does doesn't don't for from get got had has have "
        "haven't he hello help hi how i i'd i'll i'm i've if in into is isn't it it's its just let "
        "like me my need no not now of on one only or our out please she should so some still than "
        "thank thanks that that's the their them then there these they this to too up us very want "
        "was wasn't we we're were what what's when where which while who why will with won't would "
        "you your"
    )
)
STOP_WEIGHT = 0.15  # common words still tell "how do I" from "why was I"
PAIR_WEIGHT = 0.5
PIECE_WEIGHT = 0.35
PIECE_LENGTH = 4  # characters; long enough that "refund" and "refunded" meet, "re-" words do not


def words(text: str) -> list[str]:
    """Return the words of ``text``, casefolded, in order."""
    return WORD.findall(text.casefold().replace("\u2019", "'"))


def content_words(text: str) -> list[str]:
    """Return the words that say what ``text`` is about."""
    return [word for word in words(text) if word not in STOP_WORDS and len(word) > 1]


@lru_cache(maxsize=8192)  # one optimization compares a few hundred texts again and again
def features(text: str) -> Features:
    """Return the weighted words, neighbouring words and word pieces of ``text``."""
    found = words(text)
    weights: dict[str, float] = {}
    for word, count in Counter(found).items():
        weight = STOP_WEIGHT if word in STOP_WORDS else 1.0
        weights[word] = weight * math.sqrt(count)
        if word not in STOP_WORDS:
            padded = f"<{word}>"
            for start in range(max(1, len(padded) - PIECE_LENGTH + 1)):
                weights["#" + padded[start : start + PIECE_LENGTH]] = PIECE_WEIGHT
    for pair in pairwise(found):
        if not STOP_WORDS.issuperset(pair):
            weights[" ".join(pair)] = PAIR_WEIGHT
    return weights, math.sqrt(sum(weight * weight for weight in weights.values()))


def similarity(one: str, other: str) -> float:
    """Return the cosine of two texts' features, from 0 (nothing shared) to 1."""
    (left, left_length), (right, right_length) = features(one), features(other)
    if not left_length or not right_length:
        return 0.0
    if len(left) > len(right):
        left, right = right, left
    shared = sum(weight * right[name] for name, weight in left.items() if name in right)
    return shared / (left_length * right_length)
