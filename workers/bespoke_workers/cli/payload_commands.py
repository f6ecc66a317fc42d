"""Makes a command out of a payload: its parameters, its help, and what is done with the answer."""

import contextlib
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from pydantic import ValidationError

from bespoke_schemas import Payload, payload_type
from bespoke_workers import settings
from bespoke_workers.cli import asking, parameters, places, showing, units
from bespoke_workers.cli.bars import Bar, note
from bespoke_workers.errors import BespokeError

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""
OWN = "own_"
"""Stands before the names of what every command takes, so that no field has one of them."""
PRIVATE = 0o600  # an answer may hold a user's memories


def command(name: str, kind: type[Payload[Any]]) -> click.Command:
    """Return the command that asks for a payload's job."""
    own = [*_asking_options(kind), *_answer_options()]
    if places.is_confirmed(kind):
        own.append(click.Option(["--yes", f"{OWN}yes"], is_flag=True, help="Do not ask first."))
    return click.Command(
        name,
        params=[*parameters.parameters(kind), *own],
        callback=partial(_ask, kind),
        help=_help(kind),
    )


def watch() -> click.Command:
    """Return the command that waits for a job that was asked for before."""
    timeout = _timeout("Give up waiting after so many seconds; else never.")
    return click.Command(
        "watch",
        params=[click.Argument(["job_id"], type=click.UUID), timeout, *_answer_options()],
        callback=_watch,
        help="Wait for a job, whoever asked for it, and print its answer.\n\n"
        "Answers are kept for BESPOKE_RESULT_TTL_HOURS. An unknown job looks as if it waited.",
    )


def payload_of(kind: type[Payload[Any]], values: dict[str, Any]) -> Payload[Any]:
    """Return the payload that parameters' values mean. Raises click.BadParameter."""
    given: dict[str, Any] = {}
    for name, info in parameters.fields(kind).items():
        value = values.get(name)
        if values.get(parameters.emptied(name)):
            given[name] = ()
        # To click, options that were not repeated even once are an empty tuple.
        elif value is not None and (value or parameters.shape(info) is not parameters.Shape.MANY):
            given[name] = value
    if values.get(f"{OWN}id") is not None:
        given["id"] = values[f"{OWN}id"]
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _wrong(kind, error) from None


def _ask(kind: type[Payload[Any]], /, **values: Any) -> None:
    own = {key.removeprefix(OWN): one for key, one in values.items() if key.startswith(OWN)}
    payload = payload_of(kind, values)
    is_dry = getattr(payload, "dry_run", False)
    if places.is_confirmed(kind) and not own["yes"] and not is_dry:
        _confirm()
    if own["no_wait"] and own["output"]:
        raise click.UsageError("--no-wait leaves nothing to write; leave out one of it and -o")
    config = settings.load()
    asking.prepare(config)
    with leaving(payload.id), Bar() as bar:
        asking.send(payload)
        if own["no_wait"]:
            click.echo(json.dumps({"job_id": str(payload.id)}) if own["json"] else str(payload.id))
            return
        look = asking.answer_to(payload, config, timeout=own["timeout"], tell=bar)
    _print(look, as_json=own["json"], output=own["output"])


def _watch(job_id: UUID, **values: Any) -> None:
    own = {key.removeprefix(OWN): one for key, one in values.items()}
    asking.prepare(settings.load())
    with leaving(job_id), Bar() as bar:
        look = asking.wait(job_id, timeout=own["timeout"], tell=bar)
    _print(look, as_json=own["json"], output=own["output"])


@contextlib.contextmanager
def leaving(job_id: UUID) -> Iterator[None]:
    """Let Ctrl-C end the waiting, and not the job."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"job {job_id} goes on: {asking.how_to_find(job_id)}")
        sys.exit(INTERRUPTED)


def _confirm() -> None:
    path = click.get_current_context().command_path
    try:
        agreed = click.confirm(f"{path} removes; go on?", err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise BespokeError("nothing was removed; confirm it, or give --yes")


def _print(look: asking.Look, *, as_json: bool, output: Path | None) -> None:
    answer = json.dumps(look.answer)
    if output is not None:
        note(f"wrote {units.size(_write(output, answer))} to {output}")
    elif as_json:
        click.echo(answer)
    else:
        kind = payload_type(look.task or "")
        if kind is None:
            raise BespokeError(f"the job's task {look.task!r} is not known here; give --json")
        showing.print_result(kind.result_type.model_validate(look.answer))


def _write(path: Path, text: str) -> int:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            return file.write(text + "\n")
    except OSError as error:
        raise BespokeError(f"{path}: cannot be written ({error.strerror})") from None


def _wrong(kind: type[Payload[Any]], error: ValidationError) -> click.BadParameter:
    """Return the first of a payload's problems in the words of the command line."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    place = [str(part) for part in first["loc"] if part in kind.model_fields]
    if not place:
        return click.BadParameter(said)
    within = first["loc"][1:]
    if within and parameters.shape(kind.model_fields[place[0]]) is parameters.Shape.LINES:
        said = f"object {int(within[0]) + 1}: {': '.join([*map(str, within[1:]), said])}"
    return click.BadParameter(said, param_hint=repr(parameters.shown(kind, place[0])))


def _help(kind: type[Payload[Any]]) -> str:
    """Return a payload's docstring with its fields named as on the command line."""

    def said(match: re.Match[str]) -> str:
        name = match.group(1)
        return parameters.shown(kind, name) if name in kind.model_fields else name

    return re.sub(r"``([^`]+)``", said, inspect.getdoc(kind) or "").replace("`", "")


def _asking_options(kind: type[Payload[Any]]) -> list[click.Option]:
    otherwise = "else never" if kind.queue in asking.LONG else f"else {asking.WAIT_SECONDS:.0f}"
    return [
        _timeout(f"Give up waiting after so many seconds; {otherwise}."),
        click.Option(
            ["--no-wait", f"{OWN}no_wait"], is_flag=True, help="Print the job's id and end."
        ),
        click.Option(
            ["--id", f"{OWN}id"], type=click.UUID, help="The job's id: the same twice is one job."
        ),
    ]


def _timeout(text: str) -> click.Option:
    positive = click.FloatRange(min=0, min_open=True)
    return click.Option(["--timeout", f"{OWN}timeout"], type=positive, help=text)


def _answer_options() -> list[click.Option]:
    return [
        click.Option(
            ["--json", f"{OWN}json"], is_flag=True, help="Print the answer as one JSON document."
        ),
        click.Option(
            ["-o", "--output", f"{OWN}output"],
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            callback=_with_a_directory,
            help="Write the answer as JSON to a file.",
        ),
    ]


def _with_a_directory(
    context: click.Context, param: click.Parameter, path: Path | None
) -> Path | None:
    """Refuse at once a file that can only be found impossible when the job is done."""
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {str(path.parent)!r}", context, param)
    return path
