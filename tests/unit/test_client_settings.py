import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bespoke_client import AsyncClient, Client, NotConfigured
from bespoke_client.settings import Address, read_settings

URL = "redis://:secret@example.org:6380/3"


def stack(home: Path, **content: object) -> dict[str, str]:
    (home / "stack.json").write_text(json.dumps(content))
    return {"BESPOKE_HOME": str(home)}


def test_an_argument_goes_before_the_environment() -> None:
    environment = {"BESPOKE_BROKER_URL": "redis://other/0"}
    assert read_settings(URL, None, environment).broker == Address(URL, "broker_url")
    assert read_settings(None, None, environment).broker.url == "redis://other/0"


def test_results_are_where_the_broker_is_unless_said_otherwise() -> None:
    both = {"BESPOKE_BROKER_URL": URL, "BESPOKE_RESULT_URL": "redis://results/0"}
    assert read_settings(None, None, {"BESPOKE_BROKER_URL": URL}).results.url == URL
    assert read_settings(None, None, both).results.url == "redis://results/0"
    assert read_settings(None, "redis://mine/1", both).results.url == "redis://mine/1"
    assert read_settings("redis://given/0", None, both).results.url == "redis://given/0"


def test_without_a_setting_the_local_stack_is_used(tmp_path: Path) -> None:
    environment = stack(tmp_path, broker_url=URL, database_url="postgresql://x", pid=os.getpid())
    assert read_settings(None, None, environment).broker.url == URL


def test_without_anything_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"set BESPOKE_BROKER_URL .* or run `bespoke up`"):
        read_settings(None, None, {"BESPOKE_HOME": str(tmp_path)})


def test_a_local_stack_that_has_ended_is_not_used(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    environment = stack(tmp_path, broker_url=URL, pid=ended.pid)
    with pytest.raises(NotConfigured, match=f"has ended \\(process {ended.pid}\\)"):
        read_settings(None, None, environment)


@pytest.mark.parametrize("content", [{}, {"broker_url": URL, "pid": "x"}, {"pid": 1}])
def test_a_file_that_describes_no_stack_is_named(tmp_path: Path, content: object) -> None:
    (tmp_path / "stack.json").write_text(json.dumps(content))
    with pytest.raises(NotConfigured, match=r"stack\.json does not describe"):
        read_settings(None, None, {"BESPOKE_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("amqp://me:secret@host/0", "scheme 'amqp', expected one of redis, rediss"),
        ("secret", "scheme ''"),
        ("redis://:secret@host:port/0", "is not a URL"),
        ("redis://:secret@[::1/0", "is not a URL"),
        ("redis:///0", "names no host"),
        ("redis://:secret@host/first", "path that is not the number of a database"),
    ],
)
@pytest.mark.parametrize("setting", ["BESPOKE_BROKER_URL", "BESPOKE_RESULT_URL"])
def test_a_url_that_cannot_be_used_names_its_setting_and_no_password(
    url: str, problem: str, setting: str
) -> None:
    with pytest.raises(NotConfigured) as caught:
        read_settings(None, None, {"BESPOKE_BROKER_URL": URL} | {setting: url})
    text = str(caught.value)
    assert text.startswith(setting)
    assert problem in text
    assert "secret" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "redis://:***@example.org:6380/3"),
        ("rediss://ada:secret@host/0", "rediss://ada:***@host/0"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://:sec@ret@host/0", "redis://:***@host/0"),
        ("redis://host/0?password=secret&db=2", "redis://host/0?password=***&db=2"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    address = Address(url, "broker_url")
    assert address.shown == str(address) == shown
    assert "sec" not in repr(address)
    assert "sec" not in repr(Client(url))
    assert "sec" not in repr(AsyncClient(url))


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0"):
        Client(URL, timeout=timeout)
