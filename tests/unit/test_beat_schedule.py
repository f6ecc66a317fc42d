"""Beat starts whatever has become of its file: without it, nothing is taken up again."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab
from pydantic import SecretStr

from bespoke_workers import configuration
from bespoke_workers.schedule import Schedule
from bespoke_workers.settings import Settings

ENTRIES = {"nightly": {"task": "bespoke.upkeep.prune", "schedule": crontab(hour="2", minute="0")}}
FILE = "beat-schedule"


@pytest.fixture
def app() -> Celery:
    made = Celery("beat", broker="memory://", set_as_current=False)
    made.conf.beat_schedule = ENTRIES
    return made


def beat(app: Celery, home: Path) -> Any:
    return Schedule(app, schedule_filename=str(home / FILE))


def parts(home: Path) -> list[Path]:
    """The files of a schedule; Python's database modules give them different names."""
    return sorted(home.glob(f"{FILE}*"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("harm", ["cut", "zeroed"])
def test_beat_begins_anew_where_its_file_is_damaged(
    app: Celery, tmp_path: Path, share: float, harm: str
) -> None:
    beat(app, tmp_path).close()
    for path in parts(tmp_path):
        whole = path.read_bytes()
        left = whole[: int(len(whole) * share)]
        path.write_bytes(left if harm == "cut" else left.ljust(len(whole), b"\x00"))

    started = beat(app, tmp_path)

    assert set(started.schedule) >= set(ENTRIES)
    started.schedule["nightly"].total_run_count = 7
    started.close()
    again = beat(app, tmp_path)
    assert again.schedule["nightly"].total_run_count == 7
    again.close()


@pytest.mark.parametrize("length", range(0, 1000, 90))
def test_beat_starts_where_only_the_contents_were_cut(
    app: Celery, tmp_path: Path, length: int
) -> None:
    beat(app, tmp_path).close()
    largest = max(parts(tmp_path), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:length])

    started = beat(app, tmp_path)

    assert set(started.schedule) >= set(ENTRIES)
    started.close()


def test_a_whole_file_is_read(app: Celery, tmp_path: Path) -> None:
    first = beat(app, tmp_path)
    sent_at = first.schedule["nightly"].last_run_at
    first.schedule["nightly"].total_run_count = 3
    first.close()

    second = beat(app, tmp_path)

    kept = second.schedule["nightly"]
    assert (kept.total_run_count, kept.last_run_at) == (3, sent_at)
    second.close()


def test_our_beat_has_it(tmp_path: Path) -> None:
    settings = Settings(broker_url=SecretStr("redis://localhost/0"), home=tmp_path)

    found = configuration.configuration(settings)

    assert found["beat_scheduler"] == f"{Schedule.__module__}:{Schedule.__qualname__}"
