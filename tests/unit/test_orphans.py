"""A pool process that comes to life after its worker's death ends by itself."""

import os
import subprocess
import sys

import pytest

from bespoke_workers.orphans import Parent
from tests.nodes.waiting import SECONDS

FAMILY = """
import os, sys, time
from bespoke_workers.orphans import parent
parent.remember()
if os.fork() == 0:
    while os.getppid() == parent.pid:  # nothing else tells when the kernel has let it go
        time.sleep(0.01)
    parent.follow()
    print("lingers")
    sys.stdout.flush()
os._exit(0)
"""


def test_a_pool_process_whose_worker_died_before_it_started_ends() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FAMILY], capture_output=True, text=True, timeout=SECONDS
    )

    assert (run.stdout, run.stderr) == ("", "")


# Every process of pytest-xdist has to name its tests alike, and has a pid of its own.
@pytest.mark.parametrize("pid", [0, os.getpid(), os.getppid()], ids=["none", "self", "worker"])
def test_a_process_whose_worker_lives_stays(pid: int) -> None:
    Parent(pid).follow()
