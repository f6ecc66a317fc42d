"""Celery's own command starts a worker only with a pool whose processes do one job at a time."""

import subprocess
import sys

from tests.nodes.waiting import SECONDS


def test_a_pool_of_threads_is_refused(bespoke_env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "celery", "-A", "bespoke_workers", "worker"]

    started = subprocess.run(
        [*command, "--pool", "threads"],
        env=bespoke_env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert started.returncode == 1
    assert started.stderr.splitlines()[-1] == (
        "bespoke: got the pool 'thread', and jobs need a process to themselves; "
        "start the worker with --pool prefork or solo"
    )
