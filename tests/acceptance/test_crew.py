"""``bespoke worker -P solo -c 2``: two workers of one process each under one parent."""

import signal
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from bespoke_client import Client, memories
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import SECONDS, wait_until, wait_until_gone
from tests.shares import wait_until_divided

QUICK = {"BESPOKE_CLAIM_TIMEOUT_S": "2"}
StartCommand = Callable[..., ProcessContainer]


@pytest.fixture
def crew(start_command: StartCommand, broker_url: str) -> ProcessContainer:
    """Two workers of memories that have divided the shards."""
    arguments = ("worker", "-qmemories", "-Psolo", "-c2", "-ncrew")
    started = start_command(*arguments, ready=" ready.", env=QUICK)
    wait_until_divided(broker_url, 2)
    return started


def workers(crew: ProcessContainer) -> dict[str, psutil.Process]:
    found = {}
    for child in crew.children():
        with suppress(psutil.NoSuchProcess):  # it has ended since
            words = child.cmdline()
            if "-n" in words:
                found[words[words.index("-n") + 1]] = child
    return found


def test_one_that_is_killed_is_started_again_and_all_stop_in_order(
    crew: ProcessContainer, client: Client, broker_url: str
) -> None:
    before = workers(crew)
    assert before.keys() == {"crew-1", "crew-2"}
    stores = [memories.Store(user_id=f"user-{n}", content="Prefers tea") for n in range(20)]
    jobs = client.enqueue_many(stores)
    before["crew-1"].kill()

    assert all(job.result(SECONDS).count == 1 for job in jobs)
    crew.wait_for_log("crew-1 ended (-9) and is started again")
    wait_until(lambda: len(workers(crew)) == 2, "both run")
    wait_until_divided(broker_url, 2)
    family = crew.children()

    crew.kill("SIGINT")

    assert crew.wait(SECONDS) == 0
    wait_until_gone(family)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_ends(crew: ProcessContainer, number: int) -> None:
    family = crew.children()
    crew.kill(number)
    crew.wait(SECONDS)
    wait_until_gone(family, SECONDS)
