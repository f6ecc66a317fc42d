"""Each user's cached index, brought up to what the database holds."""

import asyncio
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import Row

from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Transient
from bespoke_workers.memories import statements
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedders import Kind
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.index import UserIndex, rows_from_bytes
from bespoke_workers.memories.index_cache import IndexCache
from bespoke_workers.memories.space import Space

PAGE = 20_000
"""Memories read at once: some 15 MB of vectors of 384."""
NOTHING = -1
"""The version of an index that holds nothing; those of memories begin at 1."""
NO_LIST = 2**62
"""After this version nothing was removed: an index built anew has nothing to drop."""


@dataclass(frozen=True)
class Loaded:
    """A user's space and the index of the same version."""

    space: Space
    index: UserIndex


class Loader:
    """Keeps a process's indexes in step with the database, by version and list of changes.

    An index that nothing vouches for (not loaded here, or of another size than its space) is
    read anew: losing or damaging one costs time and changes no answer.
    """

    def __init__(self, indexes: IndexCache, embedder: Embedder, default: Defaults) -> None:
        self._indexes = indexes
        self._embedder = embedder
        self._default = default
        self._spaces: WeakKeyDictionary[UserIndex, Space] = WeakKeyDictionary()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def with_embedder(self, embedder: Embedder) -> "Loader":
        """Return a loader of the same indexes that serves the spaces of another embedder."""
        other = copy(self)
        other._embedder = embedder
        return other

    def kind(self, user_id: str) -> Kind | None:
        """Return of which embedder the user's cached index is; None if none is cached."""
        index = self._indexes.get(user_id)
        space = None if index is None else self._spaces.get(index)
        return None if space is None else space.kind

    def turn(self, user_id: str) -> asyncio.Lock:
        """Return the lock under which this process works on one user's index."""
        return self._turns.setdefault(user_id, asyncio.Lock())

    def cached(self, user_id: str) -> Loaded | None:
        """Return what the cache holds, which the database may have moved past."""
        index = self._indexes.get(user_id)
        space = None if index is None else self._spaces.get(index)
        if index is None or space is None:
            return None
        if index.version != space.version or len(index) != space.count:
            return None
        if space.kind != self._embedder.kind:
            return None
        return Loaded(space, index)

    async def load(self, connection: Connection, user_id: str) -> Loaded | None:
        """Return the user's space and index as the database has them; None if there is no space.

        Raises OtherEmbedder if the space's vectors are of another embedder.
        """
        cached = self.cached(user_id)
        if cached is not None:
            row = await self._changes(connection, user_id, cached.index.version)
            if row is not None and row.reload_below <= cached.index.version:
                space = self._space(row)
                await self._take_in(connection, user_id, cached.index, row)
                if len(cached.index) == space.count:
                    return self.keep(user_id, space, cached.index)
        row = await self._changes(connection, user_id, NOTHING)
        if row is None:
            self._indexes.drop(user_id)
            return None
        space = self._space(row)
        index = UserIndex(row.ids or [], _vectors(row, space.dim), space.dim, space.version)
        await self._take_in_rest(connection, user_id, index, row)
        return self.keep(user_id, space, index)

    async def load_locked(self, connection: Connection, user_id: str) -> Loaded:
        """Return the same of a space that the connection's transaction has locked."""
        loaded = await self.load(connection, user_id)
        if loaded is None:
            raise AssertionError("a locked space is there")
        return loaded

    def keep(self, user_id: str, space: Space, index: UserIndex) -> Loaded:
        """Cache an index that now shows this space."""
        index.version = space.version
        self._spaces[index] = space
        self._indexes.put(user_id, index)
        return Loaded(space, index)

    def follow(
        self,
        user_id: str,
        space: Space,
        *,
        removed: Sequence[UUID] = (),
        added: Mapping[UUID, ArrayLike] | None = None,
        are_new: bool = False,
    ) -> None:
        """Bring the cached index to the version just written; one that is behind stays so.

        What is ``added`` takes the place of what the index holds of it, unless ``are_new`` says
        that it holds nothing of it.
        """
        loaded = self.cached(user_id)
        if loaded is None or loaded.space.version != space.version - 1:
            return
        if removed:
            loaded.index.remove(removed)
        if added:
            add = loaded.index.add_new if are_new else loaded.index.add_many
            add(list(added), np.stack(list(added.values())))
        self.keep(user_id, space, loaded.index)

    def drop(self, user_id: str) -> None:
        """Forget what is cached of a user."""
        self._indexes.drop(user_id)

    def _space(self, row: Row[Any]) -> Space:
        space = Space.of(row, self._default)
        space.require(self._embedder)
        return space

    async def _changes(self, connection: Connection, user_id: str, after: int) -> Row[Any] | None:
        parameters = {
            "user_id": user_id,
            "after": after,
            "removed_after": NO_LIST if after == NOTHING else after,
            "page": PAGE,
        }
        return (await connection.execute(statements.READ_CHANGES, parameters)).first()

    async def _take_in(
        self, connection: Connection, user_id: str, index: UserIndex, row: Row[Any]
    ) -> None:
        # Removals first: a memory that was removed and restored is among both.
        if row.removed:
            index.remove(row.removed)
        _add(index, row)
        await self._take_in_rest(connection, user_id, index, row)

    async def _take_in_rest(
        self, connection: Connection, user_id: str, index: UserIndex, row: Row[Any]
    ) -> None:
        """Read further pages. What changes meanwhile has a later version and is read again."""
        page: Row[Any] | None = row
        while page is not None and page.ids and len(page.ids) >= PAGE:
            page = await self._changes(connection, user_id, page.through)
            if page is not None:
                if page.reload_below > index.version:
                    raise Transient("the memories were embedded anew while they were read")
                _add(index, page)


async def read_kind(database: Database, user_id: str) -> Kind | None:
    """Return of which embedder a user's space is; None if there is no space."""
    async with database.autocommit() as connection:
        row = (await connection.execute(statements.READ_SPACE, {"user_id": user_id})).first()
    return None if row is None else (row.embedder, row.dim)


def _add(index: UserIndex, row: Row[Any]) -> None:
    index.add_many(row.ids or (), _vectors(row, index.dim))


def _vectors(row: Row[Any], dim: int) -> Any:
    return rows_from_bytes(row.embeddings or b"", dim)
