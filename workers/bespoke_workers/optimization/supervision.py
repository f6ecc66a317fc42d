"""What goes on beside a run's thread: the lease is renewed, progress told, the stop thrown."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import structlog

from bespoke_schemas.jobs import Progress
from bespoke_schemas.optimization import OptimizeUser
from bespoke_workers.errors import Cancelled, Permanent
from bespoke_workers.optimization.account import Account
from bespoke_workers.optimization.background import in_thread
from bespoke_workers.optimization.leases import WHILE_IT_RAN, Claim, Leases, lost
from bespoke_workers.optimization.stopping import LostLease, Stop
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.outbox import Outbox
from bespoke_workers.patience import CALL_SECONDS

LOOK_SECONDS: Final = 1.0
"""How often a run looks whether it was cancelled."""
TELL_SECONDS: Final = 0.5
"""How often a run tells of its progress, if there is any."""

PATIENCE_SECONDS: Final = CALL_SECONDS + 10.0
"""How long a stopped run's thread is waited for: a call under way may take so long, and the rest
is for what follows it. A server that sends a byte now and then can make a call last for ever."""

GOING_SECONDS: Final = 3.0
"""How long calls under way are waited for in a process that ends, so that answers are kept."""

T = TypeVar("T")

_log = structlog.get_logger("bespoke.optimization")


class Supervision:
    """Keeps one claimed row while its run works in a thread, and stops the run if need be."""

    def __init__(
        self, leases: Leases, outbox: Outbox, claim: Claim, stop: Stop, account: Account
    ) -> None:
        self._leases = leases
        self._outbox = outbox
        self._claim = claim
        self._stop = stop
        self._account = account
        self._halt = asyncio.Event()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        """Renew the lease until the end of the block."""
        renewing = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing

    async def run(
        self,
        work: Callable[[], T],
        watch: Watch,
        seconds: float,
        halted: Callable[[Permanent], Awaitable[object]],
    ) -> T:
        """Run ``work`` in a thread for at most ``seconds``; return what it returns.

        Where it is stopped from outside, ``halted`` is awaited at once with the reason. The
        thread is waited for all the same, for no LM call may go on into the next job; then
        the reason is raised. A thread whose call outlasts its time-out is left behind: it
        begins no other call, and what it comes to counts for nothing.
        """
        deadline = asyncio.get_running_loop().call_later(seconds, self._expire)
        thread = in_thread(work)
        halt = asyncio.create_task(self._halt.wait())
        telling = asyncio.create_task(self._tell(watch, thread))
        patience = PATIENCE_SECONDS
        try:
            either: set[asyncio.Future[Any]] = {thread, halt}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not thread.done() and self._stop.reason is not None:
                await halted(self._stop.reason)
        except asyncio.CancelledError:  # the worker is going away
            patience = GOING_SECONDS
            raise
        finally:
            deadline.cancel()
            halt.cancel()
            if not thread.done():
                self._stop.request(Cancelled("stopped: its worker was shut down"))
            await self._end_of(thread, telling, patience)
        if self._stop.reason is not None:
            # What the thread came to no longer counts, not even how it failed.
            failed = None if thread.cancelled() else thread.exception()
            raise self._stop.reason from failed
        return thread.result()

    async def _end_of(
        self, thread: "asyncio.Future[T]", telling: "asyncio.Task[None]", patience: float
    ) -> None:
        """Wait for the end of a run's thread, which has ended or is to stop."""
        await asyncio.wait({thread}, timeout=patience)
        if not thread.done():
            _log.error("an LM call under way is left behind", waited_s=patience)
            thread.cancel()
        await telling

    def _expire(self) -> None:
        self._stop.expire()
        self._halt.set()

    def _request(self, reason: Permanent) -> None:
        self._stop.request(reason)
        self._halt.set()

    async def _keep(self) -> None:
        """Renew every third of the lease; in between, look whether the run was cancelled."""
        lease = self._leases.lease.total_seconds()
        held_from = renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, lease / 3))
            began = time.monotonic()
            due = began - renewed >= lease / 3
            look = self._renew if due else self._leases.asked_to_cancel
            try:
                cancelled = await look(self._claim)
            except LostLease as error:
                return self._request(error)
            except Exception as error:  # noqa: BLE001  # however it fails, the lease runs on
                _log.warning("lease not renewed", error=type(error).__name__)
                if time.monotonic() - held_from >= lease:
                    return self._request(lost(self._claim))
                continue
            if due:
                held_from = renewed = began
            if cancelled:
                return self._request(Cancelled(WHILE_IT_RAN))

    async def _renew(self, claim: Claim) -> bool:
        async with self._account.growth() as growth:
            return await self._leases.renew(claim, growth.columns())

    async def _tell(self, watch: Watch, thread: "asyncio.Future[T]") -> None:
        told: Progress | None = None
        while not thread.done() and self._claim.batch_id is None:
            progress = watch.progress
            if progress != told:
                told = progress
                try:
                    await asyncio.to_thread(
                        self._outbox.progress, self._claim.job_id, OptimizeUser.task, progress
                    )
                except Exception as error:  # noqa: BLE001  # progress is no reason to fail
                    _log.warning("progress not told", error=type(error).__name__)
            await asyncio.wait({thread}, timeout=TELL_SECONDS)
