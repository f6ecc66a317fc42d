"""What one worker process owns, wired here and nowhere else.

A runtime belongs to the process that made it: the asyncpg engine and FAISS do not survive
a fork, so ``current()`` makes a new one in each child at its first job.
"""

import os
import time
from collections.abc import Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import structlog

from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.job_records import JobRecords
from bespoke_workers.database.retention import Retention
from bespoke_workers.errors import BespokeError
from bespoke_workers.loop import Loop
from bespoke_workers.outbox import Outbox
from bespoke_workers.settings import Settings

if TYPE_CHECKING:
    from bespoke_workers.learning.embeddings import ExampleEmbeddings
    from bespoke_workers.learning.examples import Examples
    from bespoke_workers.learning.feedback import Learning
    from bespoke_workers.learning.nearest import Neighbourhood
    from bespoke_workers.learning.reading import Reading
    from bespoke_workers.memories.pruning import Pruning
    from bespoke_workers.memories.rounds import Rounds
    from bespoke_workers.memories.safeguard_pruning import SafeguardPruning
    from bespoke_workers.memories.store import Memories
    from bespoke_workers.optimization.batches.all_tiers import AllTiers
    from bespoke_workers.optimization.batches.batch_records import BatchRecords
    from bespoke_workers.optimization.batches.batches import Batches
    from bespoke_workers.optimization.batches.pausing import Pausing
    from bespoke_workers.optimization.cancellation import Cancellation
    from bespoke_workers.optimization.choosing.given_tiers import GivenTiers
    from bespoke_workers.optimization.finetuning.removal import Removal
    from bespoke_workers.optimization.language_model.shared_pace import SharedPace
    from bespoke_workers.optimization.optimization import Optimization
    from bespoke_workers.optimization.reoptimization import Reoptimization
    from bespoke_workers.optimization.spending import SpendingRecords
    from bespoke_workers.optimization.tracking.tracking import Tracking
    from bespoke_workers.programs.bundles import Bundles
    from bespoke_workers.programs.catalogue import Catalogue
    from bespoke_workers.programs.changing import Changing
    from bespoke_workers.programs.checkpoints import Checkpoints
    from bespoke_workers.programs.cleaning import Cleaning
    from bespoke_workers.programs.library import Library
    from bespoke_workers.programs.whole import WholePrograms
    from bespoke_workers.users.erasing import Erasing
    from bespoke_workers.users.exporting import Exporting
    from bespoke_workers.users.importing import Importing

_log = structlog.get_logger("bespoke.jobs")

T = TypeVar("T")
STARTED = time.monotonic()
"""When the worker started, not its child: this module is imported before the fork."""


