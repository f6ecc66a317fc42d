"""The sections of a user's programs: examples, learners, versions, optimizations."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import and_, case, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from bespoke_schemas.fields import Fields, Metadata, Moment, Name
from bespoke_schemas.optimization import Tier
from bespoke_workers.database.tables import (
    ActiveProgram,
    Example,
    Learner,
    OptimizationJob,
    ProgramVersion,
    UserModel,
)
from bespoke_workers.learning.checking import digest
from bespoke_workers.memories.records import second_id
from bespoke_workers.programs import pointer
from bespoke_workers.programs.bundle_format import Entry
from bespoke_workers.programs.imported import insert_entries
from bespoke_workers.programs.state import clean_state
from bespoke_workers.users.bundle_format import Line
from bespoke_workers.users.sections import Arrival, Section, something_already

Count = Annotated[int, Field(ge=0, le=2**53)]


class Taught(Line):
    """One training example."""

    id: UUID
    program: Name
    fields: Fields
    created_at: Moment


class Learned(Line):
    """How much a program had to learn from, and the tier that the user was given by hand."""

    program: Name
    added_total: Count
    optimized_total: Count
    requested_total: Count = 0
    approved_total: Count = 0
    corrected_total: Count = 0
    rejected_total: Count = 0
    tier: Tier | None


class Optimized(Line):
    """What became of one optimization; told, and not brought in."""

    id: UUID
    program: Name
    state: Name
    result: Metadata | None
    error: str | None
    created_at: Moment
    finished_at: Moment | None


class Modelled(Line):
    """A model that was trained for a program; told, and not brought in."""

    id: UUID
    program: Name
    provider: Name
    base_model: str
    name: str | None
    state: Name
    examples: Count
    data_sha256: str
    trained_tokens: int | None
    cost_usd: float | None
    created_at: Moment
    finished_at: Moment | None


def _examples(user_id: str) -> Any:
    row = Example
    order = (col(row.program), col(row.position), col(row.id))
    return select(row).where(row.user_id == user_id).order_by(*order)


async def _begin_learner(arrival: Arrival, program: str) -> None:
    """Write the row that whoever changes the examples locks; raises Refused if it is there."""
    if not arrival.is_new("begun", program):
        return
    begun = insert(Learner).values(user_id=arrival.user_id, program=program)
    if (await arrival.session.exec(begun.on_conflict_do_nothing())).rowcount != 1:
        raise something_already()


async def bring_in_examples(arrival: Arrival, entries: Sequence[Taught]) -> None:
    """Write examples behind those that came before, each set of fields once.

    Raises Refused if somebody has begun to teach the user's programs meanwhile.
    """
    for program in sorted({one.program for one in entries}):
        await _begin_learner(arrival, program)
    known = await arrival.session.exec(
        select(Example.program, func.max(Example.position) + 1)
        .where(Example.user_id == arrival.user_id)
        .group_by(col(Example.program))
    )
    following = dict(known.all())
    values = []
    for one in entries:
        key = digest(one.fields)
        if not arrival.is_new("example", (one.program, key)):
            continue
        position = following.get(one.program, 0)
        following[one.program] = position + 1
        values.append(
            {
                "id": second_id(one.id, arrival.user_id),
                "user_id": arrival.user_id,
                "program": one.program,
                "position": position,
                "fields": one.fields,
                "digest": key,
                "created_at": min(one.created_at, arrival.now),
            }
        )
    if values:
        await (await arrival.session.connection()).execute(insert(Example), values)


def _learners(user_id: str) -> Any:
    return select(Learner).where(Learner.user_id == user_id).order_by(col(Learner.program))


async def bring_in_learners(arrival: Arrival, entries: Sequence[Learned]) -> None:
    """Write how much was learned from; how many examples there are is counted, not believed."""
    for one in entries:
        if not arrival.is_new("learner", one.program):
            continue
        count = (
            await arrival.session.exec(
                select(func.count()).where(
                    Example.user_id == arrival.user_id, Example.program == one.program
                )
            )
        ).one()
        total = max(one.added_total, count)
        await _begin_learner(arrival, one.program)
        await arrival.session.exec(
            update(Learner)
            .where(col(Learner.user_id) == arrival.user_id, col(Learner.program) == one.program)
            .values(
                example_count=count,
                added_total=total,
                optimized_total=min(one.optimized_total, total),
                requested_total=min(one.requested_total, total),
                approved_total=one.approved_total,
                corrected_total=one.corrected_total,
                rejected_total=one.rejected_total,
                tier=one.tier,
            )
        )


def _versions(user_id: str) -> Any:
    pointed = and_(
        col(ActiveProgram.version_id) == col(ProgramVersion.id),
        col(ActiveProgram.user_id) == col(ProgramVersion.user_id),
    )
    return (
        select(ProgramVersion, case((col(ActiveProgram.id).is_not(None), True), else_=False))
        .join(ActiveProgram, pointed, isouter=True)
        .where(col(ProgramVersion.user_id) == user_id)
        .order_by(col(ProgramVersion.id))
    )


def _whitelisted(entry: Entry) -> Entry:
    return entry.model_copy(update={"program_data": clean_state(entry.program_data)})


async def bring_in_versions(arrival: Arrival, entries: Sequence[Entry]) -> None:
    """Write versions, and put into use what was."""
    own = [
        one.as_stored().model_copy(
            update={
                "program_id": arrival.own(one.program_id),
                "parent_id": arrival.maybe_own(one.parent_id),
                "checkpoint_of": arrival.maybe_own(one.checkpoint_of),
                "user_id": arrival.user_id,
                "used_by": (),
            }
        )
        for one in entries
        if arrival.is_new("version", one.program_id)
    ]
    if not own:
        return
    await insert_entries(arrival.session, own)
    targets = [
        (arrival.user_id, one.program, one.program_id)
        for one in own
        if one.active and arrival.is_new("active", one.program)
    ]
    await pointer.move(arrival.session, targets, reason="imported")


def _optimizations(user_id: str) -> Any:
    row = OptimizationJob
    ended = col(row.finished_at).is_not(None)
    return select(row).where(row.user_id == user_id, ended).order_by(col(row.id))


def _optimized(row: OptimizationJob) -> Optimized:
    return Optimized.model_construct(
        id=row.id,
        program=row.program,
        state=row.state,
        result=row.result,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _models(user_id: str) -> Any:
    return select(UserModel).where(UserModel.user_id == user_id).order_by(col(UserModel.id))


def _modelled(row: UserModel) -> Modelled:
    told = {name: getattr(row, name) for name in Modelled.model_fields}
    return Modelled.model_construct(**told)


SECTIONS = (
    Section(
        "examples",
        Taught,
        _examples,
        lambda row: Taught.model_construct(
            id=row.id, program=row.program, fields=row.fields, created_at=row.created_at
        ),
        bring_in_examples,
    ),
    Section(
        "learners",
        Learned,
        _learners,
        lambda row: Learned.model_construct(
            program=row.program,
            added_total=row.added_total,
            optimized_total=row.optimized_total,
            requested_total=row.requested_total,
            approved_total=row.approved_total,
            corrected_total=row.corrected_total,
            rejected_total=row.rejected_total,
            tier=row.tier,
        ),
        bring_in_learners,
    ),
    Section(
        "programs",
        Entry,
        _versions,
        lambda row: Entry.of(row[0], active=row[1]),
        bring_in_versions,
        _whitelisted,
        rows_at_once=25,
    ),
    Section("optimizations", Optimized, _optimizations, _optimized),
    Section("models", Modelled, _models, _modelled),
)
