"""Where the LM caches of jobs lie on a machine, for whoever removes them without DSPy."""

import json
import os
import shutil
from pathlib import Path

from bespoke_workers.optimization.language_model.usage import Spent

FILE = "calls.jsonl"
OWNER_ONLY = 0o700  # prompts' answers are contents


def directory(home: Path, job_id: object) -> Path:
    """Return where a job's answers lie."""
    return home / "lm-cache" / str(job_id)


def mended(path: Path) -> list[str]:
    """Return the answers in a file, a line each; drops one whose writer was killed in it."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        os.truncate(path, len(whole) + len(newline))
    return whole.decode().splitlines()


def spent(home: Path, job_id: object) -> Spent:
    """Return what a job's answers on this machine cost; a line that was torn counts for nothing."""
    total = Spent()
    try:
        lines = (directory(home, job_id) / FILE).read_bytes().splitlines()
    except OSError:
        return total
    for line in lines:
        try:
            entry = json.loads(line)
            total = total.plus(entry["tokens"], entry["cost"])
        except (ValueError, KeyError, TypeError):
            continue
    return total


def remove(home: Path, job_id: object) -> None:
    """Remove a job's answers; does nothing if there are none."""
    shutil.rmtree(directory(home, job_id), ignore_errors=True)


def left_over(home: Path) -> list[str]:
    """Return the ids of the jobs whose answers lie on this machine."""
    parent = home / "lm-cache"
    return [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
