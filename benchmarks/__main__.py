"""``make bench``: measure, print the table, write results.json."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    bundles,
    compaction_share,
    for_user,
    index_scale,
    program_search,
    resume,
    store_among_many,
    store_latency,
    store_many,
    store_throughput,
    worker_memory,
)
from benchmarks.bench import Figure

RESULTS = Path(__file__).with_name("results.json")
BENCHMARKS: tuple[Callable[[], Iterator[Figure]], ...] = (
    store_throughput.measure,
    store_many.measure,
    store_latency.measure,
    store_among_many.measure,
    compaction_share.measure,
    index_scale.measure,
    worker_memory.measure,
    program_search.measure,
    bundles.measure,
    for_user.measure,
    resume.measure,
)


def main() -> int:
    """Run every benchmark and return the exit code: 1 if a figure falls short."""
    figures = []
    print(f"{'':45} {'measured':>12} {'asked':>12}")
    for benchmark in BENCHMARKS:
        for figure in benchmark():
            figures.append(figure)
            print(_row(figure), flush=True)
    rows = [
        {
            "name": f.name,
            "value": float(f.value),  # NumPy's own numbers are no JSON
            "asked": f.asked,
            "unit": f.unit,
            "ok": bool(f.ok),
        }
        for f in figures
    ]
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(figure.ok for figure in figures) else 1


def _row(figure: Figure) -> str:
    sign = "≤" if figure.at_most else "≥"
    asked = "" if figure.asked is None else f"{sign} {figure.asked:g} {figure.unit}"
    short = "" if figure.ok else "  falls short"
    return f"{figure.name:45} {figure.value:>8.2f} {figure.unit:3} {asked:>12}{short}"


if __name__ == "__main__":
    sys.exit(main())
