"""Each job is done with the embedder of its user's space, which may be older than the one set.

A service knows one embedder. There is a set of services for each embedder that a space was met
with, and a job whose user's space turns out to be of another one is done by that one's set: the
old index serves until the new one is complete.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bespoke_workers.errors import BespokeError, Transient
from bespoke_workers.memories.embedders import Embedders, Kind, OtherEmbedder, Unloadable
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.services import Services

TRIES = 4
"""How many embedders a job is tried with; more than two are met if the space moves meanwhile."""

T = TypeVar("T")


class Fitting:
    """Does jobs with the services whose embedder is that of the user's space."""

    def __init__(
        self,
        embedders: Embedders,
        loader: Loader,
        make: Callable[[Loader, Embedder], Services],
        read_kind: Callable[[str], Awaitable[Kind | None]],
        on_older: Callable[[str], Awaitable[None]],
    ) -> None:
        """``read_kind`` tells of which embedder a user's space is, None if there is no space.

        ``on_older`` is called with each user whose space is not of the embedder that is set."""
        self._embedders = embedders
        self._loader = loader
        self._make = make
        self._read_kind = read_kind
        self._on_older = on_older
        self._services: dict[Kind, Services] = {}

    @property
    def current(self) -> Services:
        """The services of the embedder that is set."""
        return self._of(self._embedders.current.kind)

    async def do(self, user_id: str, job: Callable[[Services], Awaitable[T]]) -> T:
        """Do a job of a user. Where it meets vectors of another embedder, it does nothing.

        Raises Unloadable if the embedder of the user's space is gone.
        """
        kind = self._loader.kind(user_id) or self._embedders.current.kind
        for _ in range(TRIES):
            try:
                done = await job(self._of(kind))
            except OtherEmbedder as other:
                kind = other.kind
            except Unloadable:
                await self._on_older(user_id)
                raise
            except BespokeError:
                # The embedder that is set may be what failed, and not be needed for this user.
                actual = await self._read_kind(user_id)
                if actual is None or kind != self._embedders.current.kind or actual == kind:
                    raise
                kind = actual
            else:
                if kind != self._embedders.current.kind:
                    await self._on_older(user_id)
                return done
        raise Transient("the embedder of these memories changes; the job is done after that")

    def _of(self, kind: Kind) -> Services:
        if kind not in self._services:
            embedder = self._embedders.of(kind)
            self._services[kind] = self._make(self._loader.with_embedder(embedder), embedder)
        return self._services[kind]
