"""Vectors of a user's examples: each is made once, and kept beside its example."""

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from bespoke_schemas.examples import Embed, Embedded
from bespoke_schemas.program_state import Kind, embedded_text
from bespoke_workers.database.engine import Database
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.programs.embedder import embedder
from bespoke_workers.settings import Settings

AT_ONCE: Final = 128
"""Examples that are embedded, and then kept, at once: a run that dies loses no more."""

Vector = NDArray[np.float32]

_READ = text(
    """
    SELECT example.id, example.fields, kept.embedder, kept.dim, kept.digest, kept.embedding
    FROM example LEFT JOIN example_embedding AS kept
        ON kept.example_id = example.id AND kept.user_id = example.user_id
    WHERE example.user_id = :user_id AND example.program = :program
    ORDER BY example.position
    """
)
# An example that is deleted meanwhile, such as one of a user who is erased, gets no vector.
_KEEP = text(
    """
    INSERT INTO example_embedding (example_id, user_id, embedder, dim, digest, embedding)
    SELECT example.id, example.user_id, :embedder, :dim, new.digest, new.embedding
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:digests AS text[]), CAST(:embeddings AS bytea[])
    ) AS new (id, digest, embedding)
    JOIN example ON example.id = new.id AND example.user_id = :user_id
    ORDER BY example.id
    FOR KEY SHARE OF example
    ON CONFLICT (example_id) DO UPDATE SET
        embedder = EXCLUDED.embedder, dim = EXCLUDED.dim, digest = EXCLUDED.digest,
        embedding = EXCLUDED.embedding
    """
)


@dataclass(frozen=True)
class ExampleVectors:
    """The vectors of one user's examples by their texts, and the embedder for other texts."""

    embedder: Embedder
    known: Mapping[str, Vector] = field(repr=False)  # texts are contents

    @property
    def kind(self) -> Kind:
        """Which embedder they are of."""
        return self.embedder.kind

    def of(self, texts: Sequence[str]) -> Vector:
        """Return an array with a row for each text; raises as `Embedder.embed` does."""
        missing = sorted(set(texts) - self.known.keys())
        new = dict(zip(missing, self.embedder.embed(missing), strict=True))
        return np.stack([new[one] if one in new else self.known[one] for one in texts])

    def embed(self, kind: Kind, text: str) -> Vector | None:
        """Return one text's vector; None for another kind of embedder."""
        return self.of([text])[0] if kind == self.kind else None

    async def aembed(self, kind: Kind, text: str) -> Vector | None:
        """Do the same without keeping an event loop waiting."""
        return await asyncio.to_thread(self.embed, kind, text)


@dataclass(frozen=True)
class Kept:
    """One example, and its vector if there is one that holds."""

    id: UUID
    text: str = field(repr=False)
    vector: Vector | None = field(repr=False)


class ExampleEmbeddings:
    """Makes vectors of examples where there are none that hold, and keeps them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def of_user(self, user_id: str, program: str, inputs: Sequence[str]) -> ExampleVectors:
        """Return the vectors of a user's examples for a program with these inputs.

        Raises as `Embedder.embed` and the loading of the embedder do.
        """
        using = await asyncio.to_thread(embedder, self._settings)
        rows = await self._read(user_id, program, inputs, using.kind)
        known = {row.text: row.vector for row in rows if row.vector is not None}
        missing = [row for row in rows if row.text not in known]
        for first in range(0, len(missing), AT_ONCE):
            page = missing[first : first + AT_ONCE]
            texts = sorted({row.text for row in page} - known.keys())
            vectors = await asyncio.to_thread(using.embed, texts)
            known |= dict(zip(texts, _rounded(vectors), strict=True))
            await self._keep(user_id, using.kind, page, known)
        return ExampleVectors(using, known)

    async def embedded(self, payload: Embed) -> Embedded:
        """Return a text's vector."""
        using = await asyncio.to_thread(embedder, self._settings)
        (vector,) = await asyncio.to_thread(using.embed, [payload.text])
        encoded = base64.b64encode(vector.astype("<f2").tobytes()).decode()
        return Embedded(embedder=using.name, dim=using.dim, vector=encoded)

    async def _read(
        self, user_id: str, program: str, inputs: Sequence[str], kind: Kind
    ) -> list[Kept]:
        async with self._database.transaction() as session:
            owned = {"user_id": user_id, "program": program}
            found = (await (await session.connection()).execute(_READ, owned)).all()
        kept = []
        for row in found:
            said = embedded_text(inputs, row.fields) or ""
            holds = (row.embedder, row.dim, row.digest) == (*kind, _digest(said))
            vector = np.frombuffer(row.embedding, "<f2").astype(np.float32) if holds else None
            kept.append(Kept(row.id, said, vector))
        return kept

    async def _keep(
        self, user_id: str, kind: Kind, page: Sequence[Kept], known: Mapping[str, Vector]
    ) -> None:
        async with self._database.transaction() as session:
            values = {
                "user_id": user_id,
                "embedder": kind[0],
                "dim": kind[1],
                "ids": [row.id for row in page],
                "digests": [_digest(row.text) for row in page],
                "embeddings": [known[row.text].astype("<f2").tobytes() for row in page],
            }
            await (await session.connection()).execute(_KEEP, values)


def _rounded(vectors: Vector) -> Vector:
    """Return vectors as they are kept, so that a run sees what the next one will."""
    return vectors.astype("<f2").astype(np.float32)


def _digest(said: str) -> str:
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
