"""Comparing two versions: the statement that reads them, and what is between them.

Only numbers and digests of a state leave the database; it may have eight million characters.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Select, column, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from bespoke_schemas.programs import (
    Compare,
    Compared,
    Comparison,
    PredictorDifference,
    VersionSummary,
)
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs import finding

HOUR_S = 3600.0


class Shape(NamedTuple):
    """One predictor of a state without its contents: a number and three digests."""

    demo_count: int
    demos: str
    instructions: str
    fields: str


Shapes = Mapping[str, Shape]


def both(payload: Compare) -> Select[Any]:
    """Return the statement for the two versions, as far as this user may see them."""
    owner = col(ProgramVersion.user_id)
    wanted = col(ProgramVersion.id).in_([payload.program_id_1, payload.program_id_2])
    seen = or_(owner == payload.user_id, owner.is_(None))
    columns = (*finding.COLUMNS, col(ProgramVersion.state))
    rows = select(*columns).where(wanted, seen).subquery("versions")
    shapes = _shapes(rows.c.state).label("shapes")
    return finding.summaries(rows).add_columns(shapes)


def shapes(told: Mapping[str, Sequence[Any]] | None) -> Shapes:
    """Return the shapes that the statement told of one state."""
    return {name: Shape(*shape) for name, shape in (told or {}).items()}


def compared(payload: Compare, found: Sequence[tuple[VersionSummary, Shapes]]) -> Compared:
    """Return the comparison of the two versions found; Refused if one of them was not."""
    by_id = {version.program_id: (version, shapes) for version, shapes in found}
    for program_id in (payload.program_id_1, payload.program_id_2):
        if program_id not in by_id:
            raise Refused(
                f"no version {program_id} that this user may see; name the user whose it is"
            )
    (first, shapes_1), (second, shapes_2) = (
        by_id[payload.program_id_1],
        by_id[payload.program_id_2],
    )
    return Compared(
        program_1=first,
        program_2=second,
        comparison=between(first, second),
        predictors=differing(shapes_1, shapes_2),
    )


def between(first: VersionSummary, second: VersionSummary) -> Comparison:
    """Return what is between two versions, of the first as against the second."""
    difference, better = None, None
    if first.score is not None and second.score is not None:
        difference = first.score - second.score
        if difference:
            better = (first if difference > 0 else second).program_id
    age_difference = second.saved_at - first.saved_at
    return Comparison(
        # Between the largest numbers it is infinite, which is not JSON.
        score_difference=difference if difference is not None and isfinite(difference) else None,
        better_program=better,
        age_difference_hours=age_difference.total_seconds() / HOUR_S,
        same_program=first.program == second.program,
    )


def differing(first: Shapes, second: Shapes) -> dict[str, PredictorDifference]:
    """Return what differs between the predictors of two states, by name."""
    return {
        name: _difference(first.get(name), second.get(name))
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    }


def _difference(first: Shape | None, second: Shape | None) -> PredictorDifference:
    return PredictorDifference(
        demos_1=first.demo_count if first else None,
        demos_2=second.demo_count if second else None,
        demos_changed=(first and first.demos) != (second and second.demos),
        instructions_changed=(first and first.instructions) != (second and second.instructions),
        fields_changed=(first and first.fields) != (second and second.fields),
    )


def _shapes(state: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a state's shapes by its predictors' names."""
    each = func.jsonb_each(state).table_valued("key", column("value", JSONB))
    predictor = each.c.value
    signature = predictor["signature"]
    shape = func.json_build_array(
        func.jsonb_array_length(predictor["demos"]),
        func.md5(func.concat(predictor["demos"].astext, predictor["pool"].astext)),
        func.md5(signature["instructions"].astext),
        func.md5(signature["fields"].astext),
    )
    return select(func.json_object_agg(each.c.key, shape, type_=JSON)).scalar_subquery()
