"""Answers are tables and lines that people read, and never act on their terminal."""

import io
import shlex
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bespoke_schemas import Result, examples, memories, optimization, payload_types, programs
from bespoke_schemas.jobs import Progress
from bespoke_workers.cli import bars, units
from bespoke_workers.cli.asking import Look
from bespoke_workers.cli.payload_commands import command, payload_of
from bespoke_workers.cli.showing import PIPED_WIDTH, print_result
from tests.unit.strategies import _fields as results

RESULTS = {kind.result_type for kind in payload_types().values()}
ID = UUID("01a1fd55-0000-7000-8000-000000000000")
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def shown(result: Result, width: int = PIPED_WIDTH) -> str:
    paper = io.StringIO()
    print_result(result, Console(file=paper, width=width, highlight=False, markup=False))
    return paper.getvalue()


def memory(content: str) -> memories.Memory:
    return memories.Memory(
        id=ID, content=content, kind="fact", tags=("ui", "look"), metadata={}, created_at=NOW,
        updated_at=NOW, access_count=12_345, last_accessed_at=None,
    )  # fmt: skip


def version(**fields: Any) -> programs.Version:
    known: dict[str, Any] = dict.fromkeys(programs.Version.model_fields) | {
        "program_id": ID, "program": "support", "signature": "text -> label", "score": 0.91234,
        "state": {"secret": "diagnosis"}, "optimization_result": {}, "tags": ("nightly",),
        "description": "", "metadata": {"python": "3.12"}, "fingerprint": "f00", "saved_at": NOW,
        "size_bytes": 12_345,
    }  # fmt: skip
    return programs.Version.model_validate(known | fields)


def test_a_listing_is_a_table_and_what_stands_beside_it() -> None:
    head, row, total = shown(
        memories.Listed(memories=(memory("Prefers dark mode"),), total=7)
    ).splitlines()

    assert head.split()[:3] == ["id", "content", "kind"]
    assert row.split()[:4] == [str(ID), "Prefers", "dark", "mode"]
    assert "ui, look" in row
    assert "12,345" in row
    assert total.split() == ["total", "7"]


def test_a_listing_of_nothing_says_so() -> None:
    assert shown(memories.Listed(memories=(), total=0)).splitlines()[0] == "no memories"
    assert shown(memories.Found(matches=())) == "no matches\n"


def test_a_single_answer_is_names_and_values() -> None:
    lines = shown(examples.Added(added=3, duplicates=1, total=4)).splitlines()

    assert [line.split() for line in lines] == [
        ["added", "3"], ["duplicates", "1"], ["total", "4"], ["removed", "0"],
    ]  # fmt: skip


def test_what_is_missing_is_an_answer() -> None:
    assert shown(programs.Loaded(version=None)).splitlines()[0].split() == ["version", "-"]


def test_a_state_is_not_shown_and_said_where_it_is() -> None:
    told = shown(programs.Loaded(version=version()))

    assert "diagnosis" not in told
    assert "not shown; --json and -o FILE have it" in told
    assert "0.912" in told
    assert "12.3 kB" in told
    assert '{"python": "3.12"}' not in told
    assert "metadata python" in told


def test_the_cursor_of_the_next_page_can_be_given_as_it_is_told() -> None:
    cursor = programs.Cursor(saved_at=NOW, program_id=ID)

    told = shown(programs.Found(versions=(), next=cursor)).splitlines()[-1]

    given = shlex.split(told.removeprefix("next"))
    asked = command("find", programs.Find)
    payload = payload_of(programs.Find, asked.make_context("find", given).params)
    assert isinstance(payload, programs.Find)
    assert payload.after == cursor


def test_listings_deep_in_an_answer_are_tables_of_their_own() -> None:
    point = programs.Point(
        program_id=ID, saved_at=NOW, score=0.5, optimizer=None, promoted=True, active=True
    )
    trend = programs.Trend(
        improvement_percentage=None, first_score=0.5, last_score=0.5, best_score=0.5, count=1,
        points=(point,),
    )  # fmt: skip
    summary = programs.Summary(
        total_programs=1, avg_score=0.5, best_score=0.5, best=ID, first_saved_at=NOW,
        last_saved_at=NOW,
    )  # fmt: skip
    history = programs.ProgramHistory(
        summary=summary,
        optimizer_stats={},
        trends=programs.Trends(improvement_percentage=None, programs={"support": trend}),
    )

    head, row, *rest = shown(history).splitlines()

    assert head.split()[:2] == ["program", "id"]
    assert row.startswith(str(ID))
    assert any(line.split() == ["summary", "total", "programs", "1"] for line in rest)


