"""Setting and reading the policy of one user."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from typing import Any

from bespoke_schemas.memories import GetPolicy, PolicyInForce, SetPolicy
from bespoke_workers.database.direct import Connection
from bespoke_workers.database.engine import Database
from bespoke_workers.memories import scoring, statements
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.locking import made_and_locked
from bespoke_workers.memories.policy import Policy

FIELDS = tuple(field.name for field in fields(Policy) if field.name != "kinds")

Own = tuple[str | None, Mapping[str, Any]]
"""What a user has of their own: the preset, None for none, and the fields set above it."""
NOTHING: Own = (None, {})


def changed(own: Own, payload: SetPolicy) -> Own:
    """Return what the user has of their own after the payload; None leaves a field as it is.

    Raises Refused if the scoring is unknown.
    """
    given = {name: getattr(payload, name) for name in ("preset", *FIELDS)}
    given = {name: value for name, value in given.items() if value is not None}
    if payload.scoring is not None:
        scoring.get(payload.scoring)
    if payload.kind is not None:
        return own[0], {**own[1], "kinds": _changed_kinds(own[1].get("kinds", {}), payload, given)}
    preset, overrides = NOTHING if payload.reset else own
    return given.pop("preset", preset), {**overrides, **given}


def _changed_kinds(
    kinds: Mapping[str, Mapping[str, Any]], payload: SetPolicy, given: Mapping[str, Any]
) -> dict[str, Any]:
    kind = str(payload.kind)
    before = {} if payload.reset else kinds.get(kind, {})
    after = {**kinds, kind: {**before, **given}}
    return {name: own for name, own in after.items() if own}


def in_force(user_id: str, own: Own, default: Defaults, embedder: Embedder) -> PolicyInForce:
    """Return the policy that a user's own one comes to; raises Refused if it is not allowed."""
    preset, overrides = own
    policy = default.resolve(user_id, preset, overrides)
    threshold = policy.threshold(embedder.threshold)
    return PolicyInForce(
        preset=default.preset(user_id, preset),
        rolled_out=default.is_rolled_out(user_id, preset),
        **{**asdict(policy), "similarity_threshold": threshold},
    )


class Policies:
    """Keeps the policy of any user; ``default`` holds for those who have none of their own."""

    def __init__(self, database: Database, embedder: Embedder, default: Defaults) -> None:
        self._database = database
        self._embedder = embedder
        self._default = default

    async def set(self, payload: SetPolicy) -> PolicyInForce:
        """Change a user's policy, once per job id, and return what is in force now.

        A user who has stored nothing gets a space. Raises Refused if the preset is unknown or a
        value is not allowed, in which case nothing changes.
        """
        effect = partial(self._write, payload)
        return await made_and_locked(
            self._database, payload, payload.user_id, self._embedder, effect
        )

    async def get(self, payload: GetPolicy) -> PolicyInForce:
        """Return the policy in force for a user; without a space it is the default."""
        async with self._database.autocommit() as connection:
            own = await own_of(connection, payload.user_id)
        return in_force(payload.user_id, own, self._default, self._embedder)

    async def _write(self, payload: SetPolicy, connection: Connection) -> PolicyInForce:
        own = changed(await own_of(connection, payload.user_id), payload)
        now = in_force(payload.user_id, own, self._default, self._embedder)
        parameters = {
            "id": payload.id,
            "user_id": payload.user_id,
            "result": now.model_dump_json(),
            "preset": own[0],
            "policy": json.dumps(own[1]),
        }
        await connection.execute(statements.SET_POLICY, parameters)
        return now


async def own_of(connection: Connection, user_id: str) -> Own:
    """Read what a user has of their own."""
    row = (await connection.execute(statements.READ_SPACE, {"user_id": user_id})).first()
    return NOTHING if row is None else (row.preset, row.policy)
