"""Setting and reading the policy of one user."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from bespoke_schemas.memories import GetPolicy, PolicyInForce, SetPolicy
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import statements
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.locking import locked, make_and_lock
from bespoke_workers.memories.policy import Policy, resolve

FIELDS = tuple(field.name for field in fields(Policy))

Own = tuple[str | None, Mapping[str, Any]]
"""What a user has of their own: the preset, None for none, and the fields set above it."""
NOTHING: Own = (None, {})


def changed(own: Own, payload: SetPolicy) -> Own:
    """Return what the user has of their own after the payload; None leaves a field as it is."""
    preset, overrides = NOTHING if payload.reset else own
    given = {name: getattr(payload, name) for name in FIELDS}
    return (
        preset if payload.preset is None else payload.preset,
        {**overrides, **{name: value for name, value in given.items() if value is not None}},
    )


def in_force(own: Own, default: Policy, embedder: Embedder) -> PolicyInForce:
    """Return the policy that a user's own one comes to; raises Refused if it is not allowed."""
    preset, overrides = own
    policy = resolve(preset, overrides, default=default)
    threshold = policy.threshold(embedder.threshold)
    return PolicyInForce(preset=preset, **{**asdict(policy), "similarity_threshold": threshold})


class Policies:
    """Keeps the policy of any user; ``default`` holds for those who have none of their own."""

    def __init__(self, database: Database, embedder: Embedder, default: Policy) -> None:
        self._database = database
        self._embedder = embedder
        self._default = default

    async def set(self, payload: SetPolicy) -> PolicyInForce:
        """Change a user's policy, once per job id, and return what is in force now.

        A user who has stored nothing gets a space. Raises Refused if the preset is unknown or a
        value is not allowed, in which case nothing changes.
        """
        effect = partial(self._write, payload)
        return await locked(self._database, payload, payload.user_id, effect)

    async def get(self, payload: GetPolicy) -> PolicyInForce:
        """Return the policy in force for a user; without a space it is the default."""
        async with self._database.autocommit() as connection:
            own = await _own(connection, payload.user_id)
        return in_force(own, self._default, self._embedder)

    async def _write(self, payload: SetPolicy, connection: AsyncConnection) -> PolicyInForce:
        own = changed(await self._held(connection, payload.user_id), payload)
        now = in_force(own, self._default, self._embedder)
        parameters = {
            "id": payload.id,
            "user_id": payload.user_id,
            "result": now.model_dump_json(),
            "preset": own[0],
            "policy": json.dumps(own[1]),
        }
        await connection.execute(statements.SET_POLICY, parameters)
        return now

    async def _held(self, connection: AsyncConnection, user_id: str) -> Own:
        """Read what the user has, in a space that exists and is locked from here on."""
        await make_and_lock(connection, user_id, self._embedder)
        return await _own(connection, user_id)


async def _own(connection: AsyncConnection, user_id: str) -> Own:
    row = (await connection.execute(statements.READ_SPACE, {"user_id": user_id})).first()
    return NOTHING if row is None else (row.preset, row.policy)
