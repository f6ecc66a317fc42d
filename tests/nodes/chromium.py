"""A headless Chromium that opens a file of this machine, with nothing else to talk to."""

import os
import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 90
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
CONSOLE = re.compile(r":CONSOLE[:(].*")


@dataclass(frozen=True)
class Opened:
    """A page as the browser has it, and what it wrote to the console."""

    dom: str
    console: list[str]


class Chromium:
    """Opens pages, each in a profile of its own."""

    def __init__(self, command: str, directory: Path) -> None:
        self._command = command
        self._directory = directory

    def open(self, page: Path) -> Opened:
        """Load a page and let its scripts run, if it has any."""
        done = self._run("--enable-logging=stderr", "--dump-dom", page.as_uri())
        return Opened(done.stdout, CONSOLE.findall(done.stderr))

    def background(self, page: Path, *, dark: bool = False) -> tuple[int, int, int]:
        """Return the colour of the page's first pixel."""
        shot = self._directory / "shot.png"
        size = f"--window-size={375},{800}"
        self._run(size, *([DARK] if dark else []), f"--screenshot={shot}", page.as_uri())
        return _first_pixel(shot.read_bytes())

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        profile = self._directory / "profile"
        done = subprocess.run(
            [self._command, *QUIET, f"--user-data-dir={profile}", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        shutil.rmtree(profile, ignore_errors=True)
        assert done.returncode == 0, done.stderr
        return done


def find(directory: Path) -> Chromium:
    """Return this machine's Chromium; without one the test is skipped, but in CI it fails."""
    command = next((found for name in NAMES if (found := shutil.which(name))), None)
    if command is None:
        missing = "no Chromium on this machine: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return Chromium(command, directory)


def _first_pixel(png: bytes) -> tuple[int, int, int]:
    """Return the first pixel of a PNG: whichever way its row is filtered, it is as it is."""
    place, packed = 8, b""
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        if kind == b"IDAT":
            packed += png[place + 8 : place + 8 + length]
        place += 12 + length
    _, red, green, blue = zlib.decompressobj().decompress(packed, 4)
    return red, green, blue
