"""Which of a user's examples are most like some inputs."""

import numpy as np
from sqlmodel import col, select

from bespoke_schemas.examples import Near, Nearest, NearExample
from bespoke_schemas.program_state import embedded_text
from bespoke_workers import modules
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Example
from bespoke_workers.errors import Refused
from bespoke_workers.learning.embeddings import ExampleEmbeddings
from bespoke_workers.programs import registry
from bespoke_workers.settings import Settings


class Neighbourhood:
    """Finds the nearest examples of any user."""

    def __init__(
        self, database: Database, settings: Settings, embeddings: ExampleEmbeddings
    ) -> None:
        self._database = database
        self._settings = settings
        self._embeddings = embeddings

    async def nearest(self, payload: Nearest) -> Near:
        """Return the nearest examples; raises Refused for an unknown program or its inputs."""
        modules.load(self._settings.programs)
        inputs = registry.get(payload.program).inputs
        asked = embedded_text(inputs, payload.inputs)
        if not asked:
            raise Refused(f"the inputs hold none of {payload.program!r}: {', '.join(inputs)}")
        owned = (payload.user_id, payload.program)
        vectors = await self._embeddings.of_user(*owned, inputs)
        async with self._database.transaction() as session:
            rows = (
                await session.exec(
                    select(Example)
                    .where(Example.user_id == owned[0], Example.program == owned[1])
                    .order_by(col(Example.position))
                )
            ).all()
        if not rows:
            return Near(examples=())
        texts = [embedded_text(inputs, row.fields) or "" for row in rows]
        similarity = vectors.of(texts) @ vectors.of([asked])[0]
        order = np.argsort(-similarity, kind="stable")[: payload.limit]
        return Near(
            examples=tuple(
                NearExample(
                    position=rows[place].position,
                    created_at=rows[place].created_at,
                    fields=rows[place].fields,
                    similarity=round(float(similarity[place]), 6),
                )
                for place in order
            )
        )
