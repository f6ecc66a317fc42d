"""Optimization as worker processes have it, for tests: services, and an outbox that records."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import select

from bespoke_schemas import Payload, Result
from bespoke_schemas.examples import AddMany
from bespoke_schemas.jobs import Progress
from bespoke_schemas.optimization import Optimized, OptimizeUser
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import OptimizationJob, ProgramVersion
from bespoke_workers.learning.examples import Examples
from bespoke_workers.learning.feedback import Learning
from bespoke_workers.learning.reading import Reading
from bespoke_workers.optimization.batches.batches import Batches
from bespoke_workers.optimization.cancellation import Cancellation
from bespoke_workers.optimization.optimization import Optimization
from bespoke_workers.optimization.reoptimization import Reoptimization
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from examples.support_desk import desk
from examples.support_desk.standin_lm import StandinLM
from tests.nodes.waiting import SECONDS

PROGRAM = "support"
SAMPLE = Path(desk.__file__).with_name("sample.csv")
MODULE = "examples.support_desk.program"
EXPLAINED = "explained"
DESKS = (MODULE, "tests.integration.explaining_desk")
SEARCH: dict[str, Any] = {
    "optimizer": "BootstrapFewShotWithRandomSearch",
    "options": {"num_candidate_programs": 3},
}
GEPA: dict[str, Any] = {"optimizer": "GEPA", "options": {"max_metric_calls": 150}}
KNN: dict[str, Any] = {
    "optimizer": "KNNFewShot",
    "options": {"k": 3, "max_bootstrapped_demos": 10},
}
RULES: dict[str, Any] = {"optimizer": "InferRules", "options": {"num_candidates": 2}}
AUTO: dict[str, Any] = {
    "optimizer": "auto",
    "options": {"ladder": ["LabeledFewShot", KNN, SEARCH]},
}


@dataclass
class RecordingOutbox:
    """Keeps what a real outbox would send."""

    enqueued: list[Payload[Any]] = field(default_factory=list)
    runs: list[UUID] = field(default_factory=list)
    finetunings: list[UUID] = field(default_factory=list)
    unanswered: set[UUID] = field(default_factory=set)
    rounds: list[UUID] = field(default_factory=list)
    calls_for_reembedding: int = 0
    calls_for_pruning: int = 0
    told: list[tuple[UUID, Progress]] = field(default_factory=list)
    succeeded: dict[UUID, Result] = field(default_factory=dict)
    failed: dict[UUID, Exception] = field(default_factory=dict)

    def enqueue(self, payload: Payload[Any]) -> None:
        self.enqueued.append(payload)

    def run_optimization(
        self, job_id: UUID, *, finetuning: bool = False, answered: bool = True
    ) -> None:
        self.runs.append(job_id)
        if finetuning:
            self.finetunings.append(job_id)
        if not answered:
            self.unanswered.add(job_id)

    def go_on(self, round_id: UUID) -> None:
        self.rounds.append(round_id)

    def reembed(self) -> None:
        self.calls_for_reembedding += 1

    def prune(self) -> None:
        self.calls_for_pruning += 1

    def progress(self, job_id: UUID, task: str, progress: Progress) -> None:
        self.told.append((job_id, progress))

    def succeed(self, job_id: UUID, task: str, result: Result) -> None:
        self.succeeded[job_id] = result

    def fail(self, job_id: UUID, error: Exception) -> None:
        self.failed[job_id] = error


@dataclass
class Worker:
    """The services of one worker process."""

    database: Database
    settings: Settings
    outbox: RecordingOutbox
    library: Library
    examples: Examples
    examples_read: Reading
    learning: Learning
    optimization: Optimization
    batches: Batches
    cancellation: Cancellation

    async def teach(self, user_id: str, count: int, program: str = PROGRAM) -> None:
        """Give a user ``count`` examples out of the support desk's sample."""
        await self.examples.add_many(
            AddMany(user_id=user_id, program=program, examples=lessons(count))
        )

    async def teach_marked(self, user_id: str, count: int, program: str = PROGRAM) -> None:
        """Give a user such examples, with the user's own marker in each text and label."""
        mine = marked(user_id, count)
        await self.examples.add_many(AddMany(user_id=user_id, program=program, examples=mine))

    async def optimize(self, user_id: str, **options: Any) -> Optimized:
        """Accept and run one optimization; it must come to a result."""
        payload = OptimizeUser(user_id=user_id, **{"program": PROGRAM, **options})
        assert await self.optimization.accept(payload) is None
        optimized = await self.optimization.run(payload.id)
        assert optimized is not None
        return optimized

    async def row(self, job_id: UUID) -> OptimizationJob:
        async with self.database.transaction() as session:
            return await session.get_one(OptimizationJob, job_id)

    async def states(self) -> list[str]:
        """Return the states of all optimizations in the order of their ids."""
        async with self.database.transaction() as session:
            rows = await session.exec(select(OptimizationJob).order_by(text("id")))
            return [row.state for row in rows]

    async def in_use(self, user_id: str, program: str = PROGRAM) -> ProgramVersion | None:
        async with self.database.transaction() as session:
            return await self.library.active(session, user_id, program)

    async def execute(self, statement: str, **values: Any) -> Any:
        """Run SQL as a person at the database would."""
        async with self.database.autocommit() as connection:
            result = await connection.execute(text(statement), values)
            return result.scalars().all() if result.returns_rows else None


