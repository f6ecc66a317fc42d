"""``make chaos``: the long storm, told as it goes on."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.storm import Faults, Storm, verify

STORES = 10_000
FAULTS = Faults(
    worker_kills=25, child_kills=10, group_terminations=4, redis_kills=3, postgres_kills=3
)


def main() -> int:
    """Run the storm and return the exit code."""
    home = Path(tempfile.mkdtemp(prefix="bespoke-chaos-"))
    storm = Storm(home, STORES, FAULTS)
    started = time.monotonic()
    try:
        with storm.running():
            storm.rage()
            counted = verify(storm)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"faults: {dict(storm.struck)}")
    print(f"counts: {counted}")
    print(f"each of {STORES} jobs done once, none lost, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
