"""What holds for the tests themselves: the same on each machine, and files that can be read."""

import sys
from pathlib import Path

import hypothesis
import pytest

from tests.nodes.waiting import SECONDS

TESTS = Path(__file__).resolve().parents[1]
LONGEST = 400  # lines


def test_examples_are_drawn_alike_however_slow_the_machine() -> None:
    profile = hypothesis.settings.get_profile("repeatable")
    assert profile.derandomize
    assert profile.deadline is None
    assert hypothesis.HealthCheck.too_slow in profile.suppress_health_check


def test_a_wait_fails_before_the_test_is_ended(request: pytest.FixtureRequest) -> None:
    timeout = request.config.getini("timeout")
    assert float(timeout) > 2 * SECONDS


def test_what_is_imported_is_compiled_once() -> None:
    assert not sys.dont_write_bytecode


def test_no_file_is_too_long_to_be_read() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in TESTS.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}
