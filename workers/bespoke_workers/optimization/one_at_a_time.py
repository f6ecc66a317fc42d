"""Of one user's program, one run at a time: two would be compared with the same version in use.

An index sees to it; what comes while another run is on its way stays queued until that ends.
"""

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, ColumnElement, SelectBase, bindparam, exists
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from bespoke_workers.database.direct import Direct
from bespoke_workers.database.tables import Learner, OptimizationJob

if TYPE_CHECKING:
    from bespoke_workers.optimization.leases import Claim

NOTHING_NEW = "another run has ended meanwhile that learned from the same examples in the same way"


_second = aliased(OptimizationJob)  # made once: it copies every column


@cache
def another_runs() -> ColumnElement[bool]:
    """Whether another run of the same user and program is on its way."""
    row, other = OptimizationJob, _second
    return exists().where(
        col(other.user_id) == col(row.user_id),
        col(other.program) == col(row.program),
        col(other.state) == "running",
        col(other.id) != col(row.id),
    )


async def has_been_done(connection: Direct, claim: "Claim", tier: str, examples: int) -> bool:
    """Whether a run that ended while this one waited has done what this one is to do."""
    given = {
        "job_id": claim.job_id,
        "user_id": claim.user_id,
        "program": claim.program,
        "optimizer": claim.optimizer,
        "options": None if claim.options is None else json.dumps(claim.options),
        "tier": tier,
        "examples": examples,
    }
    return (await connection.execute(_done(), given)).first() is not None


@cache
def _done() -> SelectBase:
    row, own = OptimizationJob, _second
    job_id: BindParameter[Any] = bindparam("job_id")
    user_id: BindParameter[Any] = bindparam("user_id")
    program: BindParameter[Any] = bindparam("program")
    waited_from = select(own.created_at).where(col(own.id) == job_id).scalar_subquery()
    nothing_since = exists().where(
        col(Learner.user_id) == user_id,
        col(Learner.program) == program,
        col(Learner.optimized_total) >= col(Learner.added_total),
    )
    statement = select(row.id).where(
        col(row.user_id) == user_id,
        col(row.program) == program,
        col(row.state) == "succeeded",
        col(row.finished_at) > waited_from,
        col(row.optimizer).is_not_distinct_from(bindparam("optimizer")),
        col(row.options).is_not_distinct_from(bindparam("options")),
        col(row.result)["optimizer"].astext.is_not(None),
        col(row.result)["tier"].astext == bindparam("tier"),
        col(row.result)["examples"].as_integer() == bindparam("examples"),
        nothing_since,
    )
    return statement.limit(1)
