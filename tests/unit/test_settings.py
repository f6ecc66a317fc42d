"""Settings: what they are without being set, and one line for each that is wrong."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bespoke_workers import settings
from bespoke_workers.errors import Misconfigured

PASSWORD = "hunter2-the-password"
DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
CLIENT_SETTINGS = {"BESPOKE_BROKER_URL", "BESPOKE_RESULT_URL", "BESPOKE_HOME"}
ROW = re.compile(r"^\| `(BESPOKE_[A-Z_]+)` \| (.+?) \|", re.MULTILINE)

DEFAULTS = {
    "max_memories": 1000,
    "max_age_days": 90,
    "similarity_threshold": None,  # the embedder's own
    "low_access_threshold": 0.1,
    "dedup_guard": True,
    "timezone": "UTC",
    "embedder": None,
    "lm": None,
    "programs": (),
    "database_url": None,
    "broker_url": None,
    "result_url": None,
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BESPOKE_HOME", str(tmp_path))
    return tmp_path


def read_all() -> tuple[str, str, str]:
    read = settings.read()
    return read.database(), read.broker(), read.results()


def complaint(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    """Return the one line that is told when a setting has this value."""
    monkeypatch.setenv(f"BESPOKE_{name}", value)
    with pytest.raises(Misconfigured) as refused:
        read_all()
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


def test_the_defaults_are_those_of_the_design() -> None:
    read = settings.read()

    assert {name: getattr(read, name) for name in DEFAULTS} == DEFAULTS


def test_home_is_below_the_user_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BESPOKE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert settings.read().home == tmp_path / ".bespoke"
    assert settings.read().storage == (tmp_path / ".bespoke" / "storage").as_uri()


def test_the_default_home_is_absolute_wherever_a_worker_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BESPOKE_HOME", "here")

    assert settings.read().home == tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAX_MEMORIES", "many", "valid integer"),
        ("MAX_MEMORIES", "0", "greater than or equal to 1"),
        ("MAX_AGE_DAYS", "-1", "greater than or equal to 1"),
        ("MAX_AGE_DAYS", "1000000", "less than or equal to 36500"),
        ("ARCHIVE_DAYS", "1000000", "less than or equal to 36500"),
        ("JOB_RETENTION_DAYS", "1000000", "less than or equal to 36500"),
        ("RUN_RETENTION_DAYS", "1000000", "less than or equal to 36500"),
        ("RESULT_TTL_HOURS", "1000000", "less than or equal to 876000"),
        ("OPTIMIZATION_SECONDS", "inf", "less than or equal to 1000000000"),
        ("LOW_ACCESS_THRESHOLD", "1.5", "less than or equal to 1"),
        ("SIMILARITY_THRESHOLD", "2", "less than or equal to 1"),
        ("DEDUP_GUARD", "perhaps", "valid boolean"),
        ("CLAIM_TIMEOUT_S", "0", "greater than 0"),
        ("LEASE_S", "soon", "valid number"),
        ("FLOWER_PORT", "65536", "less than or equal to 65535"),
        ("TIMEZONE", "Mars/Olympus", "no such time zone: 'Mars/Olympus'; give one like"),
        ("TIMEZONE", "Europe", "no such time zone"),
        ("TIMEZONE", "../etc/passwd", "no such time zone"),
        ("TIMEZONE", "/etc/passwd", "no such time zone"),
        ("NIGHTLY_AT", "24:00", "got '24:00'; give a time of day like '02:00'"),
        ("NIGHTLY_AT", "2", "give a time of day"),
        ("NIGHTLY_AT", "02:00:00", "give a time of day"),
        ("NIGHTLY_AT", "02:60", "give a time of day"),
        ("SIGNING_KEY", PASSWORD, "is shorter than 32 characters; set it to what `openssl rand"),
        ("ALLOW_WHOLE_PROGRAMS", "perhaps", "valid boolean"),
        ("HOME", "~nobody-has-this-name/x", "give a directory"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    line = complaint(monkeypatch, name, value)

    assert line.startswith(f"BESPOKE_{name}: ")
    assert told in line


@pytest.mark.parametrize("name", ["BROKER_URL", "RESULT_URL"])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"amqp://user:{PASSWORD}@host/0", "got a URL of scheme 'amqp', expected one of redis"),
        (f"redis+socket://:{PASSWORD}@/run/redis.sock", "scheme 'redis+socket'"),
        (f"{PASSWORD}:x@host", "scheme ''"),
        (f"redis://:{PASSWORD}@[::1/0", "host, port or database number"),
        (f"redis://:{PASSWORD}@host:port/0", "host, port or database number"),
        (f"redis://:{PASSWORD}@host:6379/zero", "host, port or database number"),
        (f"redis://:{PASSWORD}#@host:6379/0", "host, port or database number"),
        ("redis://", "host, port or database number"),
        ("redis:///0", "host, port or database number"),
    ],
)
def test_a_wrong_redis_url_is_named_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, told: str
) -> None:
    monkeypatch.setenv("BESPOKE_DATABASE_URL", "postgresql+asyncpg://host/db")
    monkeypatch.setenv("BESPOKE_BROKER_URL", "redis://host/0")

    line = complaint(monkeypatch, name, url)

    assert line.startswith(f"BESPOKE_{name}: ")
    assert told in line
    assert line.endswith("set it to redis://:password@host:6379/0")


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        (f"postgresql://user:{PASSWORD}@host/db", "postgresql"),
        (f"postgres://user:{PASSWORD}@host/db", "postgres"),
        (f"sqlite+aiosqlite:///{PASSWORD}.db", "sqlite+aiosqlite"),
        (f"{PASSWORD}:x@host/db", ""),
    ],
)
def test_a_wrong_database_url_is_named_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, scheme: str
) -> None:
    line = complaint(monkeypatch, "DATABASE_URL", url)

    assert line.startswith(f"BESPOKE_DATABASE_URL: got a URL of scheme {scheme!r}, expected")
    assert line.endswith("set it to postgresql+asyncpg://user:password@host/db")


def test_without_urls_and_without_a_local_stack_the_lines_say_what_to_do() -> None:
    read = settings.read()

    for name, ask in (("DATABASE_URL", read.database), ("BROKER_URL", read.broker)):
        with pytest.raises(Misconfigured) as refused:
            ask()
        assert str(refused.value).startswith(f"BESPOKE_{name} is not set and no local stack runs;")
        assert "run `bespoke up`" in str(refused.value)


def test_the_local_stack_s_urls_are_used(home: Path) -> None:
    urls = {"broker_url": "redis://:p@127.0.0.1:2/0", "database_url": "postgresql+asyncpg:///x"}
    (home / "stack.json").write_text(json.dumps({**urls, "pid": 1}))

    read = settings.read()

    assert read.broker() == read.results() == urls["broker_url"]
    assert read.database() == urls["database_url"]


def test_what_is_set_comes_before_the_local_stack(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (home / "stack.json").write_text(json.dumps({"broker_url": "redis://local/0"}))
    monkeypatch.setenv("BESPOKE_BROKER_URL", "redis://remote/0")

    assert settings.read().broker() == settings.read().results() == "redis://remote/0"

    monkeypatch.setenv("BESPOKE_RESULT_URL", "rediss://results/1")
    assert settings.read().results() == "rediss://results/1"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"broker_url": 7}', "\ud7ff", "{}"])
def test_a_broken_stack_file_is_as_none(home: Path, text: str) -> None:
    (home / "stack.json").write_text(text)

    with pytest.raises(Misconfigured, match="no local stack runs"):
        settings.read().broker()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.Settings.model_fields:
        monkeypatch.setenv(f"BESPOKE_{name.upper()}", "")
    monkeypatch.setenv("HOME", "/root")

    read = settings.read()

    assert read == settings.Settings.model_construct(home=Path("/root/.bespoke"))


def test_programs_are_modules_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESPOKE_PROGRAMS", "shop.programs, shop.labels,,")

    assert settings.read().programs == ("shop.programs", "shop.labels")


def test_the_night_has_an_hour_and_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESPOKE_NIGHTLY_AT", "23:05")

    assert settings.read().nightly == (23, 5)


@pytest.mark.parametrize("clock", ["00:00", "00:01", "02:00", "12:00", "22:59", "23:59"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_each_day_has_its_night_however_late_its_work_or_wrong_a_clock(
    monkeypatch: pytest.MonkeyPatch, clock: str, zone: str
) -> None:
    monkeypatch.setenv("BESPOKE_NIGHTLY_AT", clock)
    monkeypatch.setenv("BESPOKE_TIMEZONE", zone)
    found = settings.read()
    hour, minute = found.nightly
    begins = datetime(2026, 1, 1, hour, minute)  # noqa: DTZ001  # as the clocks there show it
    nights = [(begins + timedelta(days=day)) for day in range(365)]

    for night in nights:
        for late in (timedelta(seconds=-1), timedelta(0), timedelta(hours=20)):
            moment = (night + late).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            assert found.night(moment) == night.date()


def test_the_night_of_the_default_is_the_date_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESPOKE_TIMEZONE", "Pacific/Kiritimati")

    assert settings.read().night(datetime(2026, 11, 20, 12, tzinfo=UTC)) == date(2026, 11, 21)


@pytest.mark.parametrize(
    "url", [f"sqlite:///{PASSWORD}.db", f"file:///{PASSWORD}", f"{PASSWORD}:x@host", "https://:x"]
)
def test_a_wrong_url_of_mlflow_is_named_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("BESPOKE_MLFLOW_URI", url)
    with pytest.raises(Misconfigured) as refused:
        settings.read().mlflow()
    assert str(refused.value).startswith("BESPOKE_MLFLOW_URI: not the URL of an MLflow tracking")
    assert PASSWORD not in str(refused.value)


def test_no_printer_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATABASE_URL",
        "BROKER_URL",
        "RESULT_URL",
        "LM_API_KEY",
        "FLOWER_BASIC_AUTH",
        "MLFLOW_URI",
    ):
        monkeypatch.setenv(f"BESPOKE_{name}", f"redis://:{PASSWORD}@host/0")

    read = settings.read()

    shown = [repr(read), str(read), str(read.model_dump()), read.model_dump_json()]
    assert all(PASSWORD not in text for text in shown)


def test_settings_do_not_change_once_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.read().max_memories = 2  # type: ignore[misc]  # that is the mistake


def test_every_setting_is_documented_with_its_default() -> None:
    documented = dict(ROW.findall(DOCUMENT.read_text(encoding="utf-8")))
    fields = {
        f"BESPOKE_{name.upper()}": info for name, info in settings.Settings.model_fields.items()
    }

    assert set(documented) == set(fields)
    for name, info in fields.items():
        default = info.default
        if isinstance(default, bool):
            assert documented[name] == str(default).lower()
        elif isinstance(default, int | float | str):
            assert documented[name] == str(default)


def test_every_setting_of_the_client_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    client = text.partition("The **client**")[2].partition("\n")[0]

    assert set(re.findall(r"BESPOKE_[A-Z_]+", client)) == CLIENT_SETTINGS


def test_nothing_but_the_settings_reads_the_environment() -> None:
    readers = re.compile(r"getenv|environ\.get\b|environ\[[^]]*\](?! =)")
    root = Path(settings.__file__).parent

    found = [path for path in root.rglob("*.py") if readers.search(path.read_text("utf-8"))]

    assert [path.name for path in found] == ["settings.py"]


@pytest.mark.parametrize(
    ("name", "ours"),
    [("CELERY_BROKER_URL", "BROKER_URL"), ("CELERY_RESULT_BACKEND", "RESULT_URL")],
)
def test_a_variable_that_celery_would_prefer_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, ours: str
) -> None:
    settings.refuse_overrides()
    monkeypatch.setenv(name, f"redis://:{PASSWORD}@elsewhere/0")

    with pytest.raises(Misconfigured) as refused:
        settings.refuse_overrides()

    assert str(refused.value) == (
        f"{name} is set, which Celery would use in place of BESPOKE_{ours}; unset it"
    )
