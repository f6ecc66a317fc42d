"""What of a text the small model looks at: its words, and pieces of them, as numbers."""

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping

BUCKETS = 2**18
"""Numbers that features are hashed to. A text of 300 characters has some hundred features, so two
of them hardly ever share a number; and the numbers tell nobody what a user wrote."""
PIECES = (3, 4)  # characters of a piece; they find "refund" in "refunded"
TEXT_LIMIT = 8_192  # characters of one field that are looked at

_WORD = re.compile(r"\w+")


def features(fields: Mapping[str, str]) -> Counter[int]:
    """Return how often each feature is in a call's fields, whose names tell them apart."""
    return Counter(
        zlib.crc32(f"{name}\x00{feature}".encode(errors="replace")) % BUCKETS
        for name, text in fields.items()
        for feature in _of(text[:TEXT_LIMIT].lower())
    )


def _of(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        yield word
        marked = f"<{word}>"
        for length in PIECES:
            for start in range(len(marked) - length + 1):
                yield f"#{marked[start : start + length]}"
