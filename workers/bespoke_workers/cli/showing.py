"""Results as people read them: tables for listings, names and values for single answers."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bespoke_schemas import Result
from bespoke_workers.cli import columns, units

UNSHOWN = {"state", "records"}
"""Fields that may be large and are whole only as JSON: states, and memories in bulk."""
DETAILS = {
    "fingerprint", "parent_id", "updated_at", "last_accessed_at", "renewed_at", "run_id", "kept_id",
}  # fmt: skip
"""Fields that a table leaves out; the answer to one id has them."""
PIPED_WIDTH = 100_000
"""Characters of a line that goes to a program and not to a terminal: it is never wrapped."""
ROWS = 20  # of a mapping within an answer

Pair = tuple[str, Any]


def print_result(result: Result, console: Console | None = None) -> None:
    """Print a result on the standard output; without colours and wrapping if it is piped."""
    console = console or _console()
    tables: list[tuple[str, Sequence[BaseModel]]] = []
    pairs: list[Pair] = []
    for name, value in _fields(result):
        if _is_listing(result, name, value):
            tables.append((name, value))
        else:
            pairs.extend(_pairs(name, value))
    with console.capture() as printed:
        for name, rows in tables:
            _print_table(console, name, rows)
        if pairs:
            _print_pairs(console, pairs)
    lines = printed.get().splitlines()  # each padded to the width of its column
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines))


def _console() -> Console:
    piped = not sys.stdout.isatty()
    return Console(width=PIPED_WIDTH if piped else None, highlight=False, emoji=False, markup=False)


def _is_listing(result: Result, name: str, value: object) -> bool:
    if name in UNSHOWN or not isinstance(value, tuple | list):
        return False
    if value:
        return isinstance(value[0], BaseModel)
    return "total" in type(result).model_fields or len(type(result).model_fields) == 1


def _fields(model: BaseModel) -> Iterator[Pair]:
    return ((name, getattr(model, name)) for name in type(model).model_fields)


def _pairs(name: str, value: Any) -> Iterator[Pair]:
    """Yield names and values; what lies within a model or a mapping, each by itself."""
    if name in UNSHOWN and value:
        yield name, "not shown; --json and -o FILE have it"
    elif isinstance(value, BaseModel):
        inner = [(key, one) for key, one in _fields(value) if one is not None]
        alone = name in {"version", "memory"}  # what was asked for: no prefix
        for key, one in inner:
            for below, said in _pairs(key, one):
                yield (below if alone else f"{name} {below}"), said
    elif isinstance(value, dict) and value and all(_is_plain(one) for one in value.values()):
        for key, one in list(value.items())[:ROWS]:
            yield f"{name} {units.harmless(str(key))}", one
        if len(value) > ROWS:
            yield name, f"{len(value) - ROWS} more; --json has them"
    else:
        yield name, value


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


def _print_table(console: Console, name: str, models: Sequence[BaseModel]) -> None:
    if not models:
        console.print(Text(f"no {units.label(name)}"))
        return
    cells = [dict(_cells(row)) for row in models]
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


def _cells(row: BaseModel, depth: int = 0) -> Iterator[tuple[str, str]]:
    for name, value in _fields(row):
        if name in UNSHOWN or name in DETAILS:
            continue
        if isinstance(value, BaseModel) and depth == 0:
            yield from _cells(value, depth + 1)
        elif not isinstance(value, dict):
            yield name, units.value(name, value)
