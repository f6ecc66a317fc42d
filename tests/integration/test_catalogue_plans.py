"""Each question about versions is answered out of an index, however many versions there are."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy.sql.elements import CompilerElement

from benchmarks.plans import Node, nodes, rows_read
from benchmarks.program_search import BESTS, FILL, QUESTIONS
from bespoke_schemas import programs
from bespoke_workers.programs import comparison, finding, history
from tests.integration.memory_workers import in_loop

TABLE = "program_version"
SHARED, OWN, EACH = 20_000, 5_000, 100  # versions of the base, of users, of one of these
OWNERS = {"of the shared base": None, "of a user": "user-7"}
MOST_READ = SHARED / 5  # rows; with a scan of the table it would be all of them


@asynccontextmanager
async def filled(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a database full of versions, with statistics of them."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), statement_cache_size=0)
    try:
        await connection.execute("SELECT setseed(0.5)")
        await connection.execute(FILL, SHARED, 0)
        await connection.execute(FILL, OWN, EACH)
        await connection.execute(f"VACUUM ANALYZE {TABLE}, {TABLE}_tag")
        yield connection
    finally:
        await connection.close()


async def planned(
    connection: asyncpg.Connection,
    statement: CompilerElement,
    parameters: Mapping[str, Any] | None = None,
) -> list[Node]:
    """Return the nodes of a plan that reads the table by its indexes alone."""
    plan = await nodes(connection, statement, parameters)
    reading = [node for node in plan if node.get("Relation Name") == TABLE]
    assert reading
    assert {node["Node Type"] for node in reading} <= {
        "Index Scan", "Index Only Scan", "Bitmap Heap Scan",
    }  # fmt: skip
    assert rows_read(plan, TABLE) <= MOST_READ
    return plan


@in_loop
async def test_what_is_found_listed_or_best_is_read_by_an_index(database_url: str) -> None:
    now = datetime.now(UTC)
    async with filled(database_url) as connection:
        for user_id in OWNERS.values():
            for queries in QUESTIONS.values():
                for query in queries:
                    found = finding.found(programs.Find(user_id=user_id, **query), now)
                    await planned(connection, found)
            for query in BESTS:
                best = finding.best(programs.Best(user_id=user_id, **query))
                assert rows_read(await planned(connection, best), TABLE) <= EACH
            payload = programs.List(user_id=user_id, limit=20)
            plan = await planned(connection, finding.listed(payload))
            assert rows_read(plan, TABLE) <= 2 * (payload.limit + 1)


@in_loop
async def test_a_page_far_down_is_read_like_the_first(database_url: str) -> None:
    queries: tuple[dict[str, Any], ...] = ({}, {"program": "support"}, {"optimizer": "MIPROv2"})
    async with filled(database_url) as connection:
        oldest = await connection.fetchrow(
            f"SELECT id, saved_at FROM {TABLE} WHERE user_id IS NULL ORDER BY saved_at "
            "OFFSET 1000 LIMIT 1"
        )
        after = programs.Cursor(saved_at=oldest["saved_at"], program_id=oldest["id"])
        for query in queries:
            payload = programs.Find(after=after, limit=20, **query)
            plan = await planned(connection, finding.found(payload, datetime.now(UTC)))
            assert rows_read(plan, TABLE) <= 2 * (payload.limit + 1)


@in_loop
async def test_a_history_and_a_comparison_read_what_they_tell_of(database_url: str) -> None:
    async with filled(database_url) as connection:
        plan = await planned(connection, *history.statement(programs.History(user_id="user-7")))

        # Once for the numbers, once for the points, and three more for each program.
        told = await connection.fetchval(
            f"SELECT count(DISTINCT program) FROM {TABLE} WHERE user_id = 'user-7'"
        )
        assert rows_read(plan, TABLE) <= 2 * EACH + 3 * told

        one, two = await connection.fetch(f"SELECT id FROM {TABLE} WHERE user_id IS NULL LIMIT 2")
        payload = programs.Compare(program_id_1=one["id"], program_id_2=two["id"])
        assert rows_read(await planned(connection, comparison.both(payload)), TABLE) == 2
