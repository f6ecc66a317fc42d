"""The end of a leash that the parent holds."""

import signal
import subprocess
import sys

from bespoke_workers.local import leash


class Tether:
    """Stops a child of this process when this process is gone, however that ended; see `leash`."""

    def __init__(self, pid: int, gentle: signal.Signals, firm: signal.Signals) -> None:
        self._leash = subprocess.Popen(  # noqa: S603 - a path of ours, no shell
            [
                *(sys.executable, "-I", "-S", leash.__file__),
                *(str(pid), str(gentle.value), str(firm.value)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # else it would hold a pipe open that we write to
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def release(self) -> None:
        """Let go of a child that has ended."""
        assert self._leash.stdin is not None
        self._leash.stdin.close()
        self._leash.wait()
