"""The rows of users' models while they are trained, written by whoever holds the run's lease."""

from typing import Any

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import UserModel
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.finetuning.provider import Begun, Provider, Trained, Training
from bespoke_workers.optimization.leases import Claim, Leases


class Rows:
    """Writes one run's row of ``user_model``. Raises LostLease once the run is another's."""

    def __init__(self, database: Database, leases: Leases, claim: Claim) -> None:
        self._database = database
        self._leases = leases
        self._claim = claim

    async def opened(self, training: Training, provider: Provider) -> UserModel:
        """Return the run's row; where there is none, write that the training is about to start.

        Raises Refused where another provider began it: what was begun there stays its own.
        """
        async with self._database.transaction() as session:
            await self._leases.hold(session, self._claim)
            await session.exec(
                insert(UserModel)
                .values(
                    id=self._claim.job_id,
                    user_id=self._claim.user_id,
                    program=self._claim.program,
                    provider=provider.name,
                    base_model=provider.base_model,
                    api_base=provider.api_base,
                    state="starting",
                    examples=len(training.lines),
                    data_bytes=len(training.content),
                    data_sha256=training.sha256,
                    look_at=func.now(),
                )
                .on_conflict_do_nothing()
            )
            row = (await session.exec(select(UserModel).where(*self._own()))).one()
        if (row.provider, row.api_base) != (provider.name, provider.api_base):
            raise Refused(
                f"the training was begun by provider {row.provider!r}, and since then "
                "BESPOKE_FINETUNE_PROVIDER or BESPOKE_FINETUNE_API_BASE was set to another one; "
                "set it back, or enqueue the optimization anew"
            )
        return row

    async def begun(self, begun: Begun) -> None:
        """Write how far the training has begun."""
        state = "starting" if begun.remote_id is None else "training"
        await self._write(state=state, file_id=begun.file_id, remote_id=begun.remote_id)

    async def trained(self, trained: Trained, cost_usd: float | None) -> None:
        """Write that the model is ready."""
        await self._write(
            state="trained",
            name=trained.name,
            trained_tokens=trained.tokens,
            cost_usd=cost_usd,
            finished_at=func.now(),
        )

    async def failed(self, reason: str) -> None:
        """Write why there will be no model."""
        await self._write(state="failed", error=reason, finished_at=func.now())

    async def is_gone(self) -> bool:
        """Whether the row was erased."""
        async with self._database.transaction() as session:
            found = await session.exec(select(UserModel.id).where(*self._own()))
            return found.first() is None

    async def _write(self, **values: Any) -> None:
        async with self._database.transaction() as session:
            await self._leases.hold(session, self._claim)
            await session.exec(update(UserModel).where(*self._own()).values(**values))

    def _own(self) -> tuple[Any, ...]:
        return (
            col(UserModel.id) == self._claim.job_id,
            col(UserModel.user_id) == self._claim.user_id,
        )
