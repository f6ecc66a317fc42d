"""Finding versions among 1,000,000 against among 10,000: `Find` and `Best`, as a worker does.

Twice: the versions are those of many users with 100 each, and all of them the shared base's.

    python -m benchmarks.program_search [--plans]

prints every question by itself, and the plan of each.
"""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy import Select
from sqlmodel.sql.expression import SelectOfScalar

from benchmarks.bench import Figure, servers
from benchmarks.in_process import seconds
from benchmarks.plans import explained
from bespoke_schemas.programs import Best, Find, History
from bespoke_workers.database import migrate
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.observe.logging import configure
from bespoke_workers.programs import finding
from bespoke_workers.programs.catalogue import Catalogue
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings

FEW, MANY = 10_000, 1_000_000
EACH = 100  # versions of one user
ROUNDS = 40
ASKED = 2.0

FILL = """
INSERT INTO program_version (id, user_id, program, signature, optimizer, score, state, tags,
    description, fingerprint, size_bytes, saved_at)
SELECT gen_random_uuid(), CASE WHEN $2 > 0 THEN 'user-' || n / $2 END,
    program, program || ' -> label',
    CASE WHEN n % ($1 / 20) = 77 THEN 'BootstrapFinetune' WHEN c < 0.3 THEN 'MIPROv2'
        WHEN c < 0.8 THEN 'BootstrapFewShot' ELSE 'LabeledFewShot' END,
    CASE WHEN e < 0.9 THEN b END,
    '{"self": {"demos": [], "signature": {"fields": [], "instructions": "Label the text."}}}',
    ARRAY[CASE WHEN d < 0.9 THEN 'night' ELSE 'day' END]
        || CASE WHEN f < 0.1 THEN ARRAY['production'] ELSE '{}' END
        || CASE WHEN n % 200 = 3 THEN ARRAY['one in 200'] ELSE '{}' END
        || CASE WHEN n % ($1 / 20) = 99 THEN ARRAY['rare'] ELSE '{}' END
        || CASE WHEN n <= 10 THEN ARRAY['the oldest'] ELSE '{}' END,
    'a version', 'f', 90, now() - make_interval(mins => $1 + 1 - n)
FROM (
    SELECT n, b, c, d, e, f, CASE WHEN n % ($1 / 20) = 5 THEN 'rare' WHEN a < 0.5 THEN 'support'
        ELSE 'p' || floor(a * 100) END AS program
    FROM (
        SELECT n, random() AS a, random() AS b, random() AS c, random() AS d, random() AS e,
            random() AS f
        FROM generate_series(1, $1::int) AS n
    ) AS drawn
) AS made
"""

FILL_TAGS = """
INSERT INTO program_version_tag (version_id, tag, user_id, saved_at, score, program, optimizer)
SELECT id, tag, coalesce(user_id, ''), saved_at, score, program, optimizer
FROM program_version, unnest(tags) AS tag
"""

Query = dict[str, Any]
Question = Find | Best
OWNERS = {"users' own": EACH, "one owner's": 0}
QUESTIONS: dict[str, tuple[Query, ...]] = {
    "no filter": ({},),
    "program": ({"program": "support"}, {"program": "p70"}, {"program": "rare"}),
    "signature": ({"signature": "support -> label"}, {"signature": "p70 -> label"}),
    "optimizer": ({"optimizer": "BootstrapFewShot"}, {"optimizer": "BootstrapFinetune"}),
    "min_score": tuple({"min_score": least} for least in (0.5, 0.99, 0.995, 0.999, 0.99999, 2.0)),
    "max_age_days": ({"max_age_days": 1.0}, {"max_age_days": 0.0}),
    "tags": tuple(
        {"tags": [tag]}
        for tag in ("night", "production", "one in 200", "rare", "the oldest", "nowhere")
    ),
    "several": (
        {"program": "support", "optimizer": "MIPROv2"},
        {"program": "support", "min_score": 0.999},
        {"program": "p70", "min_score": 0.9},
        {"program": "p70", "optimizer": "BootstrapFinetune"},
        {"optimizer": "BootstrapFinetune", "min_score": 0.5},
        {"optimizer": "BootstrapFinetune", "tags": ["rare"]},
        {"optimizer": "MIPROv2", "min_score": 0.9, "tags": ["production"]},
        {"optimizer": "MIPROv2", "min_score": 0.5, "tags": ["rare"]},
        {"tags": ["night", "rare"]},
        {"tags": ["night", "production"]},
        {"tags": ["nowhere", "one in 200"], "min_score": 0.5},
        {"max_age_days": 30.0, "min_score": 0.99},
        {
            "program": "support", "signature": "support -> label", "optimizer": "MIPROv2",
            "min_score": 0.8, "max_age_days": 90.0, "tags": ["night", "production"],
        },
    ),
}  # fmt: skip
"""What is asked of `Find`, by the figure that tells the slowest of each group."""
BESTS: tuple[Query, ...] = (
    {"program": "support"}, {"program": "p70"}, {"program": "rare"}, {"program": "nowhere"},
    {"signature": "support -> label"}, {"program": "support", "signature": "support -> label"},
)  # fmt: skip


