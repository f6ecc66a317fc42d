"""A report tells what is in the database, of one user or of all, and its page shows that."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.observe import events
from bespoke_workers.reports import statements
from bespoke_workers.reports.figures import Figures
from bespoke_workers.reports.page import page
from bespoke_workers.reports.reports import Reports
from tests.integration.memory_workers import in_loop
from tests.integration.reporting import HOSTILE, PROGRAM, SECRETS, plant
from tests.nodes import chromium
from tests.nodes.chromium import Chromium
from tests.nodes.waiting import SECONDS

USERS, VERSIONS = 30, 6
FIGURE = re.compile(r'<figure id="([^"]+)"[^>]* data-marks="(\d+)".*?</figure>', re.DOTALL)
MARK = {"scores": "point", "optimizers": "point", "prices": "point", "in-use": "bar"}
FETCHES = re.compile(r"""\b(?:src|href|action|data)\s*=|url\(|@import|<script|<link|<base""")


@pytest.fixture
def browser(tmp_path: Path) -> Chromium:
    return chromium.find(tmp_path)


@asynccontextmanager
async def planted(url: str, program: str = PROGRAM) -> AsyncIterator[Database]:
    database = Database(url, pool_size=1)
    try:
        await plant(database, users=USERS, versions=VERSIONS, program=program)
        yield database
    finally:
        await database.close()


async def execute(database: Database, statement: str, **values: object) -> None:
    async with database.autocommit() as connection:
        await connection.execute(text(statement), values)


def shown(browser: Chromium, figures: Figures, path: Path) -> str:
    """Open the page of a report; each of its plots must have the marks that it should."""
    path.write_text(page(figures), encoding="utf-8")
    opened = browser.open(path)
    assert opened.console == []
    plots = {one[1]: one for one in FIGURE.finditer(opened.dom)}
    assert set(plots) == set(MARK)
    for name, plot in plots.items():
        drawn = plot[0].count(f'aria-roledescription="{MARK[name]}"')
        bars = plot[0].count('aria-roledescription="bar"') if name == "optimizers" else drawn
        assert drawn == bars == int(plot[2]), name
    return opened.dom


@in_loop
async def test_the_figures_over_all_users_add_up(database_url: str) -> None:
    async with planted(database_url) as database:
        await execute(
            database,
            "INSERT INTO program_version (id, user_id, program, signature, score, state, "
            "description, fingerprint, size_bytes, saved_at, checkpoint) SELECT gen_random_uuid(), "
            "user_id, program, signature, 1, state, '', fingerprint, 1, saved_at, 'halfway' "
            "FROM program_version WHERE user_id = 'user-1'",
        )
        figures = await Reports(database).figures(PROGRAM, None)

    everything = USERS * VERSIONS
    totals = figures.totals
    assert (totals.versions, totals.users) == (everything, USERS)
    assert (totals.runs, totals.failed, totals.cancelled) == (everything + 3, 2, 1)
    assert totals.promoted + totals.unchanged == everything
    assert (totals.prompt_tokens, totals.seconds) == (900 * everything, 12.5 * everything)
    assert sum(point.versions for point in figures.scores) == everything
    assert len(figures.scores) <= statements.BINS
    assert all(0 <= point.low <= point.score <= point.high <= 1 for point in figures.scores)
    assert sum(one.versions for one in figures.optimizers) == everything
    assert {one.optimizer for one in figures.optimizers} == {
        "LabeledFewShot", "BootstrapFewShot", "MIPROv2"
    }  # fmt: skip
    assert sum(point.runs for point in figures.runs) == everything
    assert sum(point.runs for point in figures.runs if point.promoted) == totals.promoted
    assert sum(share.users for share in figures.in_use.shares) == USERS
    assert (figures.in_use.users_with_own, figures.in_use.users_on_base) == (USERS, 3)
    assert len(figures.versions) == statements.LINES
    assert sum(line.in_use for line in figures.versions) == USERS
    assert [(tier.tier, tier.runs) for tier in figures.tiers] == [("basic", everything)]
    assert figures.tiers[0].cost_usd == pytest.approx(totals.cost_usd)
    assert "user-" not in figures.model_dump_json()


@in_loop
async def test_a_cost_that_is_not_known_is_not_shown_as_none(database_url: str) -> None:
    async with planted(database_url) as database:
        await execute(database, "UPDATE optimization_job SET cost_usd = 0, unpriced_calls = 7")
        figures = await Reports(database).figures(PROGRAM, None)
    written = page(figures)
    assert f"<dd>unknown<small>{figures.totals.lm_calls:,} LM calls" in written
    assert f"{figures.totals.unpriced_calls:,} of unknown price" in written


@in_loop
async def test_a_report_of_one_user_tells_nothing_of_another(database_url: str) -> None:
    async with planted(database_url) as database:
        figures = await Reports(database).figures(PROGRAM, "user-7")
        assert await Reports(database).figures(PROGRAM, "user-8") != figures
        await execute(database, "UPDATE program_version SET score = 0 WHERE user_id <> 'user-7'")
        await execute(database, "DELETE FROM optimization_job WHERE user_id <> 'user-7'")
        alone = await Reports(database).figures(PROGRAM, "user-7")
        with pytest.raises(Refused, match="of this user; check the name"):
            await Reports(database).figures(PROGRAM, "user-700")

    assert alone.model_copy(update={"made_at": figures.made_at}) == figures
    assert figures.user == events.hashed("user-7")
    assert figures.totals.versions == figures.totals.runs == len(figures.scores) == VERSIONS
    assert [point.at for point in figures.scores] == sorted(point.at for point in figures.scores)
    assert len(figures.versions) == len(figures.in_use.stints) == VERSIONS
    ends = [stint.until for stint in figures.in_use.stints]
    assert ends == [*(stint.since for stint in figures.in_use.stints[1:]), None]


@in_loop
async def test_a_rollback_ends_a_stint(database_url: str) -> None:
    async with planted(database_url) as database:
        await execute(
            database,
            f"UPDATE activation SET undone_at = moved_at + interval '1 hour' "
            f"WHERE generation = {VERSIONS}",
        )
        stints = (await Reports(database).figures(PROGRAM, "user-7")).in_use.stints
    last = stints[-1]
    assert last.until is not None
    assert (last.until - last.since).total_seconds() == 3600


@in_loop
async def test_where_no_call_had_a_price_calls_stand_in_for_it(database_url: str) -> None:
    async with planted(database_url) as database:
        await execute(database, "UPDATE optimization_job SET cost_usd = 0")
        figures = await Reports(database).figures(PROGRAM, None)
    assert figures.price == "LM calls"
    assert max(point.price for point in figures.runs) <= 60


@in_loop
async def test_a_program_that_nobody_optimized_is_refused(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    try:
        with pytest.raises(Refused, match="no version and no optimization of program 'suport'"):
            await Reports(database).figures("suport", None)
    finally:
        await database.close()


@pytest.mark.parametrize("user", [None, "user-7"])
@in_loop
async def test_a_browser_shows_every_mark_and_asks_nobody(
    database_url: str, tmp_path: Path, browser: Chromium, user: str | None
) -> None:
    async with planted(database_url) as database:
        figures = await Reports(database).figures(PROGRAM, user)
    path = tmp_path / "report.html"
    dom = shown(browser, figures, path)
    assert not FETCHES.search(dom)
    assert "<text" in dom  # selectable, and read aloud
    tables = [rows for rows in (figures.versions, figures.tiers) if rows]
    assert dom.count("<tr>") == sum(len(rows) + 1 for rows in tables)
    assert browser.background(path) == (255, 255, 255)
    assert browser.background(path, dark=True) == (0x11, 0x15, 0x1C)


@in_loop
async def test_hostile_names_stay_text_and_contents_stay_out(
    database_url: str, tmp_path: Path, browser: Chromium
) -> None:
    (tmp_path / "control.html").write_text(f"<title>safe</title>{HOSTILE}")
    assert "<title>taken</title>" in browser.open(tmp_path / "control.html").dom

    async with planted(database_url, program=HOSTILE) as database:
        await execute(
            database, "UPDATE program_version SET optimizer = :it, description = :it", it=HOSTILE
        )
        for user in (None, "user-7"):
            figures = await Reports(database).figures(HOSTILE, user)
            dom = shown(browser, figures, tmp_path / "report.html")
            assert "<title>taken</title>" not in dom
            assert "&lt;script&gt;" in dom
            assert not re.search(r"<script|<img", dom)
            assert not any(secret in dom for secret in SECRETS)


@in_loop
async def test_a_program_with_nothing_but_failures_has_a_page(
    database_url: str, tmp_path: Path, browser: Chromium
) -> None:
    async with planted(database_url) as database:
        await execute(database, "DELETE FROM activation")
        await execute(database, "DELETE FROM active_program")
        await execute(database, "DELETE FROM program_version")
        await execute(database, "DELETE FROM optimization_job WHERE state = 'succeeded'")
        for user in (None, "user-1"):
            figures = await Reports(database).figures(PROGRAM, user)
            dom = shown(browser, figures, tmp_path / "report.html")
            assert dom.count("Nothing to show yet.") == 4


@in_loop
async def test_without_the_libraries_of_the_page_it_says_what_to_install(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with planted(database_url) as database:
        figures = await Reports(database).figures(PROGRAM, None)
    for module in ("vl_convert", "jinja2"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, module, None)
            with pytest.raises(Misconfigured, match=r"pip install 'bespoke-workers\[report\]'"):
                page(figures)


@in_loop
async def test_the_command_writes_a_page_or_the_figures(database_url: str, tmp_path: Path) -> None:
    async with planted(database_url):
        pass

    def bespoke(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bespoke_workers.cli", "report", *arguments],
            env={**os.environ, "BESPOKE_DATABASE_URL": database_url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    done = bespoke(PROGRAM, "user-7")
    name = f"report-support-{events.hashed('user-7')}.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
    assert (tmp_path / name).read_text(encoding="utf-8").startswith("<!doctype html>")
    figures = json.loads(bespoke(PROGRAM, "--json").stdout)
    assert figures["totals"]["versions"] == USERS * VERSIONS
    nowhere = bespoke(PROGRAM, "--json", "-o", "nowhere/page.html")
    assert nowhere.returncode == 2
    assert nowhere.stderr.startswith("bespoke: 'nowhere/page.html' cannot be written")
