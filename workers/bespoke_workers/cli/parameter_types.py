"""Kinds of values on the command line that click does not have: times, and JSON in files."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic for type checkers, not in every click that will do

STDIN = "-"


class Moment(ParamType):
    """A point in time in ISO 8601; UTC unless it says otherwise."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time that a text names."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; give one like 2026-01-31T12:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class JsonObject(ParamType):
    """A JSON object, or ``@`` and the name of a file with one; ``-`` is the standard input."""

    name = "json|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value that a JSON text means."""
        if not isinstance(value, str):
            return value
        text = _text(self, value[1:], param, ctx) if value.startswith("@") else value
        try:
            return json.loads(text)
        except ValueError:
            self.fail("is not JSON; quote it for the shell, or give @FILE", param, ctx)


class JsonLines(ParamType):
    """The name of a file with one JSON object on each line; ``-`` is the standard input."""

    name = "file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Return the objects in a file."""
        if not isinstance(value, str):
            return tuple(value)
        found = []
        # Not splitlines(): JSON strings may hold U+2028 and the like.
        for number, line in enumerate(_text(self, value, param, ctx).split("\n"), start=1):
            if not line.strip():
                continue
            try:
                found.append(json.loads(line))
            except ValueError:
                self.fail(f"line {number} is not JSON; give one object to a line", param, ctx)
        return tuple(found)


def _text(
    kind: ParamType, name: str, param: click.Parameter | None, ctx: click.Context | None
) -> str:
    try:
        if name == STDIN:
            return sys.stdin.buffer.read().decode()
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        kind.fail(f"{name!r} cannot be read ({error.strerror})", param, ctx)
    except UnicodeDecodeError:
        kind.fail(f"{name!r} is not UTF-8", param, ctx)
