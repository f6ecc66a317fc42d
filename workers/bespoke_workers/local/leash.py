"""Stop one server when the process that started it is gone, however that ended.

Run as `python -I -S leash.py PID GENTLE FIRM` (two signal numbers) by the server's parent, which
holds the other end of the pipe on standard input: its end of file means that the parent has died.
A parent-death signal would be tied to the thread that forked, and exists on Linux only.
"""

import os
import select
import signal
import sys
import time

LOOK_SECONDS = 1.0  # how late a parent is missed whose pipe a fork of its own holds open
PATIENCE_SECONDS = 15.0  # a fast shutdown writes a checkpoint first


class Leashed:
    """A process that is signalled only while it is the one that was meant."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        # A descriptor cannot come to mean another process, as a reused process id would.
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def wait(self, seconds: float, *others: int) -> None:
        """Return when the process has ended, one of `others` can be read, or time is up."""
        ours = [] if self._descriptor is None else [self._descriptor]
        select.select([*ours, *others], [], [], seconds)

    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        if self._descriptor is not None:
            return not select.select([self._descriptor], [], [], 0)[0]
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if not self.alive():
            return
        if self._descriptor is not None:
            signal.pidfd_send_signal(self._descriptor, number)
        else:
            os.kill(self._pid, number)


def wait_for_end_of_parent(server: Leashed) -> None:
    """Return when the parent is gone, or the server is."""
    parent = os.getppid()
    while server.alive() and os.getppid() == parent:
        server.wait(LOOK_SECONDS, sys.stdin.fileno())
        if select.select([sys.stdin], [], [], 0)[0]:
            return


def stop(server: Leashed, gentle: int, firm: int) -> None:
    """Ask, then insist, then kill."""
    for number in (gentle, firm, signal.SIGKILL):
        server.signal(number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while server.alive() and time.monotonic() < deadline:
            server.wait(LOOK_SECONDS)


def main() -> None:
    """Watch, then stop; a server that has ended already is left alone."""
    pid, gentle, firm = (int(word) for word in sys.argv[1:])
    try:
        server = Leashed(pid)
    except ProcessLookupError:
        return
    wait_for_end_of_parent(server)
    stop(server, gentle, firm)


if __name__ == "__main__":
    main()
