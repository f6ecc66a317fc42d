"""Relevance judges by the documents' formula, or by a function that the application registered."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

import bespoke_workers
from bespoke_workers import modules
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.memories import scoring
from bespoke_workers.memories.plan import Row, plan
from bespoke_workers.memories.policy import Policy
from bespoke_workers.memories.scoring import ScoringFailed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def scorings_of_their_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(sys.modules)
    monkeypatch.setattr(scoring, "_registered", dict(scoring._registered))
    monkeypatch.setattr(scoring, "_modules", set())
    monkeypatch.setattr(modules, "_imported", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def rows() -> list[Row]:
    """A hundred memories, one a day, the last of them just now; the oldest forty are read."""
    return [
        Row(UUID(int=i + 1), NOW - timedelta(days=99 - i), access_count=9 * (i < 40))
        for i in range(100)
    ]


def pruned(name: str, *, lenient: bool = False) -> list[int]:
    policy = Policy(max_age_days=365, scoring=name)
    return [one.int for one in plan(rows(), policy, NOW, lenient=lenient).relevance]


def test_a_registered_function_says_what_goes() -> None:
    @scoring.scoring("recent")
    def recent(access_count: int, most_accessed: int, age_days: float) -> float:
        assert most_accessed == 9
        assert access_count in (0, 9)
        return -age_days

    assert pruned("recent") == list(range(1, 21))
    assert pruned("default") == list(range(41, 61))
    assert recent(9, 9, 2.0) == -2.0
    assert bespoke_workers.scoring is scoring.scoring


def test_a_module_of_the_application_is_imported_for_a_name_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worths.py").write_text(
        "import bespoke_workers\n"
        "bespoke_workers.scoring('constant')(lambda access_count, most_accessed, age_days: 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    scoring.look_in(["worths"])
    assert "worths" not in sys.modules
    assert scoring.get("default")(0, 0, 0.0) == 0.3
    assert "worths" not in sys.modules

    assert pruned("constant") == list(range(1, 21))
    assert scoring.names() == ["constant", "default"]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(Refused) as refusal:
        scoring.get("bold")
    assert str(refusal.value) == (
        "unknown scoring 'bold'; registered: default; "
        "set BESPOKE_PROGRAMS to the module that registers it"
    )


def test_a_name_belongs_to_one_function() -> None:
    def other(access_count: int, most_accessed: int, age_days: float) -> float:
        return 0.0

    scoring.scoring("mine")(other)
    scoring.scoring("mine")(other)
    with pytest.raises(Misconfigured, match=r"scoring 'default' is registered by .*compaction"):
        scoring.scoring("default")(other)
    with pytest.raises(Misconfigured, match="a scoring's name is text"):
        scoring.scoring(" ")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (float("nan"), "answered nan, expected a finite number"),
        (float("inf"), "answered inf, expected a finite number"),
        (None, "raised TypeError"),
        ("secret", "raised ValueError"),
    ],
    ids=["nan", "infinite", "none", "text"],
)
def test_what_is_no_number_fails_and_a_lenient_plan_goes_on_without_it(
    answer: object, told: str
) -> None:
    @scoring.scoring("odd")
    def odd(access_count: int, most_accessed: int, age_days: float) -> float:
        return answer  # type: ignore[return-value]  # what a careless function may return

    with pytest.raises(ScoringFailed) as failed:
        pruned("odd")
    assert told in str(failed.value)
    assert "secret" not in str(failed.value)
    assert "test_scoring." in str(failed.value)

    policy = Policy(max_age_days=70, scoring="odd")
    planned = plan(rows(), policy, NOW, lenient=True)
    assert (len(planned.age), planned.relevance, planned.pause) == (29, (), 14)
    assert str(planned.failure) == str(failed.value)


def test_a_name_that_is_gone_fails_only_where_it_is_needed() -> None:
    assert plan(rows()[:49], Policy(scoring="gone"), NOW).relevance == ()
    with pytest.raises(ScoringFailed, match="scoring 'gone': unknown scoring 'gone'"):
        pruned("gone")
    assert pruned("gone", lenient=True) == []
