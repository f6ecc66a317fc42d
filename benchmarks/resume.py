"""What a killed optimization pays in all, against one that nobody disturbs.

The worker is killed with SIGKILL half-way; another one takes the run up again. What was under
way at that moment is paid twice: at most as many calls as a run has threads.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.bench import Figure, servers
from bespoke_schemas.optimization import OptimizeUser
from examples.support_desk.standin_lm import StandinLM
from tests.integration.optimizing import (
    DESKS,
    EXPLAINED,
    PROGRAM,
    Worker,
    until,
    worker_process,
    working,
)

SEARCH = {"optimizer": "BootstrapFewShotWithRandomSearch", "options": {"num_candidate_programs": 3}}
LEASE_S = 2.0
LATENCY = timedelta(milliseconds=10)
PATIENCE_S = 600.0
MOST = 1.02


@dataclass(frozen=True)
class Case:
    """One optimizer, at a size where what four calls more come to is less than what is asked."""

    optimizer: str
    examples: int
    options: dict[str, Any] = field(default_factory=dict)
    program: str = PROGRAM


CASES = (
    Case("LabeledFewShot", 400),
    Case("BootstrapFewShot", 400),
    Case("BootstrapFewShotWithRandomSearch", 150, {"num_candidate_programs": 4}),
    Case("MIPROv2", 150, {"auto": "light"}),
    Case("GEPA", 120, {"max_metric_calls": 400}, EXPLAINED),
    Case("KNNFewShot", 400, {"max_bootstrapped_demos": 150}),
    Case("InferRules", 250, {"num_candidates": 3}),
    Case("auto", 150, {"ladder": ["LabeledFewShot", "KNNFewShot", SEARCH]}),
)


def measure() -> Iterator[Figure]:
    """Run each optimizer twice: undisturbed, and killed half-way."""
    with servers() as here:
        for case in CASES:
            total, undisturbed, same = asyncio.run(_twice(here.postgres.url, case))
            if not same:
                raise RuntimeError(f"{case.optimizer}: a killed run came to another program")
            name = f"{case.optimizer}, killed, calls of {undisturbed}"
            yield Figure(name, total / undisturbed, "x", MOST, at_most=True)


async def _twice(url: str, case: Case) -> tuple[int, int, bool]:
    """Return the calls paid in all, those of an undisturbed run, and if the programs agree."""
    with tempfile.TemporaryDirectory(prefix="bespoke-bench-") as directory:
        home = Path(directory)
        with StandinLM() as lm:
            async with _worker(url, home, lm) as worker:
                await worker.execute("TRUNCATE example, learner, optimization_job, job CASCADE")
                await worker.execute("TRUNCATE program_version, active_program CASCADE")
                await worker.teach("ada", case.examples, case.program)
                await _take_up(worker, await _accepted(worker, case))
                undisturbed = lm.calls
                await worker.execute("DELETE FROM active_program")
        with StandinLM(latency=LATENCY) as lm:
            async with _worker(url, home, lm) as worker:
                payload = await _accepted(worker, case)
                with worker_process(worker, lm, payload.id) as process:
                    await _half_way(lm, undisturbed // 2)
                    process.kill()
                    await asyncio.to_thread(process.wait)
                await _sent_again(worker)
                await _take_up(worker, payload)
                first, second = await worker.execute(
                    "SELECT state FROM program_version WHERE checkpoint IS NULL"
                )
                return lm.calls, undisturbed, first == second


def _worker(url: str, home: Path, lm: StandinLM) -> Any:
    return working(url, home, lm=lm.url, lease_s=LEASE_S, programs=DESKS)


async def _accepted(worker: Worker, case: Case) -> OptimizeUser:
    payload = OptimizeUser.model_validate(
        {
            "user_id": "ada",
            "program": case.program,
            "optimizer": case.optimizer,
            "options": case.options,
        }
    )
    await worker.optimization.accept(payload)
    return payload


async def _take_up(worker: Worker, payload: OptimizeUser) -> None:
    if await worker.optimization.run(payload.id) is None:
        raise RuntimeError(f"{payload.optimizer}: the run was not taken up again")


async def _half_way(lm: StandinLM, calls: int) -> None:
    async def made() -> bool:
        return lm.calls >= calls

    await until(made, PATIENCE_S)


async def _sent_again(worker: Worker) -> None:
    """Reap until the dead worker's lease has ended and its run is sent again."""
    sent = len(worker.outbox.runs)

    async def again() -> bool:
        await worker.optimization.reap()
        return len(worker.outbox.runs) > sent

    await until(again, PATIENCE_S)


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.name:55} {figure.value:.4f} {figure.unit}", flush=True)
