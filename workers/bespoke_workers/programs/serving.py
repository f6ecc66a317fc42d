"""``for_user("support", "ada")``: a user's program, ready to be called, from any thread.

What is kept is compared with the pointers in the database at every call, by one statement on an
index, so that no call is served a version that was out of use when it began, whichever process
moved the pointer. Each caller gets a copy: DSPy's modules are written to when they are called.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from bespoke_schemas.program_state import Key, Master, Masters, Stats, pick
from bespoke_workers.database.portal import Portal, portal, wait
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused, Transient
from bespoke_workers.observe import events, logging
from bespoke_workers.programs import announcing
from bespoke_workers.programs.in_use import InUse, Pointers, in_use, pointers
from bespoke_workers.programs.library import Library
from bespoke_workers.programs.requests import RequestEmbeds
from bespoke_workers.programs.turns import Turns

if TYPE_CHECKING:
    import dspy

TIMEOUT = 15.0  # seconds; the database is given ten to accept a connection

T = TypeVar("T")

_log = logging.quiet("bespoke.programs")


class ForUser:
    """Serves the programs of users. One for a process: ``bespoke_workers.programs.for_user``."""

    def __init__(self, reach: Callable[[], Portal] = portal) -> None:
        self._reach = reach
        self._serving: dict[int, _Serving] = {}

    def __call__(
        self, program: str, user_id: str | None = None, *, strict: bool = False
    ) -> "dspy.Module":
        """Return the program with the state that the user has in use, to call and to change.

        A user who has none gets the shared base's, and where there is none either, the plain
        program; None stands for the shared base. Where the version in use does not fit the
        program any more, the base's or the plain program is served and a warning is logged;
        with ``strict``, Refused is raised. Raises Refused too for a program that is not
        registered, and Transient while the database is away.
        """
        return self._here().serve(program, user_id, strict=strict)

    async def asynchronously(
        self, program: str, user_id: str | None = None, *, strict: bool = False
    ) -> "dspy.Module":
        """Do the same without keeping an event loop waiting."""
        return await asyncio.to_thread(self, program, user_id, strict=strict)

    def stats(self) -> Stats:
        """Return what became of this process's calls."""
        return self._here().masters.stats()

    def forget(self, user_id: str) -> None:
        """Let go of what this process keeps of a user, such as one who was erased."""
        self._here().masters.forget(user_id)

    def _here(self) -> "_Serving":
        """Return what this process has; what came through a fork is left alone."""
        pid = os.getpid()
        # setdefault is atomic, and a lock could be held by a thread that the fork left out.
        return self._serving.get(pid) or self._serving.setdefault(pid, _Serving(self._reach()))


class _Serving:
    """The modules that one process keeps."""

    def __init__(self, portal: Portal) -> None:
        self.masters: Masters[Master] = Masters(portal.settings.program_cache)
        self._portal = portal
        self._library = Library(portal.database, portal.settings)
        self._turns = Turns()
        self._requests = RequestEmbeds(portal.settings)

    def serve(self, program: str, user_id: str | None, *, strict: bool) -> "dspy.Module":
        alone = self._library.registered(program).own is None
        now = self._ask(partial(pointers, self._portal.database, program, user_id))
        key = (program, user_id)
        master = self._valid(key, now, alone)
        hit = master is not None
        if master is None:
            with self._turns.of(key):
                # Another thread may have loaded it meanwhile.
                master = self._valid(key, now, alone)
                hit = master is not None
                if master is None:
                    master = self._load(program, user_id, alone)
                    self.masters.put(key, master)
        self.masters.count(hit=hit)
        if strict and master.problem is not None:
            raise Refused(master.problem)
        return master.lend()

    def _valid(self, key: Key, now: Pointers, alone: bool) -> Master | None:
        """Return the master of ``key`` if it is made of what the pointers point to."""
        master = self.masters.get(key)
        if master is None or master.made_of != _relevant(now, alone and not master.problem):
            return None
        return master

    def _load(self, program: str, user_id: str | None, alone: bool) -> Master:
        with announcing.loading(user_id, program) as found:
            there = self._ask(partial(in_use, self._portal.database, program, user_id))
            found.extend([there.versions[0]] if there.versions else [])
        problem = None
        for version in there.versions:
            try:
                return self._made(program, there, version, alone, problem)
            except Refused as refused:
                problem = problem or str(refused)
                _log.warning(
                    "a version in use does not fit the program, which is served without it",
                    program=program,
                    program_id=str(version.id),
                    user=None if user_id is None else events.hashed(user_id),
                    reason=str(refused),
                )
        return self._made(program, there, None, alone, problem)

    def _made(
        self,
        program: str,
        there: InUse,
        version: ProgramVersion | None,
        alone: bool,
        problem: str | None,
    ) -> Master:
        """Make the master of a program with one of the versions that are there, or with none."""
        model = there.model if version is there.own else None

        def build() -> "dspy.Module":
            module = self._library.module_for(program, version, there.base, model)
            return pick(module, self._requests)

        return Master(
            build,
            made_of=_relevant(there.pointers, alone and not problem),
            state_bytes=version.size_bytes if version else 0,
            problem=problem,
        )

    def _ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return wait(work, self._portal.loop, TIMEOUT)
        except TimeoutError:
            raise Transient(f"the database did not answer within {TIMEOUT:g} s") from None


def _relevant(pointers: Pointers, alone: bool) -> Hashable:
    """Return the marks that a module depends on; ``alone``: a user's version needs no base."""
    return pointers.own, None if alone and pointers.own else pointers.base


for_user = ForUser()
afor_user = for_user.asynchronously