class Runtime:
    """The event loop, the database engine and the services of one process.

    Services are made at first use and import what they need then: a process that serves
    only memories imports neither dspy nor litellm.
    """

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.settings = settings
        self.outbox = outbox
        self._loop = Loop()

    def run(self, work: Coroutine[object, object, T], *, seconds: float | None = None) -> T:
        """Run ``work`` on this process's loop; raises Permanent after so many ``seconds``."""
        return self._loop.run(work, seconds=seconds)

    def close(self) -> None:
        """Stop what a signal has interrupted, then close the connections and the loop."""
        self._loop.stop_jobs()
        if "database" in self.__dict__:
            self._loop.run(self.database.close())
        if pace := self.__dict__.get("pace"):
            pace.close()
        self._loop.close()

    @cached_property
    def database(self) -> Database:
        """The engine of this process."""
        return Database(self.settings.database(), pool_size=self.settings.database_pool)

    @cached_property
    def memories(self) -> "Memories":
        """The memories of every user."""
        from bespoke_workers.memories.allocation import return_large_blocks
        from bespoke_workers.memories.store import Memories

        self._load_subscribers()
        return_large_blocks()
        return Memories.from_settings(
            self.database,
            self.settings,
            outbox=self.outbox,
            running_s=lambda: time.monotonic() - STARTED,
        )

    def _load_subscribers(self) -> None:
        """Import the application's modules, which may subscribe to events.

        Where that fails, what users say is remembered, and versions are loaded, all the same.
        """
        for module in self.settings.programs:
            try:
                modules.load([module])
            except BespokeError as error:
                _log.error("events reach no subscriber of this module", reason=str(error))

    async def is_reembedding_due(self) -> bool:
        """Whether any space may be of another embedder than the one set, which is not loaded."""
        from bespoke_workers.memories.target import is_due

        return await is_due(self.database, self.settings.embedder)

    @cached_property
    def rounds(self) -> "Rounds":
        """Compaction of everybody."""
        self._load_subscribers()
        from bespoke_workers.memories.defaults import Defaults
        from bespoke_workers.memories.rounds import Rounds
        from bespoke_workers.memories.store import utc_now

        return Rounds(
            self.database,
            self.outbox,
            Defaults.from_settings(self.settings),
            utc_now,
            self.settings.night,
        )

    @cached_property
    def pruning(self) -> "Pruning":
        """How long the archive is kept."""
        from bespoke_workers.memories.pruning import Pruning
        from bespoke_workers.memories.store import utc_now

        keep = self.settings.archive_days, self.settings.job_retention_days
        return Pruning(self.database, utc_now, *keep)

    @cached_property
    def safeguard_pruning(self) -> "SafeguardPruning":
        """How long the exports before large compactions are kept."""
        from bespoke_workers.memories.safeguard_pruning import SafeguardPruning
        from bespoke_workers.memories.store import utc_now
        from bespoke_workers.storage.places import Storage

        storage = Storage(self.settings.storage)
        return SafeguardPruning(storage, utc_now, self.settings.archive_days)

    @cached_property
    def programs(self) -> "Library":
        """The library of saved versions."""
        self._load_subscribers()
        from bespoke_workers.programs.library import Library

        return Library(self.database, self.settings)

    @cached_property
    def catalogue(self) -> "Catalogue":
        """What can be asked about versions without loading them."""
        from bespoke_workers.programs.catalogue import Catalogue

        return Catalogue(self.database)

    @cached_property
    def changing(self) -> "Changing":
        """Which version is in use, and which is there no longer."""
        from bespoke_workers.programs.changing import Changing

        return Changing(self.database, self.programs)

    @cached_property
    def cleaning(self) -> "Cleaning":
        """How many versions are kept."""
        self._load_subscribers()
        from bespoke_workers.programs.cleaning import Cleaning

        return Cleaning(self.database, self.settings, self.outbox)

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """Versions with a name to come back to."""
        from bespoke_workers.programs.checkpoints import Checkpoints

        return Checkpoints(self.database, self.programs)

    @cached_property
    def bundles(self) -> "Bundles":
        """Export and import of versions."""
        self._load_subscribers()
        from bespoke_workers.programs.bundles import Bundles

        return Bundles(self.database, self.settings)

    @cached_property
    def whole_programs(self) -> "WholePrograms":
        """Programs with their code."""
        from bespoke_workers.programs.whole import WholePrograms

        return WholePrograms(self.database, self.settings, self.programs)

    @cached_property
    def examples(self) -> "Examples":
        """The training examples of every user."""
        from bespoke_workers.learning.examples import Examples

        return Examples(self.database, self.settings)

    @cached_property
    def examples_read(self) -> "Reading":
        """What can be asked about training examples."""
        from bespoke_workers.learning.reading import Reading

        return Reading(self.database, self.settings, self.reoptimization)

    @cached_property
    def example_embeddings(self) -> "ExampleEmbeddings":
        """The vectors of training examples."""
        from bespoke_workers.learning.embeddings import ExampleEmbeddings

        return ExampleEmbeddings(self.database, self.settings)

    @cached_property
    def neighbourhood(self) -> "Neighbourhood":
        """Which training examples are alike."""
        from bespoke_workers.learning.nearest import Neighbourhood

        return Neighbourhood(self.database, self.settings, self.example_embeddings)

    @cached_property
    def learning(self) -> "Learning":
        """What users say of outputs."""
        from bespoke_workers.learning.feedback import Learning

        return Learning(self.database, self.settings, self.reoptimization)

    @cached_property
    def reoptimization(self) -> "Reoptimization":
        """When a program is optimized anew."""
        from bespoke_workers.optimization.reoptimization import Reoptimization

        return Reoptimization(self.database, self.settings, self.outbox)

    @cached_property
    def optimization(self) -> "Optimization":
        """The optimization of one user's program."""
        from bespoke_workers.optimization.optimization import Optimization

        return Optimization(
            self.database, self.settings, self.outbox, self.programs, self.examples, self.pace
        )

    @cached_property
    def pace(self) -> "SharedPace | None":
        """How often all workers together call the language model, if one is set."""
        from bespoke_workers.optimization.language_model import lm
        from bespoke_workers.optimization.language_model.shared_pace import SharedPace

        model, api_base = self.settings.lm, self.settings.lm_api_base
        if not model:
            return None
        return SharedPace(self.settings.broker(), model, api_base, lm.rate(self.settings))

    @cached_property
    def batches(self) -> "Batches":
        """The optimization of whole tiers."""
        from bespoke_workers.optimization.batches.batches import Batches

        return Batches(self.database, self.settings, self.outbox)

    @cached_property
    def all_tiers(self) -> "AllTiers":
        """A batch for every tier at once."""
        from bespoke_workers.optimization.batches.all_tiers import AllTiers

        return AllTiers(self.database, self.settings, self.outbox)

    @cached_property
    def pausing(self) -> "Pausing":
        """How batches are paused."""
        from bespoke_workers.optimization.batches.pausing import Pausing

        return Pausing(self.database, self.batches)

    @cached_property
    def batch_records(self) -> "BatchRecords":
        """What batches there are, and how far they are."""
        from bespoke_workers.optimization.batches.batch_records import BatchRecords

        return BatchRecords(self.database)

    @cached_property
    def spending(self) -> "SpendingRecords":
        """What optimizations took."""
        from bespoke_workers.optimization.spending import SpendingRecords

        return SpendingRecords(self.database, self.settings.timezone)

    @cached_property
    def given_tiers(self) -> "GivenTiers":
        """Tiers that users are given by hand."""
        from bespoke_workers.optimization.choosing.given_tiers import GivenTiers

        return GivenTiers(self.database, self.settings)

    @cached_property
    def tracking(self) -> "Tracking":
        """What MLflow is told."""
        from bespoke_workers.optimization.tracking.tracking import Tracking

        return Tracking(self.database, self.settings)

    @cached_property
    def cancellation(self) -> "Cancellation":
        """How jobs are stopped."""
        from bespoke_workers.optimization.cancellation import Cancellation

        return Cancellation(self.database, self.outbox)

    @cached_property
    def job_records(self) -> JobRecords:
        """What became of jobs."""
        return JobRecords(self.database)

    @cached_property
    def removal(self) -> "Removal":
        """How models that were trained for users go."""
        from bespoke_workers.optimization.finetuning.removal import Removal

        return Removal(self.database, self.settings)

    @cached_property
    def erasing(self) -> "Erasing":
        """How users are erased."""
        from bespoke_workers.storage.places import Storage
        from bespoke_workers.users.erasing import Erasing, Tools

        urls = (self.settings.broker(), self.settings.results())
        storage, home = Storage(self.settings.storage), self.settings.home
        forgetting = self._forget, self.tracking.forget, self.removal.of_user
        return Erasing(Tools(self.database, self.outbox, storage, urls, home, *forgetting))

    @cached_property
    def user_exporting(self) -> "Exporting":
        """Export of all that there is of a user."""
        from bespoke_workers.storage.places import Storage
        from bespoke_workers.users.exporting import Exporting

        return Exporting(self.database, Storage(self.settings.storage))

    @cached_property
    def user_importing(self) -> "Importing":
        """Import of a user's bundle."""
        from bespoke_workers.memories.defaults import Defaults
        from bespoke_workers.memories.store import utc_now
        from bespoke_workers.storage.places import Storage
        from bespoke_workers.users.importing import Importing

        default, storage = Defaults.from_settings(self.settings), Storage(self.settings.storage)
        return Importing(self.database, storage, default, lambda: self.memories.embedder, utc_now)

    def _forget(self, user_id: str) -> None:
        """Drop what this process has cached of a user."""
        if "memories" in self.__dict__:
            self.memories.indexes.drop(user_id)

    @cached_property
    def retention(self) -> Retention:
        """How long records of jobs are kept."""
        return Retention(self.database, self.settings)


_runtime: tuple[int, Runtime] | None = None


def current(settings: Settings, outbox: Outbox) -> Runtime:
    """Return this process's runtime; one inherited through a fork is left alone and replaced."""
    global _runtime  # noqa: PLW0603  # a process has one runtime, and tasks are plain functions
    if _runtime is None or _runtime[0] != os.getpid():
        _runtime = (os.getpid(), Runtime(settings, outbox))
    return _runtime[1]


def close() -> None:
    """Close this process's runtime, if it made one."""
    global _runtime  # noqa: PLW0603  # see current()
    if _runtime is not None and _runtime[0] == os.getpid():
        _runtime[1].close()
        _runtime = None
