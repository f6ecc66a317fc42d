"""The amounts in a text, each canonical: digits, number words, dates, times of day, units.

Works on text as `guard` prepares it: in normal form, with ASCII digits and plain apostrophes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bespoke_workers.memories.guard_numbers import (
    CJK_DIGITS,
    CJK_SCALES,
    FRENCH,
    ITSELF,
    LINKS,
    ONES,
    SCALES,
    number,
)
from bespoke_workers.memories.guard_words import RELATIONS, UNITS

_DIGIT = re.compile(r"\d")
_THOUSANDS = re.compile(r"(?<=\d)k\b")  # 5k
_PERCENT = re.compile(r"\b(?:per ?cent|pour ?cent|por ?ciento|per ?cento|por ?cento|pro[zc]ent)\b")
_FRENCH = re.compile(
    r"\b(?:" + "|".join(
        re.escape(words).replace(r"\-", "[- ]") for words in sorted(FRENCH, key=len, reverse=True)
    ) + r")\b"
)  # fmt: skip
_CLOCK = re.compile(
    r"(?<![\w.,:/-])(\d{1,2})(?::| ?h ?)(\d{2})(?![\w:/-]|[.,]\d| ?[ap]\.?m\b)|"  # 18:30, 18 h 30
    r"(?<![\w.,:/-])(\d{1,2})(?:[:.h](\d{2}))?\s?(?:([ap])\.?m\b\.?|uhr\b|h\b)"  # 6 am, 6.30 uhr
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
LETTER = r"(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff])"
WORD = re.compile(f"{LETTER}+(?:'{LETTER}+)*")
TENS = range(20, 100, 10)
_CJK = re.compile(f"[{''.join([*CJK_DIGITS, *CJK_SCALES])}]+")


def amounts(text: str) -> list[str]:
    """Return every amount of a text that `spelled` has seen, in no particular order."""
    if _DIGIT.search(text) is None:  # as most texts are
        return list(_numbers(WORD.findall(text)))
    rest, clocks = _without_clocks(text)
    return [*clocks, *_numbers(_tokens(rest))]


def spelled(text: str) -> str:
    """Bring what has several spellings into one: 5k, 50 per cent, quatre-vingt-dix."""
    text = _PERCENT.sub("%", _THOUSANDS.sub(" thousand", text))
    if "dix" in text or "soixante" in text or "vingt" in text:
        text = _FRENCH.sub(lambda match: str(FRENCH[match[0].replace(" ", "-")]), text)
    return text


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
    hour, minute = int(match[1] or match[3]), int(match[2] or match[4] or 0)
    half = match[5]
    if minute > 59 or hour > 23 or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"t{hour:02}:{minute:02}"


def _numbers(tokens: list[str]) -> Iterator[str]:
    """Numbers in digits and in words, each canonical, with their units and what relates them."""
    before: str | None = None  # the amount that ended with the last token
    related: str | None = None  # the amount that a range such as "9 to 5" begins with
    compound: _Compound | None = None
    for token in [*tokens, ""]:
        if compound is not None and compound.takes(token):
            continue
        if compound is not None:
            before = _plain(compound.total + compound.part)
            yield before
            if related is not None:
                yield f"{related}-{before}"
                related = None
        compound = _Compound.begun_by(token)
        if compound is not None or not token:
            continue
        if before is not None and token in RELATIONS:
            related, before = f"{before}{RELATIONS[token]}", None
            continue
        if before is not None and token in UNITS:
            yield UNITS[token]
        others = list(_other(token))
        yield from others
        related, before = None, others[-1] if others else None


def _tokens(text: str) -> list[str]:
    found = [(match.start(), match[0]) for match in _NUMERAL.finditer(text)]
    blanked = _NUMERAL.sub(lambda match: " " * len(match[0]), text)
    found += [(match.start(), match[0]) for match in WORD.finditer(blanked)]
    return [token for _, token in sorted(found)]


def _other(token: str) -> Iterator[str]:
    """What a token that begins no amount says all the same: a date, a code, "noon", "once"."""
    if token[0] in "-.," or token[0].isdigit():
        # The parts keep their order: 05/03 is 5/3, not 3/5.
        yield re.sub(r"(?<!\d)0(\d)(?!\d)", r"\1", token)
    elif token in ITSELF or token in _NAMED_CLOCK:
        yield _NAMED_CLOCK.get(token, token)
    elif not token.isascii():
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
        named = number(token)
        if named is not None:
            return cls(Decimal(named), named)
        worth = _worth(token)
        return None if worth is None else cls(worth, 0)

    def takes(self, token: str) -> bool:
        """Go on with a word if it continues this amount, else return False."""
        if token in SCALES:
            return self._scales(SCALES[token])
        if token == "and":  # noqa: S105  # a word, no password
            return self.step in SCALES.values()
        if token in LINKS:
            return self.step in TENS
        worth = 1 if token in ONES and self.step in TENS else number(token)
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
        return self.step in TENS and 1 <= worth <= 9


def _worth(token: str) -> Decimal | None:
    """The worth of digits, None if they are no plain amount (a date, a version, a code)."""
    if token.isalpha():  # as most tokens are
        return None
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
