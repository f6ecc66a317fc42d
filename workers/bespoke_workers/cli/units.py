"""Values as people read them: sizes, times, costs, and texts that do a terminal no harm."""

import json
import unicodedata
from datetime import UTC, date, datetime
from typing import Any

from pydantic import BaseModel

NOTHING = "-"
BYTES = ("B", "kB", "MB", "GB", "TB")
LONGEST_SECONDS = 1e12
"""What is longer is a mistake, and told as it is."""
BIDIRECTIONAL = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Characters that make a line read otherwise than it is."""


def value(name: str, given: Any) -> str:
    """Return the value of a field as people read it; the field's name tells the unit."""
    match given:
        case None | () | {} | "":
            return NOTHING
        case bool():
            return "yes" if given else "no"
        case int() | float():
            return number(name, given)
        case datetime():
            return given.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return given.isoformat()
        case tuple() | list():
            return ", ".join(value(name, one) for one in given)
        case dict():
            return harmless(json.dumps(given, ensure_ascii=False, default=str))
        case BaseModel():
            parts = ((key, inner) for key, inner in given if inner not in (None, ()))
            return ", ".join(f"{label(key)} {value(key, inner)}" for key, inner in parts)
        case _:
            return harmless(str(given))


def number(name: str, given: float) -> str:
    """Return a number in the unit that its field's name says."""
    if name.endswith("_bytes"):
        return size(given)
    if name.endswith("_usd"):
        return f"${given:,.4f}"
    if name == "seconds" or name.endswith(("_seconds", "_s")):
        return duration(given)
    if name.endswith("_hours"):
        return duration(given * 3600)
    if isinstance(given, int):
        return f"{given:,}"
    if 1000 <= abs(given) < 1e12:
        return f"{given:,.1f}"
    return f"{given:.3f}" if 0.001 <= abs(given) < 1000 else f"{given:.4g}"


def size(given: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    unit = 0
    while abs(given) >= 999.5 and unit < len(BYTES) - 1:
        given, unit = given / 1000, unit + 1
    return f"{given:.0f} {BYTES[unit]}" if unit == 0 or given >= 99.5 else (
        f"{given:.1f} {BYTES[unit]}"
    )  # fmt: skip


def duration(seconds: float) -> str:
    """Return a span of time in the two largest units that it has."""
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 60 or seconds > LONGEST_SECONDS:
        return f"{sign}{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{sign}{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{sign}{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{sign}{days} d {hours} h"


def label(name: str) -> str:
    """Return a field's name in words."""
    words = "time" if name == "seconds" else name.replace("_", " ")
    for unit in (" bytes", " usd", " hours"):
        words = words.removesuffix(unit)
    return words


def harmless(text: str) -> str:
    """Return a text whose control characters are written out: they would act on a terminal."""
    return "".join(
        f"\\x{ord(one):02x}"
        if unicodedata.category(one) == "Cc" or ord(one) in BIDIRECTIONAL
        else one
        for one in " ".join(text.splitlines())
    )
