"""Log lines: JSON away from a terminal, and never an exception's message."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from bespoke_workers.observe import logging as ours

SECRET = "my-secret-diagnosis"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error as a file, with our logging on it."""
    paper = io.StringIO()
    monkeypatch.setattr(sys, "stderr", paper)
    ours.configure()
    return paper


def lines(paper: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in paper.getvalue().splitlines()]


def fail() -> None:
    raise KeyError(SECRET)


def test_both_kinds_of_loggers_write_one_json_line_for_each_event(paper: io.StringIO) -> None:
    structlog.get_logger("bespoke.jobs").info("stored", count=3)
    logging.getLogger("celery.worker").warning("lost %s", "a worker")

    first, second = lines(paper)
    assert first.pop("timestamp").endswith("Z")
    assert first == {"event": "stored", "count": 3, "level": "info", "logger": "bespoke.jobs"}
    assert second["event"] == "lost a worker"
    assert second["level"] == "warning"
    assert second["logger"] == "celery.worker"


def test_every_line_of_a_job_names_the_job(paper: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(job="1f", task="bespoke.memories.store", user="u-1")
    structlog.get_logger("bespoke.jobs").info("stored")
    logging.getLogger("somebody.else").info("hello")

    for line in lines(paper):
        assert (line["job"], line["task"], line["user"]) == ("1f", "bespoke.memories.store", "u-1")


@pytest.mark.parametrize("name", ["structlog", "standard"])
@pytest.mark.parametrize("way", ["exception", "exc_info", "the exception"])
def test_an_exception_s_message_is_never_logged(paper: io.StringIO, name: str, way: str) -> None:
    logger = (structlog.get_logger if name == "structlog" else logging.getLogger)("somebody")
    try:
        fail()
    except KeyError as error:
        if way == "exception":
            logger.exception("it failed")
        elif way == "exc_info":
            logger.error("it failed", exc_info=True)  # noqa: G201  # a way of its own
        else:
            logger.error("it failed", exc_info=error)

    assert SECRET not in paper.getvalue()
    (line,) = lines(paper)
    assert line["event"] == "it failed"
    assert line["error"] == "KeyError"
    assert line["places"][-1].endswith(" fail")
    assert "test_logging.py:" in line["places"][-1]


def test_causes_and_notes_are_not_logged_either(paper: io.StringIO) -> None:
    try:
        try:
            fail()
        except KeyError as error:
            later = ValueError("innocent")
            later.add_note(SECRET)
            raise later from error
    except ValueError:
        logging.getLogger("somebody").exception("it failed")

    assert SECRET not in paper.getvalue()
    assert lines(paper)[0]["error"] == "ValueError"


def test_a_terminal_gets_text(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = Terminal()
    monkeypatch.setattr(sys, "stderr", paper)
    ours.configure()

    try:
        fail()
    except KeyError:
        structlog.get_logger("bespoke.jobs").exception("it failed", count=3)

    assert "it failed" in paper.getvalue()
    assert "KeyError" in paper.getvalue()
    assert SECRET not in paper.getvalue()
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(paper.getvalue())


def test_the_level_counts_and_chatty_libraries_stay_quiet(paper: io.StringIO) -> None:
    structlog.get_logger("bespoke.jobs").debug("too fine")
    logging.getLogger("httpx").info("GET http://127.0.0.1/?key=%s", SECRET)
    logging.getLogger("sqlalchemy.engine").info("INSERT %s", SECRET)

    assert paper.getvalue() == ""


def test_places_lead_to_the_line_and_hold_no_message() -> None:
    try:
        fail()
    except KeyError as error:
        found = ours.places(error)

    assert len(found) == 2
    assert SECRET not in str(found)


def test_configuring_twice_does_not_write_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = io.StringIO()
    monkeypatch.setattr(sys, "stderr", paper)
    ours.configure()
    ours.configure()
    logging.getLogger("somebody").warning("once")

    assert len(lines(paper)) == 1
