"""A pool process that comes to life after its worker's death ends by itself."""

import os
import subprocess
import sys

import pytest

from bespoke_workers.orphans import Parent

FAMILY = """
import os, sys
from bespoke_workers.orphans import parent
parent.remember()
held, told = os.pipe()
if os.fork() == 0:
    os.close(told)
    os.read(held, 1)  # ends with the worker
    parent.follow()
    print("lingers")
    sys.stdout.flush()
os._exit(0)
"""


def test_a_pool_process_whose_worker_died_before_it_started_ends() -> None:
    run = subprocess.run([sys.executable, "-c", FAMILY], capture_output=True, text=True, timeout=30)

    assert (run.stdout, run.stderr) == ("", "")


@pytest.mark.parametrize("pid", [0, os.getpid(), os.getppid()])
def test_a_process_whose_worker_lives_stays(pid: int) -> None:
    Parent(pid).follow()
