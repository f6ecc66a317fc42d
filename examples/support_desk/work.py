"""What the demo enqueues, and what came of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bespoke_client import Client, Job, examples, exports, memories, optimization, programs
from bespoke_schemas.optimization import BatchSummary, Optimized
from examples.support_desk.desk import Desk

PROGRAM = "support"
PATIENCE = 900.0  # seconds for one job, on a slow machine with a slow LM
TIERS = ("basic", "advanced", "premium")


@dataclass(frozen=True)
class LeftToTheNight:
    """A person whose program only the batch of a tier optimizes."""

    user_id: str
    desk: Desk


@dataclass
class Remembered:
    """What became of one person's memories."""

    stored: int = 0
    merged: int = 0
    compacted: int = 0
    left: int = 0


@dataclass
class Done:
    """Everything that the report tells."""

    optimized: list[Optimized] = field(default_factory=list)
    remembered: dict[str, Remembered] = field(default_factory=dict)
    batches: list[BatchSummary] = field(default_factory=list)
    exported: exports.Exported | None = None
    imported: exports.Imported | None = None


def do_the_work(
    client: Client, people: Sequence[Desk], night: Sequence[LeftToTheNight], console: Console
) -> Done:
    """Store, learn, optimize each person, then whole tiers, and export; wait for all of it."""
    done = Done()
    with _progress(console) as bars:
        _learn(client, people, night, bars)
        done.remembered = dict(_remember(client, people, bars))
        done.optimized = list(_optimize(client, people, bars))
        done.batches = list(_optimize_tiers(client, bars))
        done.optimized += [_in_use(client, person) for person in night]
        done.exported = client.enqueue(exports.ExportPrograms()).result(PATIENCE)
        # The versions are all there, so importing them again must change nothing.
        bundle = exports.ImportPrograms(url=done.exported.url)
        done.imported = client.enqueue(bundle).result(PATIENCE)
    return done


def _learn(
    client: Client, people: Sequence[Desk], night: Sequence[LeftToTheNight], bars: Progress
) -> None:
    sets = [(desk.user_id, desk) for desk in people]
    sets += [(person.user_id, person.desk) for person in night]
    jobs = client.enqueue_many(
        examples.AddMany(
            user_id=user_id,
            program=PROGRAM,
            examples=tuple(example.fields() for example in desk.examples),
        )
        for user_id, desk in sets
    )
    for job in bars.track(jobs, description="adding examples"):
        job.result(PATIENCE)


def _remember(
    client: Client, people: Sequence[Desk], bars: Progress
) -> Iterator[tuple[str, Remembered]]:
    jobs: list[tuple[str, Job[memories.Stored]]] = []
    for desk in people:
        said = [memories.Store(user_id=desk.user_id, content=text) for text in desk.memories]
        jobs += [(desk.user_id, job) for job in client.enqueue_many(said)]
    remembered = {desk.user_id: Remembered() for desk in people}
    for user_id, job in bars.track(jobs, description="storing memories"):
        stored = job.result(PATIENCE)
        seen = remembered[user_id]
        seen.stored += 1
        seen.merged += stored.outcome == "merged"
        seen.compacted += stored.compaction.total_compacted
    for user_id, seen in remembered.items():
        seen.left = client.enqueue(memories.Count(user_id=user_id)).result(PATIENCE).count
        yield user_id, seen


def _optimize(client: Client, people: Sequence[Desk], bars: Progress) -> Iterator[Optimized]:
    jobs = client.enqueue_many(
        optimization.OptimizeUser(user_id=desk.user_id, program=PROGRAM) for desk in people
    )
    for desk, job in zip(people, jobs, strict=True):
        bar = bars.add_task(f"optimizing {desk.user_id}", total=None)
        for progress in job.watch():
            best = "" if progress.best_score is None else f", best {progress.best_score:.0%}"
            told = f"optimizing {desk.user_id}: {progress.step}, {progress.lm_calls} calls{best}"
            bars.update(bar, description=told, completed=progress.done, total=progress.total)
        yield job.result(PATIENCE)
        bars.update(bar, description=f"optimized {desk.user_id}", completed=1, total=1)


def _optimize_tiers(client: Client, bars: Progress) -> Iterator[BatchSummary]:
    """Enqueue tonight's batches, which find whoever has something new to learn from."""
    tonight = datetime.now(UTC).date()
    jobs = client.enqueue_many(
        optimization.OptimizeTier(program=PROGRAM, tier=tier, night=tonight, max_concurrent=2)
        for tier in TIERS
    )
    for job in bars.track(jobs, description="optimizing whole tiers"):
        yield job.result(PATIENCE)


def _in_use(client: Client, person: LeftToTheNight) -> Optimized:
    """Read what the night's batch came to out of the version in use."""
    loaded = client.enqueue(programs.LoadActive(program=PROGRAM, user_id=person.user_id)).result(
        PATIENCE
    )
    if loaded.version is None:
        return Optimized(
            user_id=person.user_id,
            program=PROGRAM,
            examples=len(person.desk.examples),
            tier="none",
            optimizer=None,
            score_before=None,
            score_after=None,
            promoted=False,
            program_id=None,
            reason="no version in use",
        )
    return Optimized.model_validate(loaded.version.optimization_result)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