def test_a_table_fits_the_terminal_by_leaving_columns_out() -> None:
    listed = memories.Listed(memories=(memory("Prefers dark mode in the evening"),), total=1)

    lines = shown(listed, width=76).splitlines()

    assert all(len(line) <= 76 for line in lines)
    assert str(ID) in lines[1]
    assert "Prefers" in lines[1]
    assert "columns that do not fit: 2; --json has them" in lines


def test_what_a_user_said_does_nothing_to_a_terminal() -> None:
    told = shown(memories.Got(memory=memory("a\x1b[31mb\x07c\u202ed [red]e[/red]\nf\x9bg")))

    assert r"a\x1b[31mb\x07c\x202ed [red]e[/red] f\x9bg" in told


@pytest.mark.parametrize("kind", sorted(RESULTS, key=str))
@given(drawing=st.data())
@settings(max_examples=5)
def test_every_answer_can_be_shown(kind: type[Result], drawing: st.DataObject) -> None:
    answer = kind.model_validate(drawing.draw(results(kind)))

    for width in (60, PIPED_WIDTH):
        told = shown(answer, width)
        assert told.strip()
        assert not {"\x1b", "\x07", "\x9b"} & set(told)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("size_bytes", 0, "0 B"),
        ("size_bytes", 999, "999 B"),
        ("size_bytes", 1_500, "1.5 kB"),
        ("size_bytes", 999_999, "1.0 MB"),
        ("size_bytes", 123_456_789, "123 MB"),
        ("cost_usd", 0.01234, "$0.0123"),
        ("seconds", 0.5, "0.5 s"),
        ("seconds", 59.99, "60 s"),
        ("seconds", 83, "1 min 23 s"),
        ("age_hours", 2.5, "2 h 30 min"),
        ("age_difference_hours", -50, "-2 d 2 h"),
        ("count", 1_234_567, "1,234,567"),
        ("score", 0.123456, "0.123"),
        ("score", 1.0, "1.000"),
        ("improvement_percentage", 12_345.6, "12,345.6"),
        ("similarity", 0.0, "0"),
        ("active", True, "yes"),
        ("saved_at", NOW, "2026-01-31 12:00:00"),
        ("tags", (), "-"),
        ("program_ids", (ID, ID), f"{ID}, {ID}"),
    ],
)
def test_a_value_is_told_in_its_unit(name: str, given: object, told: str) -> None:
    assert units.value(name, given) == told


def bar_after(looks: list[Look], monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    monkeypatch.setattr(bars, "SHOW_AFTER_SECONDS", 0.0)
    paper = io.StringIO()
    with bars.Bar(Console(file=paper, force_terminal=terminal, width=100)) as bar:
        for look in looks:
            bar(look)
    return paper.getvalue()


def test_a_bar_tells_how_far_an_optimization_is(monkeypatch: pytest.MonkeyPatch) -> None:
    far = Progress(step="compiling", done=3, total=8, best_score=0.75, lm_calls=42, cost_usd=0.5)

    told = bar_after([Look("PENDING"), Look("PROGRESS", "t", far)], monkeypatch, terminal=True)

    assert "compiling" in told
    assert "3/8 · best 0.750 · 42 LM calls · $0.5000" in told


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    far = Look("PROGRESS", "t", Progress(step="compiling"))
    again = Look("RETRY", reason="PostgreSQL cannot be reached")

    told = bar_after([far, again, again], monkeypatch, terminal=False)

    assert told == "bespoke: not done yet, and tried again: PostgreSQL cannot be reached\n"


def test_an_optimization_is_told_line_by_line() -> None:
    told = shown(
        optimization.Optimized(
            user_id="ada", program="support", examples=60, tier="advanced",
            optimizer="BootstrapFewShot", score_before=0.5, score_after=0.75, promoted=True,
            program_id=ID, reason="better", lm_calls=1200, cost_usd=1.5, seconds=125,
        )
    )  # fmt: skip

    assert "2 min 5 s" in told
    assert "$1.5000" in told
