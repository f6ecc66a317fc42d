"""Which columns of a table fit on a line, and how wide they are. Ids are never cut."""

from rich.cells import cell_len

from bespoke_workers.cli import units

Row = dict[str, str]
GAP = 2  # characters between columns
TEXT_WIDTH = 16  # characters to which a column of texts may be squeezed


def fitting(rows: list[Row], width: int) -> tuple[dict[str, int], int]:
    """Return the widths of the columns that fit on a line, and how many were left out for it.

    Columns without any value are no columns. What is left out first is the last one that is
    neither an id in the first place nor a text.
    """
    names = list(dict.fromkeys(key for row in rows for key in row))
    names = [one for one in names if any(row.get(one, "") != units.NOTHING for row in rows)]
    widest = {name: max(cell_len(text) for text in _texts(name, rows)) for name in names}
    texts = {name for name in names if _is_text(name, rows)}
    widths = {name: min(TEXT_WIDTH, most) if name in texts else most
              for name, most in widest.items()}  # fmt: skip
    dropped = 0
    while _line(widths) > width and (rest := [one for one in names[1:] if one not in texts]):
        names.remove(rest[-1])
        del widths[rest[-1]]
        dropped += 1
    for name in names:
        if name in texts:
            widths[name] += max(0, min(width - _line(widths), widest[name] - widths[name]))
    return widths, dropped


def _line(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _texts(name: str, rows: list[Row]) -> list[str]:
    return [units.label(name), *(row.get(name, units.NOTHING) for row in rows)]


def _is_text(name: str, rows: list[Row]) -> bool:
    """Whether a column may be wrapped: some value has words, and is no point in time."""
    return not name.endswith("_at") and any(" " in row.get(name, "") for row in rows)
