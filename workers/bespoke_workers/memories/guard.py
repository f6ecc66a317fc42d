"""What must agree before two similar memories count as one: their numbers and their negations.

Similarity alone merges "at 6 am" with "at 7 am" and "eats meat" with "never eats meat". The guard
errs towards keeping both: a duplicate kept costs a row, a wrong merge costs what the user said.
Units, days, months, times of day and a list of opposites have to agree too. Names and tenses are
not looked at: those are for the embedder's threshold to tell apart.
"""

import re
import unicodedata
from collections.abc import Sequence

from bespoke_workers.memories.guard_numbers import bare
from bespoke_workers.memories.guard_numerals import WORD, amounts, spelled
from bespoke_workers.memories.guard_silence import says_nothing
from bespoke_workers.memories.guard_words import (
    CONTRASTS,
    CONTRASTS_ANYWHERE,
    FRENCH_NE,
    FRENCH_PARTICLES,
    NEGATIONS,
    NEGATIONS_ANYWHERE,
    NO_LONGER,
    NO_LONGER_ANYWHERE,
    NOT_JOINED,
    RARELY,
)
from bespoke_workers.memories.lexical import normal_form

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u00b4\uff07", "'"))
_SEPARATORS = str.maketrans(
    # Arabic decimal and thousand separators, fraction slash, division slash, minus sign
    {"\u066b": ".", "\u066c": ",", "\u2044": "/", "\u2215": "/", "\u2212": "-"}
)
# "unhappy", "unmöglich", but not "under", "unit", "unser", "ungefähr"
_UN = re.compile(r"un(?!der|dici|ter|i|ser|til|cle|gef)[a-z\u00df-\u00ff]{4,}")
# Turkish: "yemiyor" does not eat, "gelmez" does not come, "şekersiz" is without sugar.
_TURKISH = re.compile(r".*m[iuü]yor.*|.*m[ae]z|.{3,}s[iuü]z")
# "sugar-free", "zuckerfrei", "gave up sugar", "out of milk"
_WITHOUT = re.compile(r"\w[- ]?free\b|\w{3,}frei\b|\bg[ia]v(?:e|es|ing|en) up\b|\bout of\b")
_LETTERED = re.compile(r"(?<=\d)[abdeijnopqrtuvwxyz](?![\w'])")  # 14a; 5m and 5k are amounts
_EXCEPT = re.compile(r"\b((?:all|every|any|no)(?:thing|one|body)?) but\b")


def _anywhere(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(words, key=len, reverse=True)))


_NEGATIONS_ANYWHERE = _anywhere(NEGATIONS_ANYWHERE)
_NO_LONGER_ANYWHERE = _anywhere(NO_LONGER_ANYWHERE)
_CONTRASTS_ANYWHERE = _anywhere(CONTRASTS_ANYWHERE)


def same_facts(a: str, b: str) -> bool:
    """Whether the numbers and negations of two texts agree, in whatever order they stand."""
    return facts(a) == facts(b)


def facts(text: str) -> str:
    """Return what the guard compares of a text, canonical; "" if there is nothing.

    Two texts agree exactly if their facts are equal. Case, white space, digits of other scripts,
    thousand separators ("1,000"), number words and 6 am against 06:00 make no difference.
    """
    text = prepared(text)
    return "" if says_nothing(text) else facts_read(text)


def facts_read(text: str) -> str:
    """Return the facts of a prepared text, read word by word."""
    text = spelled(text)
    words = WORD.findall(text)
    numbers = sorted([*amounts(text), *_symbols(text)])
    return " ".join([*numbers, *_negated(text, words), *_contrasts(text, words)])


def prepared(text: str) -> str:
    """Return a text in normal form, with ASCII digits and plain apostrophes."""
    if not text.isascii():
        # NFKC would turn 2½ into 21/2 and 10² into 102.
        text = "".join(f" {c}" if unicodedata.category(c) == "No" else c for c in text)
        text = normal_form(text.translate(_APOSTROPHES)).translate(_SEPARATORS)
        text = "".join(_ascii_digit(c) for c in text)
    text = normal_form(text.replace("`", "'")).replace("no one", "nobody")
    return _EXCEPT.sub(r"\1 except", text) if " but" in text else text


def _ascii_digit(character: str) -> str:
    if character.isascii() or not character.isdecimal():
        return character
    return str(unicodedata.decimal(character))


def _symbols(text: str) -> list[str]:
    """Letters of numbers, currency signs and %: 14a is not 14b, and 5 € are neither $5 nor 5 %."""
    lettered = _LETTERED.findall(text)
    if text.isascii():
        return [*lettered, *(c for c in text if c in "$%")]
    return [
        *lettered,
        *(c for c in text if c in "$%" or (c > "\x7f" and unicodedata.category(c) == "Sc")),
    ]


def _negated(text: str, words: Sequence[str]) -> list[str]:
    """How many negations a text has, and what they say: no longer, or only rarely.

    Counted, not taken by parity: "never without" is not the same as neither of the two.
    """
    negations = 0 if text.isascii() else len(_NEGATIONS_ANYWHERE.findall(text))
    negations += sum(map(_is_negation, words)) + len(_WITHOUT.findall(text))
    ne = sum(word in FRENCH_NE or word.startswith("n'") for word in words)
    negations += max(ne - sum(word in FRENCH_PARTICLES for word in words), 0)
    rarely = sum(word in RARELY for word in words)
    marks = [f"not{negations}"] if negations else []
    if negations and (not NO_LONGER.isdisjoint(words) or _NO_LONGER_ANYWHERE.search(text)):
        marks.append("longer")
    return [*marks, f"rarely{rarely}"] if rarely else marks


def _is_negation(word: str) -> bool:
    """Whether a word is a negation by itself; the French "ne" is not, beside another one."""
    if "'" in word:
        head, _, tail = word.partition("'")
        return tail == "t" or head in NEGATIONS - FRENCH_NE or tail in NEGATIONS
    return (
        (word in NEGATIONS and word not in FRENCH_NE)
        or word in NOT_JOINED
        # A look at its ends spares most words the patterns.
        or (word.startswith("un") and _UN.fullmatch(word) is not None)
        or (not word.isascii() and bare(word) in NEGATIONS)
        or ((word[-1] == "z" or "yor" in word) and _TURKISH.fullmatch(word) is not None)
    )


def _contrasts(text: str, words: Sequence[str]) -> list[str]:
    """What a text says of days, times and pairs of opposites, each once."""
    found = {CONTRASTS[word] for word in words if word in CONTRASTS}
    found |= {CONTRASTS[end] for word in words if (end := word.rpartition("'")[2]) in CONTRASTS}
    if not text.isascii():
        found |= set(_CONTRASTS_ANYWHERE.findall(text))
    return sorted(f"~{concept}" for concept in found)
