"""What an application keeps of users' programs: modules, since when, and what was served."""

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from bespoke_client.errors import NotServed
from bespoke_schemas import small_model
from bespoke_schemas.program_state import (
    Embeds,
    Key,
    Master,
    Masters,
    StateRefused,
    Stats,
    assemble,
    pick,
    predictors,
    separate,
)
from bespoke_schemas.programs import LoadActive, Loaded, UserModel, Version

TTL = 60.0  # seconds for which what was loaded is served without asking again
TIMEOUT = 2.0  # seconds that a request waits for workers
SIZE = 256

Loading = Generator[LoadActive, Loaded, "Shelved"]
"""Asks for what it needs, gets the answers, and returns what is to be served."""

ModelLM = Callable[[UserModel], Any]
"""Makes a ``dspy.LM`` of a user's model, with the application's own address and key."""

_log = logging.getLogger("bespoke.programs")


@dataclass(frozen=True)
class ServingStats(Stats):
    """What became of the calls. A call that is no hit waited for workers, or found none.

    ``stale``: what was kept was served beyond its time; ``without``: the base's or the plain
    program was served, as nothing was kept.
    """

    stale: int
    without: int


class Shelved(Master):
    """A program with its state, and since when it is known to be what is in use."""

    def __init__(self, build: Callable[[], Any], asked_at: float, loaded: Loaded) -> None:
        sizes = [each.size_bytes for each in (loaded.version, loaded.base) if each is not None]
        sizes += [len(loaded.model.content or "")] if loaded.model else []
        super().__init__(build, _ids(loaded), sum(sizes))
        self.asked_at = asked_at


class Shelf:
    """Programs by their users, for one process. Thread-safe, and waits for nobody."""

    def __init__(
        self,
        register: Mapping[str, Callable[[], Any]],
        ttl: float,
        size: int,
        embeds: Callable[[str | None], Embeds],
        model_lm: ModelLM | None = None,
    ) -> None:
        """``embeds`` returns what embeds the requests of a user's program."""
        self._factories = dict(register)
        self._embeds = embeds
        self._model_lm = model_lm
        self._ttl = ttl
        self._masters: Masters[Shelved] = Masters(size)
        self._stale = self._without = 0
        self._lock = threading.Lock()

    def check(self, program: str) -> None:
        """Raise NotServed, saying what to do, where the program cannot be made here."""
        if program not in self._factories:
            raise NotServed(
                f"unknown program {program!r}; registered here: {sorted(self._factories)}; "
                "give Programs its class, in register={…}"
            )
        if importlib.util.find_spec("dspy") is None:
            raise NotServed("programs are DSPy modules; install bespoke-client[dspy]")

    def fresh(self, key: Key) -> Shelved | None:
        """Return what is kept of ``key``, if it was loaded within its time."""
        kept = self._masters.get(key)
        if kept is None or time.monotonic() - kept.asked_at > self._ttl:
            return None
        return kept

    def put(self, key: Key, shelved: Shelved) -> None:
        """Keep what was loaded."""
        self._masters.put(key, shelved)

    def forget(self, user_id: str | None) -> None:
        """Let go of all that is kept of a user; of everybody, for None."""
        self._masters.forget(user_id)

    def loading(self, key: Key) -> Loading:
        """Load a user's program; where its state does not fit, the base's, or the plain one."""
        program, user_id = key
        asked_at = time.monotonic()
        loaded = yield LoadActive(program=program, user_id=user_id)
        try:
            return self._made(key, asked_at, loaded)
        except StateRefused as refused:
            problem = str(refused)
            _warn_unfit(program, loaded.version, refused)
        base = loaded.base
        if base is None and loaded.version is not None and loaded.version.user_id is not None:
            base = (yield LoadActive(program=program)).version
        try:
            shelved = self._made(key, asked_at, Loaded(version=base))
        except StateRefused as refused:
            _warn_unfit(program, base, refused)
            shelved = self._made(key, asked_at, Loaded(version=None))
        shelved.problem = problem
        return shelved

    def beyond(self, key: Key) -> Any:
        """Return what there is although workers did not answer: what is kept, else without it."""
        kept = self._masters.get(key)
        with self._lock:
            self._stale += kept is not None
            self._without += kept is None
        base = kept or self._masters.get((key[0], None))
        return base.lend() if base else self._plain(key[0])

    def count(self, *, hit: bool) -> None:
        """Count a call: whether it was served at once from what is kept."""
        self._masters.count(hit=hit)

    def stats(self) -> ServingStats:
        """Return the counters of this moment."""
        with self._lock:
            stale, without = self._stale, self._without
        return ServingStats(**asdict(self._masters.stats()), stale=stale, without=without)

    def _plain(self, program: str) -> Any:
        return separate(self._factories[program]())

    def _give(
        self, module: Any, model: UserModel, program_id: UUID, own: Collection[str] | None
    ) -> None:
        """Have the user's own predictors called with the user's model.

        Raises StateRefused where that cannot be reached from here.
        """
        if model.content is not None:
            lm: Any = small_model.language_model(str(program_id), _small(model.content))
        elif self._model_lm is not None:
            lm = self._model_lm(model)
        else:
            raise StateRefused(
                f"the user's model is at provider {model.provider!r}, which this application has "
                "no key for; give Programs model_lm=…, which makes a dspy.LM of its name"
            )
        for name, predictor in predictors(module).items():
            if own is None or name in own:
                predictor.lm = lm

    def _made(self, key: Key, asked_at: float, loaded: Loaded) -> Shelved:
        """Return what is to be kept; the same as before, where what is in use is the same."""
        known = self._masters.get(key)
        if known is not None and known.problem is None and known.made_of == _ids(loaded):
            known.asked_at = asked_at
            return known

        left_plain: set[str] = set()

        def build() -> Any:
            module = self._plain(key[0])
            others = assemble(module, loaded.version, base=loaded.base, own=loaded.own)
            left_plain.update(others)
            if loaded.model is not None and loaded.version is not None:
                self._give(module, loaded.model, loaded.version.program_id, loaded.own)
            return pick(module, self._embeds(key[1]))

        shelved = Shelved(build, asked_at, loaded)
        if left_plain:
            _log.warning("the shared base has another shape: %s: %s", key[0], sorted(left_plain))
        return shelved


def advance(loading: Loading, answer: Loaded | None) -> "LoadActive | Shelved":
    """Give a loading the answer that it waits for; return what it asks next, or its result."""
    try:
        return next(loading) if answer is None else loading.send(answer)
    except StopIteration as stop:
        shelved: Shelved = stop.value
        return shelved


def _small(content: str) -> small_model.SmallModel:
    try:
        return small_model.SmallModel.of(content)
    except ValueError as error:
        raise StateRefused(f"the user's model cannot be read: {error}") from None


def _ids(loaded: Loaded) -> tuple[object, object]:
    return (
        loaded.version and loaded.version.program_id,
        loaded.base and loaded.base.program_id,
    )


def _warn_unfit(program: str, version: Version | None, refused: StateRefused) -> None:
    _log.warning(
        "a version in use does not fit the program, which is served without it: %s %s: %s",
        program,
        version.program_id if version else "",
        refused,
    )
