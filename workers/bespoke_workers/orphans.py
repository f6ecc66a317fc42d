"""A pool process whose worker was killed while it started ends as well.

Celery asks the kernel to kill a pool process together with its worker, but only once the process
has started; the death of a worker before that would leave it waiting for jobs for ever.
"""

import os
from dataclasses import dataclass


@dataclass
class Parent:
    """The worker that starts pool processes; its ``pid`` is 0 until it is remembered."""

    pid: int = 0

    def remember(self, **_: object) -> None:
        """Note that this process is the worker; a receiver of ``worker_init``."""
        self.pid = os.getpid()

    def follow(self, **_: object) -> None:
        """End this pool process if its worker is gone; a receiver of ``worker_process_init``.

        Celery sends that after it asked the kernel, so that no moment is left between.
        """
        if self.pid not in (0, os.getpid(), os.getppid()):
            os._exit(os.EX_TEMPFAIL)


parent = Parent()
