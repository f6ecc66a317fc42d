"""What optimizations took: sums over their rows, which are kept up however a run ends."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, literal, literal_column, select, true
from sqlmodel import col

from bespoke_schemas.optimization import Spending, SpendingLine, Spent
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import Batch, OptimizationJob
from bespoke_workers.optimization.batches.batch_statements import IN_VAIN
from bespoke_workers.optimization.language_model.usage import FIGURES

ALL: Final = "all"
"""The key of the sum of everything."""
UNKNOWN_TIER: Final = "unknown"
"""The key of runs that failed before there was a note of what they ran as."""

_run = OptimizationJob
TIER: Final[ColumnElement[str]] = func.coalesce(
    col(_run.ran_tier),
    col(_run.tier),
    literal_column(f"'{UNKNOWN_TIER}'"),  # a parameter could not be grouped by
)
"""The tier that a run ran as."""
_KEY: Final = "spent_by"  # no column's name, which GROUP BY would take it for
SUMS: Final[tuple[Any, ...]] = (
    func.count().label("runs"),
    func.count().filter(col(_run.state).in_(IN_VAIN)).label("failed"),
    *(
        func.coalesce(func.sum(getattr(_run, figure)), 0).label(figure)
        for figure in (*FIGURES, "seconds")
    ),
)
"""What is told of some runs: their number, how many came to nothing, and what they took."""


class SpendingRecords:
    """Tells what optimizations took. Users are named only where they are told apart."""

    def __init__(self, database: Database, timezone: str) -> None:
        """Days are those of ``timezone``."""
        self._database = database
        self._timezone = timezone

    async def told(self, payload: Spending) -> Spent:
        """Return a page of spending, and the sum of all that was asked for."""
        key = _key(payload, self._timezone)
        async with self._database.transaction() as session:
            connection = await session.connection()
            rows = (await connection.execute(_page(payload, key))).all()
            total = (await connection.execute(_total(payload))).one()
        lines = tuple(_line(row) for row in rows[: payload.limit])
        return Spent(
            lines=lines,
            next=lines[-1].key if len(rows) > payload.limit else None,
            total=_line(total),
        )


def _key(payload: Spending, timezone: str) -> ColumnElement[str]:
    keys: dict[str, Any] = {
        "user": col(_run.user_id),
        "program": col(_run.program),
        "tier": TIER,
        "day": _date(col(_run.started_at), timezone),
        "night": _date(col(Batch.created_at), timezone),
    }
    key: ColumnElement[str] = keys[payload.by]
    return key


def _date(moment: Any, timezone: str) -> ColumnElement[str]:
    return func.to_char(func.timezone(timezone, moment), "YYYY-MM-DD")


def _asked(payload: Spending) -> ColumnElement[bool]:
    began = col(_run.started_at)
    conditions: list[ColumnElement[bool]] = [began.is_not(None)]
    if payload.program is not None:
        conditions.append(col(_run.program) == payload.program)
    if payload.user_id is not None:
        conditions.append(col(_run.user_id) == payload.user_id)
    if payload.tier is not None:
        ran_as = TIER
        conditions.append(ran_as == payload.tier)
    if payload.since is not None:
        conditions.append(began >= payload.since)
    if payload.until is not None:
        conditions.append(began < payload.until)
    return and_(true(), *conditions)


def _page(payload: Spending, key: ColumnElement[str]) -> Select[Any]:
    """Ask for a page of lines, and one more if there is more."""
    asked = _of(payload, select(key.label(_KEY), *SUMS))
    if payload.after is not None:
        asked = asked.where(key > payload.after)
    return asked.group_by(_KEY).order_by(_KEY).limit(payload.limit + 1)


def _total(payload: Spending) -> Select[Any]:
    return _of(payload, select(literal(ALL).label(_KEY), *SUMS))


def _of(payload: Spending, asked: Select[Any]) -> Select[Any]:
    asked = asked.select_from(_run).where(_asked(payload))
    if payload.by == "night":
        asked = asked.join(Batch, col(Batch.id) == col(_run.batch_id))
    return asked


def _line(row: Any) -> SpendingLine:
    known = dict(row._mapping)
    known["key"] = known.pop(_KEY)
    known["cost_usd"] = round(float(known["cost_usd"]), 6)
    known["seconds"] = round(float(known["seconds"]), 3)
    return SpendingLine.model_validate(known)
