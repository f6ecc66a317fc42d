"""Events reach whoever subscribed, name no user and cannot fail a job."""

import subprocess
import sys
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from bespoke_workers.observe import events, logging
from bespoke_workers.observe.events import Event

NAME = "dspy.memory.size_compaction"
SECRET = "my-secret-diagnosis"


@pytest.fixture(autouse=True)
def fresh_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the logger that an earlier test's configuration may have cached."""
    structlog.reset_defaults()
    monkeypatch.setattr(events, "_log", logging.quiet("bespoke.events"))


def test_a_subscriber_is_told_of_its_events_until_it_ends_the_subscription() -> None:
    told: list[Event] = []
    end = events.subscribe(NAME, told.append)

    events.emit(NAME, removed_count=200)
    events.emit("dspy.memory.age_compaction", removed_count=1)
    end()
    events.emit(NAME, removed_count=3)

    assert told == [{"event": NAME, "removed_count": 200}]


def test_a_pattern_stands_for_every_event_whose_name_begins_so() -> None:
    told: list[str] = []
    ends = [
        events.subscribe("dspy.storage.*", lambda event: told.append(event["event"])),
        events.subscribe("*", lambda _: told.append("any")),
    ]

    for name in ("dspy.storage.delete", "dspy.storages", NAME):
        events.emit(name)
    for end in ends:
        end()

    assert told == ["dspy.storage.delete", "any", "any", "any"]


def test_a_subscription_ends_by_itself_and_may_be_ended_twice() -> None:
    told: list[Event] = []
    first, second = (events.subscribe(NAME, told.append) for _ in range(2))

    first()
    first()
    events.emit(NAME)
    second()
    events.emit(NAME)

    assert len(told) == 1


def test_the_user_is_hashed() -> None:
    told: list[Event] = []
    end = events.subscribe(NAME, told.append)

    with capture_logs() as lines:
        events.emit(NAME, user_id="ada", removed_count=1)
    end()

    assert told[0]["user"] == events.hashed("ada")
    assert lines == [
        {"event": NAME, "user": events.hashed("ada"), "removed_count": 1, "log_level": "info"}
    ]
    assert "ada" not in str(told) + str(lines)


def test_a_user_s_hash_is_stable_and_a_user_s_own() -> None:
    assert events.hashed("ada") == events.hashed("ada") == "u-15b0da4321160527"
    assert len({events.hashed(f"user-{number}") for number in range(1000)}) == 1000


def test_a_subscriber_that_fails_harms_nobody_and_its_message_is_not_logged() -> None:
    told: list[Event] = []

    def fail(_: Event) -> None:
        raise KeyError(SECRET)

    ends = [events.subscribe(NAME, fail), events.subscribe(NAME, told.append)]
    with capture_logs() as lines:
        events.emit(NAME, removed_count=1)
    for end in ends:
        end()

    assert len(told) == 1
    assert lines[1] == {
        "event": "subscriber failed", "about": NAME, "error": "KeyError", "log_level": "warning",
    }  # fmt: skip
    assert SECRET not in str(lines)


def test_a_subscriber_may_end_its_subscription_while_it_is_told() -> None:
    told: list[str] = []
    ends: list[Any] = []

    def once(_: Event) -> None:
        told.append("once")
        ends[0]()

    ends.append(events.subscribe(NAME, once))
    ends.append(events.subscribe(NAME, lambda _: told.append("always")))
    events.emit(NAME)
    events.emit(NAME)
    ends[1]()

    assert told == ["once", "always", "always"]


def test_an_event_without_subscribers_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "bespoke.events"), capture_logs() as lines:
        events.emit("dspy.storage.save_start", program="support")

    assert lines == [
        {"event": "dspy.storage.save_start", "program": "support", "log_level": "info"}
    ]


def printed(*lines: str) -> tuple[str, str]:
    """Return what a process of its own prints that uses events as an application does."""
    code = "\n".join(["from bespoke_workers.observe import events, logging", *lines])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


EMITTED = f"events.emit({NAME!r}, removed_count=1)"


def test_without_logging_nothing_is_printed_but_that_a_subscriber_failed() -> None:
    assert printed(EMITTED) == ("", "")
    out, err = printed(f"events.subscribe({NAME!r}, lambda _: 1 / 0)", EMITTED)
    assert out == ""
    assert "ZeroDivisionError" in err
    assert "removed_count" not in err


def test_a_worker_and_an_application_that_asks_for_them_see_events() -> None:
    out, err = printed("logging.configure()", EMITTED)
    assert (out, err.count("removed_count")) == ("", 1)
    basic = "import logging as python; python.basicConfig(level=python.INFO)"
    assert "removed_count" in printed(basic, EMITTED)[1]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_failure_of_a_subscriber(interrupt: type[BaseException]) -> None:
    def stop(_: Event) -> None:
        raise interrupt

    end = events.subscribe(NAME, stop)
    with pytest.raises(interrupt):
        events.emit(NAME)
    end()
