"""The plan by which PostgreSQL answers a statement, with what it read on the way."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as driver
from sqlalchemy.sql.elements import CompilerElement

Node = dict[str, Any]
_ROWS = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
_DIALECT = driver.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


async def explained(
    connection: asyncpg.Connection,
    statement: CompilerElement,
    parameters: Mapping[str, Any] | None = None,
    *,
    form: str = "JSON",
) -> list[str]:
    """Execute a statement as the catalogue does and return its plan, line by line."""
    compiled: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    values = {**compiled.params, **(parameters or {})}
    arguments = [values[name] for name in compiled.positiontup]
    async with connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        await connection.execute("SET LOCAL enable_incremental_sort = off")
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT {form}) {compiled.string}"
        return [row[0] for row in await connection.fetch(explain, *arguments)]


async def nodes(
    connection: asyncpg.Connection,
    statement: CompilerElement,
    parameters: Mapping[str, Any] | None = None,
) -> list[Node]:
    """Execute a statement and return every node of its plan."""
    (plan,) = await explained(connection, statement, parameters)
    return list(_walk(json.loads(plan)[0]["Plan"]))


def rows_read(plan: list[Node], table: str) -> float:
    """Return how many rows or entries of a table the nodes of a plan looked at."""
    return sum(
        float(node["Actual Loops"]) * sum(float(node.get(count, 0)) for count in _ROWS)
        for node in plan
        if node.get("Relation Name") == table
    )


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for below in node.get("Plans", ()):
        yield from _walk(below)
