"""Running `bespoke` commands as a person does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.nodes.waiting import SECONDS

PASSWORD = "hunter2-the-password"


class Bespoke:
    """Runs `bespoke` commands and looks for passwords in all that they print."""

    def __init__(self, home: Path) -> None:
        self.env = {**os.environ, "BESPOKE_HOME": str(home), "HOME": str(home)}

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "bespoke_workers.cli", *arguments],
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def refused(self, *arguments: str, env: Mapping[str, str] | None = None, code: int = 2) -> str:
        """Return the one line with which a command ends."""
        done = self(*arguments, env=env)
        assert (done.returncode, done.stdout) == (code, ""), done
        (line,) = done.stderr.splitlines()
        assert line.startswith("bespoke: ")
        return line.removeprefix("bespoke: ")
