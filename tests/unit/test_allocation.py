"""What a process frees goes back to the system."""

import subprocess
import sys


def test_memory_of_freed_vectors_is_given_back_whatever_was_freed_before() -> None:
    program = (
        "import numpy, psutil\n"
        "from bespoke_workers.memories.allocation import return_large_blocks\n"
        "return_large_blocks()\n"
        "resident = lambda: psutil.Process().memory_info().rss\n"
        "numpy.ones(2**21)\n"  # 16 MiB, freed at once: glibc would take smaller ones for its heap
        "held = [numpy.ones(2**17) for _ in range(100)]\n"  # of 1 MiB
        "before = resident()\n"
        "del held[::2]\n"
        "print((before - resident()) // 2**20, flush=True)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert int(run.stdout) >= 45
