"""Every payload is a command, and what it is given there is the payload that is sent."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from bespoke_schemas import Payload, examples, jobs, memories, payload_types, programs
from bespoke_workers.cli import main, parameters, places
from bespoke_workers.cli.parameters import Shape
from bespoke_workers.cli.payload_commands import command, payload_of
from tests.unit.strategies import payloads

TYPES = payload_types()
EACH = pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)


def parsed(kind: type[Payload[Any]], *line: str) -> Payload[Any]:
    """Return the payload that a command line means."""
    made = command("asked", kind)
    return payload_of(kind, made.make_context("asked", list(line)).params)


def refused(kind: type[Payload[Any]], *line: str) -> str:
    """Return what is said of a wrong command line."""
    with pytest.raises(click.UsageError) as error:
        parsed(kind, *line)
    return error.value.format_message()


def line_of(payload: Payload[Any], directory: Path) -> list[str]:
    """Return the command line that means a payload."""
    kind = type(payload)
    made = {param.name: param for param in parameters.parameters(kind)}
    options, arguments = ["--id", str(payload.id)], []
    for name, param in made.items():
        value = getattr(payload, str(name), None)
        if isinstance(param, click.Argument):
            arguments += words(kind.model_fields[str(name)], value, directory)
        elif name in kind.model_fields and value is not None:
            options += option(kind, str(name), value, directory)
    return [*options, "--", *arguments]


def option(kind: type[Payload[Any]], name: str, value: Any, directory: Path) -> Iterator[str]:
    info, switch = kind.model_fields[name], parameters.shown(kind, name)
    form = parameters.shape(info)
    if form is Shape.FLAG:
        yield from [] if info.default is value else [switch if value else f"--no-{switch[2:]}"]
    elif form is Shape.MANY and not value and parameters.nullable(info):
        yield f"--no-{name}"
    else:
        for word in words(info, value, directory):
            yield from (switch, word)


def words(info: Any, value: Any, directory: Path) -> list[str]:
    form = parameters.shape(info)
    if form is Shape.MANY:
        return [text(one) for one in value]
    if form is not Shape.LINES:
        return [text(value)]
    path = directory / "lines.jsonl"
    path.write_text("".join(f"{text(one)}\n" for one in value))
    return [str(path)]


def text(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, dict):
        return json.dumps(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@EACH
def test_every_payload_is_a_command_or_says_why_it_is_none(kind: type[Payload[Any]]) -> None:
    listed = {one.task for group in places.GROUPS for one in places.commands(group).values()}

    alone = set(places.OWN.values())
    assert (kind.task in listed | alone) is (kind.task not in places.NOT_COMMANDS)


def test_only_payloads_that_exist_are_kept_from_being_commands() -> None:
    assert set(places.NOT_COMMANDS) <= set(TYPES)
    assert set(places.OWN.values()) <= set(TYPES)
    assert set(places.OWN_HELP) == set(places.OWN)


@EACH
@given(drawing=st.data())
@settings(max_examples=8)
def test_a_command_line_means_the_payload_that_it_was_made_of(
    kind: type[Payload[Any]], drawing: st.DataObject
) -> None:
    payload = drawing.draw(payloads(kind))

    with tempfile.TemporaryDirectory() as directory:
        assert parsed(kind, *line_of(payload, Path(directory))) == payload


@EACH
def test_no_two_parameters_of_a_command_share_a_name(kind: type[Payload[Any]]) -> None:
    made = command("asked", kind).params
    switches = [name for one in made for name in (*one.opts, *one.secondary_opts)]
    names = [one.name for one in made]

    assert len(set(switches)) == len(switches)
    assert len(set(names)) == len(names)


@EACH
def test_help_names_fields_as_the_command_line_does(kind: type[Payload[Any]]) -> None:
    made = command("asked", kind)

    told = made.get_help(click.Context(made))

    assert "`" not in told
    assert str(kind.__doc__).split()[0] in told


def test_what_is_required_is_given_by_place_the_user_first() -> None:
    joined = parsed(memories.Join, "ada", "family")

    assert isinstance(joined, memories.Join)
    assert (joined.user_id, joined.space) == ("ada", "family")


def test_an_option_that_is_given_twice_is_two_values() -> None:
    stored = parsed(memories.Store, "ada", "Likes tea", "--tag", "food", "--tag", "drink")

    assert isinstance(stored, memories.Store)
    assert stored.tags == ("food", "drink")


def test_a_tuple_can_be_left_as_it_is_or_be_emptied() -> None:
    some = "01a1fd55-0000-7000-8000-000000000000"
    left = parsed(memories.Update, "ada", some, "--kind", "fact")
    emptied = parsed(memories.Update, "ada", some, "--no-tags")

    assert isinstance(left, memories.Update)
    assert isinstance(emptied, memories.Update)
    assert (left.tags, emptied.tags) == (None, ())


def test_a_time_without_a_zone_is_in_utc() -> None:
    listed = parsed(memories.ListArchived, "ada", "--since", "2026-01-31T12:00")

    assert isinstance(listed, memories.ListArchived)
    assert str(listed.since) == "2026-01-31 12:00:00+00:00"
    assert "no time" in refused(memories.ListArchived, "ada", "--since", "yesterday")


def test_an_object_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"label": {"demos": []}}')

    saved = parsed(programs.Save, "support", f"@{path}")

    assert isinstance(saved, programs.Save)
    assert saved.state == {"label": {"demos": []}}
    assert "cannot be read (No such file" in refused(programs.Save, "support", f"@{path}.gone")
    assert "is not JSON" in refused(programs.Save, "support", "{demos}")


def test_many_objects_come_from_a_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"text": "one\u2028line", "label": "a"}\n\n{"text": "two", "label": "b"}\n')

    added = parsed(examples.AddMany, "ada", "support", "--from", str(path))

    assert isinstance(added, examples.AddMany)
    assert [one["text"] for one in added.examples] == ["one\u2028line", "two"]


def test_a_wrong_line_of_a_file_is_named_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "memories.jsonl"
    path.write_text('{"content": "fine"}\n{"secret": "diagnosis"}\n')

    wrong = refused(memories.StoreMany, "ada", "--from", str(path))
    path.write_text('{"content": "fine"}\n{"secret: diagnosis\n')
    broken = refused(memories.StoreMany, "ada", "--from", str(path))

    assert wrong == "Invalid value for '--from': object 2: content: Field required"
    assert broken == "Invalid value for '--from': line 2 is not JSON; give one object to a line"


def test_a_value_out_of_bounds_is_named_as_it_was_given() -> None:
    told = refused(memories.List, "ada", "--limit", "5000")

    assert told == "Invalid value for '--limit': Input should be less than or equal to 1000"
    assert refused(memories.Search, " ", "tea").startswith("Invalid value for 'USER': ")


def test_what_fields_mean_together_is_checked_before_anything_is_sent() -> None:
    assert "either memory_id or content" in refused(memories.FindSimilar, "ada")


@pytest.mark.parametrize("group", [*places.GROUPS, *places.OWN])
def test_each_group_explains_itself(group: str) -> None:
    told = CliRunner().invoke(main, [group, "--help"])

    assert told.exit_code == 0
    for name in places.commands(group):
        assert f"\n  {name} " in told.output


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("bespoke_workers.cli", {"celery", "sqlalchemy", "dspy", "faiss", "rich", "redis"}),
        ("bespoke_workers.app", {"sqlalchemy", "dspy", "faiss"}),
    ],
)
def test_nothing_is_imported_that_only_a_job_needs(module: str, unneeded: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert module in done.stdout.split()
    assert not unneeded & set(done.stdout.split())


def test_what_removes_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESPOKE_BROKER_URL", "redis://127.0.0.1:1/0")  # nobody is there to ask
    run = CliRunner().invoke

    for answer in ("n\n", ""):
        told = run(main, ["memories", "clear", "ada"], input=answer)
        assert (told.exit_code, told.stdout) == (1, "")
        assert "nothing was removed; confirm it, or give --yes" in told.stderr
    for line, answer in (["--yes"], ""), ([], "y\n"):
        told = run(main, ["memories", "clear", "ada", *line], input=answer)
        assert "BESPOKE_BROKER_URL: Redis cannot be reached" in told.stderr


def test_a_dry_run_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESPOKE_BROKER_URL", "redis://127.0.0.1:1/0")

    told = CliRunner().invoke(main, ["programs", "cleanup", "--dry-run"])

    assert "Redis cannot be reached" in told.stderr


def test_only_what_removes_is_confirmed() -> None:
    confirmed = {task for task, kind in TYPES.items() if places.is_confirmed(kind)}

    assert {"bespoke.memories.clear", "bespoke.memories.delete"} <= confirmed
    assert not confirmed & {"bespoke.memories.store", "bespoke.memories.list", jobs.Cancel.task}


def test_an_answer_goes_to_no_file_whose_directory_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "answer.json"

    assert "there is no directory" in refused(memories.Count, "ada", "-o", str(path))
