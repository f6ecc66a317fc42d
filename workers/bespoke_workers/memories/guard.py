"""What must agree before two similar memories count as one: their numbers and their negations.

Similarity alone merges "at 6 am" with "at 7 am" and "eats meat" with "never eats meat". The guard
errs towards keeping both: a duplicate kept costs a row, a wrong merge costs what the user said.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bespoke_workers.memories.guard_words import (
    CJK_DIGITS,
    CJK_SCALES,
    ITSELF,
    NEGATIONS,
    NEGATIONS_ANYWHERE,
    NUMBERS,
    RARELY,
    SCALES,
)
from bespoke_workers.memories.lexical import normal_form

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u00b4\uff07", "'"))
_SEPARATORS = str.maketrans(
    # Arabic decimal and thousand separators, fraction slash, division slash, minus sign
    {"\u066b": ".", "\u066c": ",", "\u2044": "/", "\u2215": "/", "\u2212": "-"}
)

_THOUSANDS = re.compile(r"(?<=\d)k\b")  # 5k
_CLOCK = re.compile(
    r"(?<![\w.,:/-])(\d{1,2})(?:[:.h](\d{2}))?\s?(?:([ap])\.?m\b\.?|uhr\b|h\b)|"  # 6 am, 6.30 uhr
    r"(?<![\w.,:/-])(\d{1,2})[:h](\d{2})(?![\w:/-]|[.,]\d)"  # 18:30, 18h30
)
_NAMED_CLOCK = {"noon": "t12:00", "midday": "t12:00", "midnight": "t00:00"}
_NUMERAL = re.compile(
    r"(?<![\w.,/:])-?(?=[.,]?\d)"
    r"(?:\d{1,3}(?: \d{3})+(?![\d])|[.,]?\d+(?:[.,:/'-]\d+)*)|"
    r"\d+(?:[.,:/'-]\d+)*"
)
# A numeral with one group of three after a point: 1.234 here is 1234 there.
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_AMOUNTS = [  # pattern, thousand separators, decimal point
    (re.compile(r"\d{1,3}(?:[ ',]\d{3})+(?:\.\d+)?"), " ',", "."),
    (re.compile(r"\d{1,3}(?:\.\d{3}){2,}|\d{1,3}(?:\.\d{3})+,\d+"), ".", ","),
    # 007 and 01234 are names, not amounts; 06 is 6.
    (re.compile(r"(?:\d{1,2}|[1-9]\d*)?[.,]\d+|\d{1,2}|[1-9]\d*"), " ", ","),
]
# Python's \w leaves out combining marks, without which no Hindi word is whole.
_LETTER = r"(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff])"
_WORD = re.compile(f"{_LETTER}+(?:'{_LETTER}+)*")
_CJK = re.compile(f"[{''.join([*CJK_DIGITS, *CJK_SCALES])}]+")
_NOT_JOINED = re.compile(
    r"(?:do|does|did|is|are|was|were|ca|could|wo|would|should|have|has|had|must|need|might|sha)nt"
)
_ANYWHERE = re.compile("|".join(sorted(NEGATIONS_ANYWHERE, key=len, reverse=True)))


def same_facts(a: str, b: str) -> bool:
    """Whether the numbers and negations of two texts agree, in whatever order they stand."""
    return facts(a) == facts(b)


def facts(text: str) -> str:
    """Return the canonical numbers and negations of a text; "" if it has none.

    Two texts agree exactly if their facts are equal. Case, white space, digits of other scripts,
    thousand separators ("1,000"), English number words and 6 am against 06:00 make no difference.
    """
    prepared = _prepared(text)
    rest, clocks = _without_clocks(prepared)
    numbers = sorted([*clocks, *_numbers(rest), *_symbols(rest)])
    negations, rarely = _negations(prepared)
    marks = [f"not{negations}"] if negations else []
    return " ".join([*numbers, *marks, *([f"rarely{rarely}"] if rarely else [])])


def _prepared(text: str) -> str:
    if not text.isascii():
        # NFKC would turn 2½ into 21/2 and 10² into 102.
        text = "".join(f" {c}" if unicodedata.category(c) == "No" else c for c in text)
        text = normal_form(text.translate(_APOSTROPHES)).translate(_SEPARATORS)
        text = "".join(_ascii_digit(c) for c in text)
    text = normal_form(text.replace("`", "'")).replace("no one", "nobody")
    return _THOUSANDS.sub(" thousand", text)


def _ascii_digit(character: str) -> str:
    if character.isascii() or not character.isdecimal():
        return character
    return str(unicodedata.decimal(character))


def _without_clocks(text: str) -> tuple[str, list[str]]:
    """Take the times of day out of a text: "6 am", "6:30 p.m.", "18h30", "6 Uhr"."""
    clocks: list[str] = []

    def take(match: re.Match[str]) -> str:
        clock = _clock(match)
        if clock is None:
            return match[0]
        clocks.append(clock)
        return " ; "

    return _CLOCK.sub(take, text), clocks


def _clock(match: re.Match[str]) -> str | None:
    hour, minute = int(match[1] or match[4]), int(match[2] or match[5] or 0)
    half = match[3]
    if minute > 59 or hour > 23 or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"t{hour:02}:{minute:02}"


def _numbers(text: str) -> Iterator[str]:
    """Numbers in digits and in words, each canonical."""
    compound: _Compound | None = None
    for token in _tokens(text):
        if compound is not None and compound.takes(token):
            continue
        if compound is not None:
            yield _plain(compound.total + compound.part)
        compound = _Compound.begun_by(token)
        if compound is None:
            yield from _other(token)
    if compound is not None:
        yield _plain(compound.total + compound.part)


def _tokens(text: str) -> list[str]:
    found = [(match.start(), match[0]) for match in _NUMERAL.finditer(text)]
    blanked = _NUMERAL.sub(lambda match: " " * len(match[0]), text)
    found += [(match.start(), match[0]) for match in _WORD.finditer(blanked)]
    return [token for _, token in sorted(found)]


def _other(token: str) -> Iterator[str]:
    """What a token that begins no amount says all the same: a date, a code, "noon", "once"."""
    if token[0] in "-.," or token[0].isdigit():
        # The parts keep their order: 05/03 is 5/3, not 3/5.
        yield re.sub(r"(?<!\d)0(\d)(?!\d)", r"\1", token)
    elif token in ITSELF or token in _NAMED_CLOCK:
        yield _NAMED_CLOCK.get(token, token)
    else:
        yield from (_cjk(run) for run in _CJK.findall(token))


@dataclass
class _Compound:
    """An amount under way, such as "two hundred and five thousand" after each of its words."""

    part: Decimal  # not yet multiplied by a thousand or a million
    step: int  # the worth of the last word, 0 after digits
    total: Decimal = Decimal(0)
    ceiling: int = max(SCALES.values()) + 1  # "million" can follow "billion", not "thousand"

    @classmethod
    def begun_by(cls, token: str) -> "_Compound | None":
        if token in SCALES:
            begun = cls(Decimal(1), 1)
            begun.takes(token)
            return begun
        if token in NUMBERS:
            return cls(Decimal(NUMBERS[token]), NUMBERS[token])
        worth = _worth(token)
        return None if worth is None else cls(worth, 0)

    def takes(self, token: str) -> bool:
        """Go on with a word if it continues this amount, else return False."""
        if token in SCALES:
            return self._scales(SCALES[token])
        if token == "and":  # noqa: S105  # a word, no password
            return self.step in SCALES.values()
        worth = NUMBERS.get(token)
        if worth is None or not self._leaves_room_for(worth):
            return False
        self.part, self.step = self.part + worth, worth
        return True

    def _scales(self, scale: int) -> bool:
        if scale == 100:
            fits = 0 < self.part < 100
            self.part *= scale if fits else 1
        else:
            fits = self.part > 0 and scale < self.ceiling
            if fits:
                self.total, self.part, self.ceiling = (
                    self.total + self.part * scale,
                    Decimal(0),
                    scale,
                )
        self.step = scale if fits else self.step
        return fits

    def _leaves_room_for(self, worth: int) -> bool:
        if self.step in SCALES.values():
            return 0 < worth < 100
        return self.step in range(20, 100, 10) and 1 <= worth <= 9


def _worth(token: str) -> Decimal | None:
    """The worth of digits, None if they are no plain amount (a date, a version, a code)."""
    digits = token.removeprefix("-")
    # More digits than a Decimal multiplies exactly are a code, such as a card's number.
    if sum(map(str.isdigit, digits)) > 18 or _AMBIGUOUS.fullmatch(digits):
        return None
    for pattern, separators, point in _AMOUNTS:
        if pattern.fullmatch(digits):
            plain = re.sub(f"[{separators}]", "", digits).replace(point, ".")
            return Decimal(plain).copy_sign(Decimal("-1" if token != digits else "1"))
    return None


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f") if number else "0"


def _cjk(run: str) -> str:
    """三百零五 is 305, and 二〇二四 is 2024."""
    if not any(character in CJK_SCALES for character in run):
        return "".join(str(CJK_DIGITS[character]) for character in run).lstrip("0") or "0"
    total = section = digit = 0
    for character in run:
        if character in CJK_DIGITS:
            digit = CJK_DIGITS[character]
        elif (scale := CJK_SCALES[character]) >= 10**4:
            total, section, digit = total + (section + digit or 1) * scale, 0, 0
        else:
            section, digit = section + (digit or 1) * scale, 0
    return str(total + section + digit)


def _symbols(text: str) -> list[str]:
    """Currency signs and %: 5 dollars are not 5 euros, and neither are 5 %."""
    return [c for c in text if c in "$%" or (c > "\x7f" and unicodedata.category(c) == "Sc")]


def _negations(text: str) -> tuple[int, int]:
    """How many negations a text has, and how many words that say "rarely".

    Counted, not taken by parity: "never without" is not the same as neither of the two.
    """
    words = _WORD.findall(text)
    negations = len(_ANYWHERE.findall(text))
    for word in words:
        head, _, tail = word.partition("'")
        negations += (
            word in NEGATIONS
            or tail == "t"
            or (head == "n" and bool(tail))
            or _NOT_JOINED.fullmatch(word) is not None
        )
    return negations, sum(word in RARELY for word in words)