@asynccontextmanager
async def working(
    url: str, home: Path, *, lm: str | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """Open the services of one worker; ``lm`` is the stand-in's URL."""
    settings = Settings(
        database_url=SecretStr(url),
        home=home,
        programs=options.pop("programs", (MODULE,)),
        lm="openai/standin" if lm else None,
        lm_api_base=lm,
        lm_api_key=SecretStr("a key of no value"),
        **options,
    )
    database = Database(url, pool_size=10)
    outbox = RecordingOutbox()
    library = Library(database, settings)
    examples = Examples(database, settings)
    reoptimization = Reoptimization(database, settings, outbox)
    try:
        yield Worker(
            database=database,
            settings=settings,
            outbox=outbox,
            library=library,
            examples=examples,
            examples_read=Reading(database, settings, reoptimization),
            learning=Learning(database, settings, reoptimization),
            optimization=Optimization(database, settings, outbox, library, examples),
            batches=Batches(database, settings, outbox),
            cancellation=Cancellation(database, outbox),
        )
    finally:
        await database.close()


def lessons(count: int, person: int = 0) -> tuple[dict[str, Any], ...]:
    """Return ``count`` different labelled messages, as one of the desk's people labels them."""
    people = desk.desks(desk.load(SAMPLE), [*range(1, person + 1), count])
    return tuple(example.fields() for example in people[-1].examples)


def marker(user_id: str) -> str:
    """Return what nothing but a user's own examples has in it."""
    return f"marker-{user_id}"


def marked(user_id: str, count: int) -> tuple[dict[str, Any], ...]:
    """Return labelled messages with the user's marker in each text and label."""
    return tuple(
        {name: f"{value} {marker(user_id)}" for name, value in one.items()}
        for one in lessons(count)
    )


def texts(fields: Sequence[dict[str, Any]]) -> set[str]:
    """Return the messages of examples."""
    return {str(one["text"]) for one in fields}


async def until(true: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
    """Wait for something to become true; raises TimeoutError if it does not."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)


async def calls_made(lm: StandinLM, calls: int) -> None:
    """Wait until the stand-in has answered so many calls."""

    async def made() -> bool:
        return lm.calls >= calls

    await until(made)


async def _run(url: str, home: str, lm: str, job_id: str, lease_s: str) -> None:
    async with working(url, Path(home), lm=lm, lease_s=float(lease_s), programs=DESKS) as worker:
        worker.library.registered(PROGRAM)
        await worker.optimization.run(UUID(job_id))


@contextmanager
def worker_process(
    worker: Worker, lm: StandinLM, job_id: UUID
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one row in a process of its own, which the test may kill."""
    url = worker.settings.database()
    settings = worker.settings
    process = subprocess.Popen(
        [
            sys.executable, "-m", "tests.integration.optimizing",
            url, str(settings.home), lm.url, str(job_id), str(settings.lease_s),
        ]
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
