"""What beat sends at night, and when that is."""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.nodes.waiting import SECONDS

NIGHTS = {
    "as it comes": {},
    **{
        zone: {"timezone": zone, "nightly_at": "02:30"}
        for zone in ("UTC", "Asia/Tokyo", "America/New_York", "Asia/Kolkata")
    },
    "late": {"nightly_at": "23:15"},
    "tracked": {"mlflow_uri": "http://127.0.0.1:5000"},
}
# Reads the schedule as beat does, and computes when each entry is due next after a moment.
LOOK = """
import importlib, json, sys
from datetime import datetime
from celery.beat import Scheduler
from bespoke_workers import app, configuration
from bespoke_workers.settings import Settings

for name in configuration.TASK_MODULES:
    importlib.import_module(f"bespoke_workers.tasks.{name}")
last = datetime.fromisoformat(sys.argv[1])

def look(settings):
    config = Settings(**settings)
    celery = app.make_celery(lambda: config)
    scheduler = Scheduler(app=celery, lazy=True)
    scheduler.setup_schedule()
    for name, entry in scheduler.schedule.items():
        entry.schedule.nowfun = lambda: last
        yield name, {
            "task": entry.task,
            "kwargs": entry.kwargs,
            "options": entry.options,
            "queue": celery.amqp.router.route(entry.options, entry.task)["queue"].name,
            "known": entry.task in app.celery.tasks,
            "in_s": entry.schedule.remaining_estimate(last).total_seconds(),
        }

nights = json.loads(sys.argv[2])
print(json.dumps({night: dict(look(settings)) for night, settings in nights.items()}))
"""
LAST = datetime(2026, 7, 1, 12, tzinfo=UTC)

Entries = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def schedules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Entries]:
    """Beat's entries by name for each of ``NIGHTS``, as of ``LAST``."""
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, LAST.isoformat(), json.dumps(NIGHTS)],
        env={**os.environ, "BESPOKE_BROKER_URL": "redis://x", "BESPOKE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def entries(schedules: dict[str, Entries]) -> Entries:
    """Beat's own entries with no setting changed; Celery adds one that clears old results."""
    found = schedules["as it comes"]
    return {name: entry for name, entry in found.items() if not name.startswith("celery.")}


def test_each_tier_has_one_nightly_batch(entries: Entries) -> None:
    tiers = [
        entry["kwargs"]["tier"]
        for entry in entries.values()
        if entry["task"] == "bespoke.upkeep.nightly_tier"
    ]

    assert sorted(tiers) == ["advanced", "basic", "premium"]


def test_lost_runs_are_looked_for_and_old_rows_removed_by_one_entry_each(
    entries: Entries,
) -> None:
    assert Counter(entry["task"] for entry in entries.values()) == {
        "bespoke.upkeep.nightly_tier": 3,
        "bespoke.upkeep.nightly_age": 1,
        "bespoke.upkeep.nightly_cleanup": 1,
        "bespoke.upkeep.prune": 1,
        "bespoke.upkeep.reap": 1,
        "bespoke.upkeep.reembed": 1,
    }


def test_mlflow_is_told_every_so_often_where_it_is_configured(
    schedules: dict[str, Entries], entries: Entries
) -> None:
    tell = schedules["tracked"]["tell-mlflow"]

    assert "tell-mlflow" not in entries
    assert tell["known"]
    assert 0 < tell["in_s"] == tell["options"]["expires"] <= 60


def test_every_entry_is_a_task_that_a_worker_has(entries: Entries) -> None:
    assert [name for name, entry in entries.items() if not entry["known"]] == []
    assert {entry["queue"] for entry in entries.values()} == {"upkeep"}


def test_a_look_for_lost_runs_is_done_a_little_late_and_then_dropped(
    entries: Entries,
) -> None:
    reap = entries["reap-lost-runs"]

    assert 0 < reap["in_s"] <= 10
    assert 3 * reap["in_s"] < reap["options"]["expires"] <= 60


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Asia/Kolkata"])
def test_the_night_is_the_one_of_the_time_zone(schedules: dict[str, Entries], zone: str) -> None:
    found = schedules[zone]
    local = LAST.astimezone(ZoneInfo(zone))
    tonight = local.replace(hour=2, minute=30)
    tonight += timedelta(days=tonight <= local)
    for name in ("nightly-basic", "nightly-advanced", "nightly-premium"):
        assert LAST + timedelta(seconds=found[name]["in_s"]) == tonight
    for name in ("nightly-prune", "nightly-cleanup"):
        later = LAST + timedelta(seconds=found[name]["in_s"])
        assert later.astimezone(ZoneInfo(zone)).time() == tonight.replace(hour=4).time()
    age = LAST + timedelta(seconds=found["nightly-age"]["in_s"])
    assert age.astimezone(ZoneInfo(zone)).time() == tonight.replace(hour=3).time()


def test_a_batch_late_in_the_evening_is_cleaned_up_after_midnight(
    schedules: dict[str, Entries],
) -> None:
    found = schedules["late"]

    assert (LAST + timedelta(seconds=found["nightly-basic"]["in_s"])).hour == 23
    assert (LAST + timedelta(seconds=found["nightly-prune"]["in_s"])).hour == 1
