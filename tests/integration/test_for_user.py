"""A user's program is served from memory, and never once it is out of use."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import bespoke_workers
from bespoke_schemas import program_state, programs
from bespoke_workers.database.portal import Portal, portal
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.local import LocalPostgres
from bespoke_workers.observe import events
from bespoke_workers.programs import afor_user, for_user
from bespoke_workers.programs.serving import ForUser
from bespoke_workers.settings import Settings
from tests import hybrid_program
from tests.integration.serving import MODULES, Serving, said, serving
from tests.nodes.waiting import SECONDS
from tests.two_predictors import NAME, tame_state

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(database_url: str, tmp_path: Path) -> Iterator[Serving]:
    with serving(database_url, tmp_path) as here:
        yield here


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    events_told: list[dict[str, Any]] = []
    end = events.subscribe("dspy.storage.load_*", lambda event: events_told.append(dict(event)))
    yield events_told
    end()


def counted(here: Serving) -> tuple[int, int, int]:
    stats = here.for_user.stats()
    return stats.hits, stats.misses, stats.invalidated


def test_a_user_is_served_the_version_in_use_else_the_base_s_else_the_plain_program(
    here: Serving,
) -> None:
    assert here.words("ada") is None
    here.save("base", None)
    assert [here.words(user) for user in ("ada", None)] == ["base", "base"]
    here.save("ada's", "ada")
    assert [here.words(user) for user in ("ada", "bob", None)] == ["ada's", "base", "base"]


def test_a_program_is_loaded_once_and_then_comes_from_memory(
    here: Serving, told: list[dict[str, Any]]
) -> None:
    here.save("ada's")
    assert [here.words() for _ in range(5)] == ["ada's"] * 5

    assert counted(here) == (4, 1, 0)
    start, complete = told
    assert start == {
        "event": "dspy.storage.load_start", "user": events.hashed("ada"), "program": NAME,
    }  # fmt: skip
    assert complete["found"]
    assert complete["size_bytes"] == here.for_user.stats().state_bytes > 0
    assert complete["age_s"] >= 0


def test_what_one_caller_does_to_its_module_the_next_one_does_not_see(here: Serving) -> None:
    here.save("ada's")
    mine: Any = here.for_user(NAME, "ada")
    mine.classify.demos[0]["text"] = "changed"
    mine.classify.signature.instructions = "changed"

    yours: Any = here.for_user(NAME, "ada")
    assert program_state.dump(yours) == tame_state("ada's")


def test_a_version_that_is_rolled_back_is_not_served_again(here: Serving) -> None:
    first = here.save("first")
    assert here.words() == "first"
    second = here.save("second")
    assert here.words() == "second"
    here.activate(first)
    assert here.words() == "first"
    here.activate(second)
    here.activate(first)
    assert here.words() == "first"

    assert counted(here) == (0, 4, 3)


def test_after_a_rollback_to_none_the_base_is_served_from_memory(here: Serving) -> None:
    here.save("base", None)
    here.save("ada's")
    assert here.words() == "ada's"

    here.roll_back()

    assert [here.words() for _ in range(3)] == ["base"] * 3
    assert counted(here) == (2, 2, 1)
    here.save("ada's second")
    assert here.words() == "ada's second"


def test_a_user_with_a_version_does_not_mind_the_base_s_moves(here: Serving) -> None:
    here.save("base", None)
    here.save("ada's")
    assert [here.words("ada"), here.words("bob")] == ["ada's", "base"]
    here.save("better base", None)

    assert [here.words("ada"), here.words("bob")] == ["ada's", "better base"]
    assert counted(here) == (1, 3, 1)


def test_a_better_base_reaches_what_of_a_user_s_program_is_shared(here: Serving) -> None:
    def words() -> dict[str, str]:
        module = here.for_user(hybrid_program.NAME, "ada")
        return {name: each.signature.instructions for name, each in module.named_predictors()}

    def save(said: str, user_id: str | None) -> None:
        state = hybrid_program.worded(said)
        here.save(said, user_id, program=hybrid_program.NAME, state=state)

    save("base", None)
    save("ada's", "ada")
    assert words() == {hybrid_program.SHARED: "base", hybrid_program.OWN: "ada's"}
    save("better base", None)
    assert words() == {hybrid_program.SHARED: "better base", hybrid_program.OWN: "ada's"}


def spoil(here: Serving, version: Any) -> None:
    """Give a version the shape that another release of the program had."""

    async def change() -> None:
        async with here.portal.database.autocommit() as connection:
            await connection.execute(
                text("UPDATE program_version SET fingerprint = 'old(a: str -> b: str)'"
                     " WHERE id = :id"),
                {"id": version},
            )  # fmt: skip

    here.do(change)


def test_a_version_that_does_not_fit_is_left_out_with_a_warning_unless_it_is_asked_for_strictly(
    here: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    base, own = here.save("base", None), here.save("ada's")
    spoil(here, own)

    with caplog.at_level(logging.WARNING):
        assert [here.words() for _ in range(3)] == ["base"] * 3
    assert caplog.text.count("does not fit") == 1
    assert str(own) in caplog.text
    assert events.hashed("ada") in caplog.text
    assert "'ada'" not in caplog.text
    with pytest.raises(Refused, match="saved for another shape"):
        here.for_user(NAME, "ada", strict=True)

    spoil(here, base)
    here.save("newer base", None)
    assert here.words() == "newer base"
    spoil(here, here.save("bad base", None))
    assert here.words() is None
    assert said(here.for_user(NAME, "ada")) is None

    here.save("ada's again")
    assert said(here.for_user(NAME, "ada", strict=True)) == "ada's again"


def test_a_program_that_is_not_registered_is_named(here: Serving) -> None:
    with pytest.raises(Refused, match="unknown program 'nothing'"):
        here.for_user("nothing", "ada")


def test_no_more_are_kept_than_the_setting_says(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, tmp_path, program_cache=3) as here:
        here.save("base", None)
        for number in range(10):
            assert here.words(f"user-{number}") == "base"
        stats = here.for_user.stats()
        assert (stats.size, stats.evictions, stats.misses) == (3, 7, 10)
        here.words("user-9")
        here.for_user.forget("user-9")
        assert (here.for_user.stats().hits, here.for_user.stats().size) == (1, 2)


def test_a_pointer_that_was_deleted_and_made_anew_is_another_one(here: Serving) -> None:
    version = here.save("first")
    assert here.words() == "first"

    async def erase_and_bring_back() -> None:
        async with here.portal.database.autocommit() as connection:
            await connection.execute(text("TRUNCATE active_program, program_version, job CASCADE"))
        again = programs.Save(
            id=version, program=NAME, user_id="ada", state=tame_state("second"), activate=True
        )
        await here.library.save(again)

    here.do(erase_and_bring_back)
    assert here.words() == "second"


def test_threads_that_miss_at_once_load_once(here: Serving, told: list[dict[str, Any]]) -> None:
    here.save("ada's")
    threads = 16
    barrier = threading.Barrier(threads)

    def serve() -> str | None:
        barrier.wait()
        return here.words()

    with ThreadPoolExecutor(threads) as pool:
        served = [future.result() for future in [pool.submit(serve) for _ in range(threads)]]

    assert served == ["ada's"] * threads
    assert [event["event"].rpartition(".")[2] for event in told] == ["load_start", "load_complete"]
    assert counted(here) == (threads - 1, 1, 0)


def test_no_thread_is_served_what_was_out_of_use_when_it_asked(here: Serving) -> None:
    versions = [here.save(str(number)) for number in range(4)]
    there = 3
    done = threading.Event()
    served_once = threading.Semaphore(0)
    wrong: list[tuple[int, int]] = []

    def serve() -> int:
        calls = 0
        while not done.is_set():
            before = there
            served = int(here.words() or -1)
            after = there
            calls += 1
            # The steps that were in use at some moment of the call.
            if served not in {step % 4 for step in range(before, after + 2)}:
                wrong.append((before, served))
            served_once.release()
        return calls

    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(serve) for _ in range(6)]
        for step in range(4, 40):
            here.activate(versions[step % 4])
            there = step
            assert served_once.acquire(timeout=SECONDS)
        done.set()
        total = sum(future.result() for future in calls)

    assert wrong == []
    assert total >= 36
    assert here.for_user.stats().invalidated > 0


def test_it_may_be_called_where_an_event_loop_runs(here: Serving) -> None:
    here.save("ada's")

    async def serve() -> list[str | None]:
        directly = here.words()
        many = await asyncio.gather(*(here.for_user.asynchronously(NAME, "ada") for _ in range(5)))
        return [directly, *(said(module) for module in many)]

    assert asyncio.run(serve()) == ["ada's"] * 6


def test_while_the_database_is_away_it_says_so(
    here: Serving, postgres_server: LocalPostgres
) -> None:
    here.save("ada's")
    assert here.words() == "ada's"
    postgres_server.stop()
    with pytest.raises(Transient):
        here.words()
    postgres_server.start()
    assert here.words() == "ada's"


def test_without_a_database_the_setting_is_named(tmp_path: Path) -> None:
    here = ForUser(lambda: Portal(lambda: Settings(home=tmp_path, programs=MODULES)))
    with pytest.raises(Exception, match="BESPOKE_DATABASE_URL is not set"):
        here(NAME, "ada")


def test_the_process_has_one_portal_and_one_server_of_programs() -> None:
    assert portal() is portal()
    assert bespoke_workers.programs.for_user is for_user
    assert isinstance(for_user, ForUser)
    assert afor_user == for_user.asynchronously


@pytest.fixture
def far(bespoke_env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves, with the settings of its environment."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.integration.serving_far_end"],
        env={**bespoke_env, "BESPOKE_PROGRAMS": "tests.two_predictors"},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def ask(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_another_process_and_its_children_serve_what_this_one_put_into_use(
    here: Serving, far: subprocess.Popen[str]
) -> None:
    assert ask(far, "ada") == "None"
    first = here.save("first")
    assert ask(far, "ada") == "first"
    here.save("second")
    assert ask(far, "ada") == "second"
    here.activate(first)
    assert ask(far, "ada") == "first"
    here.save("base", None)
    assert [ask(far, "ada"), ask(far, "bob")] == ["first", "base"]

    # Each on connections of its own: shared ones would mix up their answers.
    own, *children = ask(far, "fork").split(";")
    assert own == "first 41+5"
    assert children == ["first 39+1"] * 3
    assert ask(far, "ada") == "first"
