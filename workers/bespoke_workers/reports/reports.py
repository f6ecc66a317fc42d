"""Gathers the figures of a report, all from one moment of the database."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Executable
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_workers.database.engine import Database
from bespoke_workers.errors import Refused
from bespoke_workers.observe import events
from bespoke_workers.reports import statements
from bespoke_workers.reports.figures import (
    Figures,
    InUse,
    OptimizerScores,
    RunPoint,
    ScorePoint,
    Share,
    Stint,
    TierSpending,
    Totals,
    VersionLine,
)

DESCRIPTION: Final = 120  # characters of a description that the table shows
NO_WIDTH: Final = timedelta(minutes=1)
"""Versions saved within this time are gathered, if the first and the last are."""
WHOLE: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Reports:
    """Reads what a report tells; writes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def figures(self, program: str, user_id: str | None) -> Figures:
        """Return the figures of a program, of one user or over all.

        Raises Refused where there is nothing to tell.
        """
        async with self._database.transaction() as session:
            await session.connection(execution_options=WHOLE)
            totals = await _totals(session, program, user_id)
            if totals.versions == totals.runs == 0:
                whose = "" if user_id is None else " of this user"
                raise Refused(
                    f"no version and no optimization of program {program!r}{whose}; "
                    "check the name, or optimize it first"
                )
            in_usd = totals.dearest_usd > 0
            most = totals.dearest_usd if in_usd else totals.most_lm_calls
            price = "cost_usd" if in_usd else "lm_calls"
            return Figures(
                program=program,
                user=None if user_id is None else events.hashed(user_id),
                made_at=datetime.now(UTC),
                totals=totals,
                price="USD" if in_usd else "LM calls",
                scores=await _scores(session, program, user_id, totals),
                scores_are_of="times" if user_id is None else "versions",
                optimizers=[
                    OptimizerScores(**one)
                    for one in await _rows(
                        session, statements.scores_by_optimizer(program, user_id)
                    )
                ],
                runs=[
                    RunPoint(**one)
                    for one in await _rows(
                        session, statements.prices_and_gains(program, user_id, price, most)
                    )
                ],
                in_use=await _in_use(session, program, user_id),
                tiers=[
                    TierSpending(**one)
                    for one in await _rows(session, statements.spent_by_tier(program, user_id))
                ],
                versions=await _lines(session, program, user_id),
            )


async def _rows(session: AsyncSession, statement: Executable) -> list[dict[str, Any]]:
    found = await session.exec(statement)  # type: ignore[call-overload]  # SQLModel types few columns
    return [dict(one) for one in found.mappings()]


async def _totals(session: AsyncSession, program: str, user_id: str | None) -> Totals:
    (versions,) = await _rows(session, statements.version_totals(program, user_id))
    (runs,) = await _rows(session, statements.run_totals(program, user_id))
    return Totals(**versions, **runs)


async def _scores(
    session: AsyncSession, program: str, user_id: str | None, totals: Totals
) -> list[ScorePoint]:
    if user_id is None:
        if totals.first_saved_at is None or totals.last_saved_at is None:
            return []
        span = totals.last_saved_at - totals.first_saved_at
        width = max(span / statements.BINS * 1.0001, NO_WIDTH)
        gathered = statements.scores_over_time(program, width, totals.first_saved_at)
        return [ScorePoint(**one, optimizer=None) for one in await _rows(session, gathered)]
    newest = await _rows(session, statements.newest(program, user_id, statements.POINTS))
    return [
        ScorePoint(
            at=one["saved_at"],
            score=one["score"],
            low=one["score"],
            high=one["score"],
            versions=1,
            optimizer=one["optimizer"],
        )
        for one in reversed(newest)
        if one["score"] is not None
    ]


async def _in_use(session: AsyncSession, program: str, user_id: str | None) -> InUse:
    if user_id is None:
        found = await _rows(session, statements.shares(program))
        (served,) = await _rows(session, statements.users_served(program))
        return InUse(shares=[Share(score=one.pop("low"), **one) for one in found], **served)
    stints: list[Stint] = []
    ended: datetime | None = None
    for move in await _rows(session, statements.stints(program, user_id)):
        undone = move.pop("undone_at")
        until = min((moment for moment in (undone, ended) if moment is not None), default=None)
        stints.append(Stint(until=until, **move))
        ended = move["since"]
    return InUse(stints=stints[::-1])


async def _lines(session: AsyncSession, program: str, user_id: str | None) -> list[VersionLine]:
    lines = []
    for one in await _rows(session, statements.newest(program, user_id, statements.LINES)):
        owner, description = one.pop("user_id"), one.pop("description")
        lines.append(
            VersionLine(
                user=None if owner is None else events.hashed(owner),
                description=None if user_id is None else description[:DESCRIPTION],
                **one,
            )
        )
    return lines