@dataclass(frozen=True)
class Shelf:
    """The catalogue of one database, and a connection beside it."""

    database: Database
    beside: asyncpg.Connection

    async def fill(self, count: int, each: int) -> None:
        """Have so many versions, the users' with ``each`` of them or, with 0, the shared base's."""
        indexes = await self.beside.fetch(
            "SELECT indexname, indexdef FROM pg_indexes "
            "WHERE tablename ~ '^program_version(_tag)?$' AND indexname !~ 'pkey$'"
        )
        await self.beside.execute("TRUNCATE program_version CASCADE; SELECT setseed(0.5)")
        for name, _ in indexes:  # made at the end, in a third of the time
            await self.beside.execute(f"DROP INDEX {name}")
        # So are tags, which a trigger writes for each version, and looks the version up.
        await self.beside.execute("SET session_replication_role = replica")
        await self.beside.execute(FILL, count, each)
        await self.beside.execute(FILL_TAGS)
        await self.beside.execute("RESET session_replication_role")
        for _, definition in indexes:
            await self.beside.execute(definition)
        await self.beside.execute("VACUUM ANALYZE program_version, program_version_tag")

    def asking(self, payload: Question) -> Callable[[], Awaitable[object]]:
        """Return what asks a question."""
        if isinstance(payload, Find):
            catalogue = Catalogue(self.database)
            return lambda: catalogue.find(payload)
        library = Library(self.database, Settings())
        return lambda: library.best(payload)

    async def plan(self, payload: Question) -> str:
        """Return how the database answers a question."""
        statement: Select[Any] | SelectOfScalar[ProgramVersion]
        if isinstance(payload, Find):
            statement = finding.found(payload, datetime.now(UTC))
        else:
            statement = finding.best(payload)
        return "\n".join(await explained(self.beside, statement, form="TEXT"))


@asynccontextmanager
async def shelf(url: str) -> AsyncIterator[Shelf]:
    """Open a catalogue."""
    database = Database(url, pool_size=1)
    beside = await asyncpg.connect(url.replace("+asyncpg", ""), statement_cache_size=0)
    try:
        yield Shelf(database, beside)
    finally:
        await beside.close()
        await database.close()


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    yield from _measured(_figures)


async def _figures(few: Shelf, many: Shelf) -> AsyncIterator[Figure]:
    for whose, each in OWNERS.items():
        for group, payloads in await _filled(few, many, each):
            worst = max([await _compared(few, many, payload) for payload in payloads])
            yield Figure(f"{group}, {whose}", worst, "x", ASKED, at_most=True)
    catalogue = Catalogue(many.database)
    spent = await seconds(lambda: catalogue.history(History()))
    yield Figure("history of one owner's 1,000,000", spent, "s")


async def _filled(few: Shelf, many: Shelf, each: int) -> list[tuple[str, list[Question]]]:
    """Fill the tables and return what is asked of them, in groups."""
    for one, count in ((few, FEW), (many, MANY)):
        await one.fill(count, each)
    user_id = f"user-{FEW // EACH // 2}" if each else None
    groups: list[tuple[str, list[Question]]] = [
        (f"find by {name}", [Find(user_id=user_id, **query) for query in queries])
        for name, queries in QUESTIONS.items()
    ]
    return [*groups, ("best", [Best(user_id=user_id, **query) for query in BESTS])]


async def _compared(few: Shelf, many: Shelf, payload: Question) -> float:
    """Return what a question takes among many by what it takes among few.

    The least of each: the same rows are read each time, and whatever else the machine does only
    adds to that.
    """
    among_many, among_few = many.asking(payload), few.asking(payload)
    spent = [(await seconds(among_many), await seconds(among_few)) for _ in range(ROUNDS)]
    return min(one for one, _ in spent) / min(other for _, other in spent)


def _measured(
    work: Callable[[Shelf, Shelf], AsyncIterator[Figure]],
) -> Iterator[Figure]:
    async def run(few: str, many: str) -> list[Figure]:
        async with shelf(few) as among_few, shelf(many) as among_many:
            return [figure async for figure in work(among_few, among_many)]

    configure(logging.WARNING)  # as a worker whose log is read by people
    with servers() as running:
        running.ask("CREATE DATABASE many")
        many = running.postgres.url_for("many")
        migrate.upgrade(many)
        yield from asyncio.run(run(running.postgres.url, many))


async def _told(few: Shelf, many: Shelf, *, plans: bool) -> AsyncIterator[Figure]:
    """Print each question by itself; yield nothing."""
    for whose, each in OWNERS.items():
        print(whose)
        for _, payloads in await _filled(few, many, each):
            for payload in payloads:
                query = payload.model_dump(exclude={"id"}, exclude_defaults=True)
                factor = await _compared(few, many, payload)
                print(f"{factor:6.2f} x  {type(payload).__name__} {query}", flush=True)
                if plans:
                    print(await many.plan(payload), flush=True)
    return
    yield  # an iterator that yields nothing


def main() -> None:
    """Print every question by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", action="store_true", help="print the plan of each, too")
    plans = parser.parse_args().plans
    for _ in _measured(lambda few, many: _told(few, many, plans=plans)):
        pass


if __name__ == "__main__":
    main()
