"""Sentences that tell which words go with which label, written and read again.

The stand-in's observations, summaries and instructions hold such sentences, so what
it learnt from examples reaches the prompt of a later question in plain language.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from examples.support_desk.similarity import content_words

_HINT = re.compile(r'labelled ("(?:[^"\\]|\\.)*") mention ([^.\n]*)\.')
_SENTENCE = re.compile(rf"Messages {_HINT.pattern}")


def write(words_by_label: Mapping[str, Iterable[str]]) -> str:
    """Return one sentence for each label, naming its words."""
    return " ".join(
        f"Messages labelled {json.dumps(label, ensure_ascii=False)} mention {', '.join(words)}."
        for label, words in sorted(words_by_label.items())
    )


def read(text: str) -> dict[str, list[str]]:
    """Return the words for each label that ``text`` holds, a word as often as it was named."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for label, listed in _HINT.findall(text):
        found[json.loads(label)] += [word for word in listed.split(", ") if word]
    return dict(found)


def without(text: str) -> str:
    """Return ``text`` without its hints."""
    return " ".join(_SENTENCE.sub("", text).split())


def collect(labelled: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the content words of each label of ``labelled`` (text, label) pairs."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for text, label in labelled:
        found[label] += content_words(text)
    return dict(found)


def sharpen(words_by_label: Mapping[str, Iterable[str]], limit: int) -> dict[str, list[str]]:
    """Keep of each label the ``limit`` words that are frequent with it and rare with others."""
    counts = {label: Counter(words) for label, words in words_by_label.items()}
    spread = Counter(word for counted in counts.values() for word in counted)

    def telling(counted: Counter[str], word: str) -> float:
        return counted[word] * math.log((1 + len(counts)) / spread[word])

    return {
        label: sorted(counted, key=lambda word: (-telling(counted, word), word))[:limit]
        for label, counted in counts.items()
    }
