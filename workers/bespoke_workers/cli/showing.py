"""Results as people read them: tables for listings, names and values for single answers."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bespoke_schemas import Result
from bespoke_workers.cli import columns, parameters, units

UNSHOWN = {"state", "records"}
"""Fields that may be large and are whole only as JSON: states, and memories in bulk."""
DETAILS = {
    "fingerprint", "parent_id", "updated_at", "last_accessed_at", "renewed_at", "run_id", "kept_id",
}  # fmt: skip
"""Fields that a table leaves out; the answer to one id has them."""
PIPED_WIDTH = 100_000
"""Characters of a line that goes to a program and not to a terminal: it is never wrapped."""
ROWS = 20  # of a mapping within an answer
NEXT = "next"
"""A field with the cursor of the page after this one, which commands take as ``--after``."""

ALONE = {"version", "memory", "job"}
"""Fields that are all of what was asked for, so that what is in them needs no prefix."""


@dataclass(frozen=True)
class Listing:
    """Rows of a table, from wherever in an answer."""

    rows: Sequence[Any]


Pair = tuple[str, Any]


def print_result(result: Result, console: Console | None = None) -> None:
    """Print a result on the standard output; without colours and wrapping if it is piped."""
    console = console or _console()
    found = list(_inside(result))
    tables = [(name, value.rows) for name, value in found if isinstance(value, Listing)]
    pairs = [(name, value) for name, value in found if not isinstance(value, Listing)]
    with console.capture() as printed:
        for name, rows in tables:
            if len(tables) > 1:
                console.print(Text(units.label(name)), style="bold")
            _print_table(console, name, rows)
        if pairs:
            _print_pairs(console, pairs)
    lines = printed.get().splitlines()  # each padded to the width of its column
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines))


def _console() -> Console:
    piped = not sys.stdout.isatty()
    return Console(width=PIPED_WIDTH if piped else None, highlight=False, emoji=False, markup=False)


def _inside(model: BaseModel) -> Iterator[Pair]:
    """Yield names and values, those within other models and mappings each by itself."""
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        is_listing = parameters.shape(info) is parameters.Shape.LINES
        if is_listing and not _is_unshown(name, value) and value is not None:
            yield name, Listing(value)
        else:
            yield from _pairs(name, value)


def _pairs(name: str, value: Any) -> Iterator[Pair]:
    if _is_unshown(name, value):
        yield name, "not shown; --json and -o FILE have it"
    elif name == NEXT and isinstance(value, BaseModel):
        yield name, f"--after '{value.model_dump_json()}'"
    elif isinstance(value, BaseModel):
        for key, one in _inside(value):
            if one is not None:
                yield (key if name in ALONE else f"{name} {key}"), one
    elif isinstance(value, dict) and value and all(_is_plain(one) for one in value.values()):
        for key, one in list(value.items())[:ROWS]:
            yield from _pairs(f"{name} {units.harmless(str(key))}", one)
        if len(value) > ROWS:
            yield name, f"{len(value) - ROWS} more; --json has them"
    else:
        yield name, value


def _is_unshown(name: str, value: object) -> bool:
    return name in UNSHOWN and bool(value) and not isinstance(value, str)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | BaseModel)


def _print_pairs(console: Console, pairs: list[Pair]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        said = units.value(name.rpartition(" ")[2], value)
        table.add_row(Text(units.label(name)), Text(said))
    console.print(table)


def _print_table(console: Console, name: str, rows: Sequence[Any]) -> None:
    if not rows:
        console.print(Text(f"no {units.label(name)}"))
        return
    cells = [dict(_cells(row)) for row in rows]
    widths, left_out = columns.fitting(cells, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, width in widths.items():
        table.add_column(Text(units.label(key)), width=width, overflow="fold")
    for row in cells:
        table.add_row(*(Text(row.get(key, units.NOTHING)) for key in widths))
    console.print(table)
    if left_out:
        said = f"columns that do not fit: {left_out}; --json has them"
        console.print(Text(said), style="dim")


def _cells(row: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(row, dict):  # one made of names that the application chose
        yield from ((units.harmless(str(key)), units.value("", one)) for key, one in row.items())
        return
    for name in type(row).model_fields:
        value = getattr(row, name)
        if name in DETAILS or _is_unshown(name, value):
            continue
        if isinstance(value, BaseModel) and depth == 0:
            yield from _cells(value, depth + 1)
        elif not isinstance(value, dict):
            yield name, units.value(name, value)
