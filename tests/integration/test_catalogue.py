"""Versions are found, listed and compared by whom they concern, a page at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from bespoke_schemas import ids, programs
from bespoke_workers.database.engine import Database
from bespoke_workers.database.tables import ProgramVersion
from bespoke_workers.errors import Refused
from bespoke_workers.programs import pointer
from bespoke_workers.programs.catalogue import Catalogue
from bespoke_workers.programs.library import Library
from bespoke_workers.settings import Settings
from tests.integration.databases import opened, rows
from tests.integration.memory_workers import in_loop
from tests.two_predictors import tame_state

NOW = datetime.now(UTC)


class Shelf:
    """A catalogue, and a way to put versions into it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.catalogue = Catalogue(database)

    async def put(self, *, hours_ago: float = 0, active: bool = False, **fields: Any) -> UUID:
        """Save a version, and put it into its owner's use if ``active``."""
        row: dict[str, Any] = {
            "id": ids.uuid7(), "user_id": "ada", "program": "support",
            "signature": "text -> label", "state": tame_state(), "fingerprint": "f",
            "size_bytes": 2, "saved_at": NOW - timedelta(hours=hours_ago), **fields,
        }  # fmt: skip
        async with self.database.transaction() as session:
            session.add(ProgramVersion(**row))
        if active:
            await self.use(row["user_id"], row["program"], row["id"])
        version_id: UUID = row["id"]
        return version_id

    async def use(self, user_id: str | None, program: str, version_id: UUID) -> None:
        """Put a version into use."""
        async with self.database.transaction() as session:
            await pointer.move(session, [(user_id, program, version_id)], reason="activated")

    async def find(self, **query: Any) -> list[UUID]:
        """Return the ids of what is found, over all pages."""
        return [each.program_id async for each in self.pages(**query)]

    async def pages(self, **query: Any) -> AsyncIterator[programs.VersionSummary]:
        """Go through every page of what is found."""
        after = None
        while True:
            page = await self.catalogue.find(programs.Find(after=after, **query))
            for version in page.versions:
                yield version
            if page.next is None:
                return
            after = page.next


@asynccontextmanager
async def shelved(url: str) -> AsyncIterator[Shelf]:
    async with opened(url, pool_size=4) as database:
        yield Shelf(database)


@in_loop
async def test_each_filter_keeps_what_fits_it_newest_first(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        a = await shelf.put(hours_ago=50, optimizer="MIPROv2", score=0.5, tags=["x"])
        b = await shelf.put(hours_ago=30, score=0.75, tags=["x", "y"], signature="q -> a")
        c = await shelf.put(hours_ago=10, optimizer="KNNFewShot", program="triage", tags=["y"])
        d = await shelf.put(hours_ago=20, optimizer="MIPROv2", score=1.0, tags=["y", "z", "x"])

        cases: list[tuple[dict[str, Any], list[UUID]]] = [
            ({}, [c, d, b, a]),
            ({"program": "support"}, [d, b, a]),
            ({"program": "other"}, []),
            ({"signature": "q -> a"}, [b]),
            ({"optimizer": "MIPROv2"}, [d, a]),
            ({"min_score": 0.75}, [d, b]),
            ({"min_score": 0.76}, [d]),
            ({"max_age_days": 1}, [c, d]),
            ({"max_age_days": 0}, []),
            ({"tags": ["x"]}, [d, b, a]),
            ({"tags": ["x", "y"]}, [d, b]),
            ({"tags": ["x", "nowhere"]}, []),
            ({"optimizer": "MIPROv2", "min_score": 0.6, "tags": ["z"]}, [d]),
            ({"program": "triage", "max_age_days": 3, "signature": "text -> label"}, [c]),
        ]
        for query, expected in cases:
            assert await shelf.find(user_id="ada", **query) == expected, query


@in_loop
async def test_any_number_of_tags_can_be_asked_for(database_url: str) -> None:
    many = [f"tag {number}" for number in range(7)]
    async with shelved(database_url) as shelf:
        all_of_them = await shelf.put(hours_ago=2, tags=[*many, "tag 0"], score=0.5)
        checkpoint = await shelf.put(hours_ago=1, tags=many, checkpoint="i1")
        await shelf.put(tags=many[:-1])

        for tags in (many, many[::-1], [*many, *many], many[-1:]):
            assert await shelf.find(user_id="ada", tags=tags) == [all_of_them]
            assert await shelf.find(user_id="ada", tags=tags, min_score=0.6) == []
            assert await shelf.find(user_id="ada", tags=tags, checkpoints=True) == [
                checkpoint,
                all_of_them,
            ]


@in_loop
async def test_tagged_versions_come_in_pages_and_go_with_what_is_deleted(
    database_url: str,
) -> None:
    async with shelved(database_url) as shelf:
        same_time = [await shelf.put(hours_ago=1, tags=["x", "y"]) for _ in range(5)]
        older = await shelf.put(hours_ago=2, tags=["x"])
        gone = await shelf.put(hours_ago=3, tags=["x"])
        async with shelf.database.transaction() as session:
            await session.delete(await session.get_one(ProgramVersion, gone))

        for limit in (1, 2, 6):
            found = await shelf.find(user_id="ada", tags=["x"], limit=limit)
            assert found == [*sorted(same_time, reverse=True), older]
            found = await shelf.find(user_id="ada", tags=["y", "x"], limit=limit)
            assert found == sorted(same_time, reverse=True)
        assert await rows(shelf.database, "SELECT count(*) FROM program_version_tag") == [(11,)]


@in_loop
async def test_only_one_owner_s_versions_are_found(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        own, bobs = await shelf.put(tags=["x"]), await shelf.put(user_id="bob", tags=["x"])
        shared = await shelf.put(user_id=None, tags=["x"])

        queries: tuple[dict[str, Any], ...] = ({}, {"program": "support"}, {"tags": ["x"]})
        for query in queries:
            assert await shelf.find(user_id="ada", **query) == [own]
            assert await shelf.find(user_id="bob", **query) == [bobs]
            assert await shelf.find(**query) == [shared]
            assert await shelf.find(user_id="eve", **query) == []


@in_loop
async def test_checkpoints_are_left_out_unless_asked_for(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        job = ids.uuid7()
        version = await shelf.put(hours_ago=2, score=0.5)
        checkpoint = await shelf.put(hours_ago=1, score=0.9, checkpoint="i50", checkpoint_of=job)
        user: dict[str, Any] = {"user_id": "ada"}

        assert await shelf.find(**user) == [version]
        assert await shelf.find(checkpoints=True, **user) == [checkpoint, version]
        listed = await shelf.catalogue.list(programs.List(**user))
        assert [each.program_id for each in listed.versions] == [version]
        listed = await shelf.catalogue.list(programs.List(checkpoints=True, **user))
        assert [(each.checkpoint, each.checkpoint_of) for each in listed.versions] == [
            ("i50", job), (None, None),
        ]  # fmt: skip
        told = await shelf.catalogue.history(programs.History(**user))
        assert (told.summary.total_programs, told.summary.best) == (1, version)
        assert len(told.trends.programs["support"].points) == 1
        told = await shelf.catalogue.history(programs.History(checkpoints=True, **user))
        assert (told.summary.total_programs, told.summary.best) == (2, checkpoint)
        assert told.trends.improvement_percentage == 80.0
        library = Library(shelf.database, Settings())
        for asked, expected in ((False, version), (True, checkpoint)):
            best = programs.Best(program="support", checkpoints=asked, **user)
            loaded = (await library.best(best)).version
            assert loaded is not None
            assert loaded.program_id == expected


@in_loop
async def test_a_summary_tells_all_but_the_contents(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        parent = ids.uuid7()
        await shelf.put(
            hours_ago=1,
            optimizer="MIPROv2",
            score=0.5,
            tags=["x"],
            description="long " * 100,
            parent_id=parent,
            meta={"by": "hand"},
            active=True,
        )
        await shelf.put()

        newer, older = (await shelf.catalogue.list(programs.List(user_id="ada"))).versions

        assert not newer.active
        assert older.active
        assert (older.user_id, older.program, older.signature, older.optimizer) == (
            "ada", "support", "text -> label", "MIPROv2",
        )  # fmt: skip
        assert (older.score, older.tags, older.parent_id) == (0.5, ("x",), parent)
        assert (older.size_bytes, older.saved_at) == (2, NOW - timedelta(hours=1))
        assert older.description == ("long " * 100)[:200]
        assert not {"state", "optimization_result", "metadata"} & older.model_dump().keys()
        assert "card lost" not in older.model_dump_json()


@in_loop
async def test_in_use_means_by_its_own_owner(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        shared = await shelf.put(user_id=None, active=True)
        await shelf.use("bob", "support", shared)
        other = await shelf.put(user_id=None, program="triage")
        await shelf.use("bob", "triage", other)

        listed = await shelf.catalogue.list(programs.List())

        assert {each.program_id: each.active for each in listed.versions} == {
            shared: True,
            other: False,
        }


@in_loop
async def test_pages_neither_repeat_nor_miss_a_version_while_others_are_saved(
    database_url: str,
) -> None:
    async with shelved(database_url) as shelf:
        same_time = [await shelf.put(hours_ago=5) for _ in range(7)]
        there = set(same_time) | {await shelf.put(hours_ago=n) for n in range(1, 10)}
        seen: list[UUID] = []
        saved: set[UUID] = set()

        for payload in (programs.List, programs.Find):
            after, seen = None, []
            read = shelf.catalogue.list if payload is programs.List else shelf.catalogue.find
            while True:
                query: Any = payload(user_id="ada", limit=3, after=after)
                page, newcomer = await asyncio.gather(
                    read(query), shelf.put(hours_ago=-len(saved) / 3600)
                )
                saved.add(newcomer)
                seen += [each.program_id for each in page.versions]
                after = page.next
                if after is None:
                    break

            assert len(seen) == len(set(seen))
            assert there <= set(seen)
            there |= saved


@in_loop
async def test_a_cursor_holds_though_its_version_is_deleted(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        oldest, _, last, newest = [await shelf.put(hours_ago=hours) for hours in (4, 3, 2, 1)]
        page = await shelf.catalogue.list(programs.List(user_id="ada", limit=2))
        assert [each.program_id for each in page.versions] == [newest, last]
        async with shelf.database.transaction() as session:
            await session.delete(await session.get_one(ProgramVersion, last))

        rest = await shelf.catalogue.list(programs.List(user_id="ada", limit=2, after=page.next))

        assert len(rest.versions) == 2
        assert rest.versions[-1].program_id == oldest
        assert rest.next is None


@in_loop
async def test_a_history_tells_each_program_in_order_of_saving(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        first = await shelf.put(hours_ago=9, score=0.5, optimizer="LabeledFewShot", active=True)
        unscored = await shelf.put(hours_ago=8)
        best = await shelf.put(hours_ago=7, score=0.9, optimizer="MIPROv2", active=True)
        last = await shelf.put(hours_ago=6, score=0.75, optimizer="MIPROv2")
        await shelf.put(hours_ago=2, program="triage", optimizer="MIPROv2")
        await shelf.put(user_id="bob", score=1.0)
        await shelf.put(user_id=None, score=1.0)

        told = await shelf.catalogue.history(programs.History(user_id="ada"))

        summary = told.summary
        assert (summary.total_programs, summary.best, summary.best_score) == (5, best, 0.9)
        assert summary.avg_score == pytest.approx((0.5 + 0.9 + 0.75) / 3)
        assert summary.first_saved_at == NOW - timedelta(hours=9)
        assert summary.last_saved_at == NOW - timedelta(hours=2)
        stats = told.optimizer_stats
        assert {name: each.count for name, each in stats.items()} == {
            "LabeledFewShot": 1,
            "MIPROv2": 3,
        }
        assert stats["MIPROv2"].best_score == 0.9
        assert stats["MIPROv2"].avg_score == pytest.approx(0.825)
        support, triage = told.trends.programs["support"], told.trends.programs["triage"]
        assert told.trends.improvement_percentage == support.improvement_percentage == 50.0
        assert (support.first_score, support.last_score, support.best_score) == (0.5, 0.75, 0.9)
        assert [(each.program_id, each.promoted, each.active) for each in support.points] == [
            (first, True, False),
            (unscored, False, False),
            (best, True, True),
            (last, False, False),
        ]
        assert [each.score for each in support.points] == [0.5, None, 0.9, 0.75]
        assert support.points[0].saved_at == NOW - timedelta(hours=9)
        assert (triage.improvement_percentage, triage.count) == (None, 1)
        assert [each.promoted for each in triage.points] == [False]


@in_loop
async def test_a_history_can_be_of_one_program_and_have_fewer_points(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        await shelf.put(user_id=None, hours_ago=3, score=0.25)
        newest = await shelf.put(user_id=None, hours_ago=1, score=0.5, active=True)
        await shelf.put(user_id=None, program="triage", score=1.0)

        told = await shelf.catalogue.history(programs.History(program="support", points=1))

        assert set(told.trends.programs) == {"support"}
        (point,) = told.trends.programs["support"].points
        assert (point.program_id, point.active) == (newest, True)
        assert told.trends.programs["support"].improvement_percentage == 100.0
        assert (told.summary.total_programs, told.summary.best) == (2, newest)
        none = await shelf.catalogue.history(programs.History(program="support", points=0))
        assert none.trends.programs["support"].points == ()
        assert none.summary == told.summary
        empty = await shelf.catalogue.history(programs.History(user_id="eve"))
        assert (empty.summary.total_programs, empty.trends.programs) == (0, {})


@in_loop
async def test_the_largest_scores_make_no_history_fail(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        for score in (1.7e308, 1.7e308, -1.7e308, 1.7e308):
            await shelf.put(score=score)

        told = await shelf.catalogue.history(programs.History(user_id="ada"))

        assert told.summary.avg_score == pytest.approx(0.85e308)


@in_loop
async def test_two_versions_are_compared_without_their_contents(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        changed = tame_state()
        changed["classify"]["demos"] *= 2
        changed["explain.predict"]["signature"]["instructions"] = "Say why, and why not."
        one = await shelf.put(hours_ago=36, score=0.5, active=True)
        two = await shelf.put(user_id=None, score=0.75, state=changed)
        payload = programs.Compare(program_id_1=one, program_id_2=two, user_id="ada")

        told = await shelf.catalogue.compare(payload)

        assert (told.program_1.program_id, told.program_2.program_id) == (one, two)
        assert (told.program_1.active, told.program_2.active) == (True, False)
        assert told.comparison.score_difference == -0.25
        assert told.comparison.better_program == two
        assert told.comparison.age_difference_hours == 36.0
        assert told.comparison.same_program
        classify, explain = told.predictors["classify"], told.predictors["explain.predict"]
        assert (classify.demos_1, classify.demos_2, classify.demos_changed) == (1, 2, True)
        assert (classify.instructions_changed, classify.fields_changed) == (False, False)
        assert (explain.demos_1, explain.demos_2, explain.instructions_changed) == (0, 0, True)
        assert "card lost" not in told.model_dump_json()
        itself = programs.Compare(program_id_1=one, program_id_2=one, user_id="ada")
        assert (await shelf.catalogue.compare(itself)).predictors == {}


@in_loop
async def test_a_version_that_a_user_may_not_see_is_not_compared(database_url: str) -> None:
    async with shelved(database_url) as shelf:
        own, bobs = await shelf.put(), await shelf.put(user_id="bob")
        missing = ids.uuid7()

        for user_id, one, two, unseen in [
            ("ada", own, bobs, bobs),
            ("ada", bobs, own, bobs),
            ("ada", own, missing, missing),
            (None, own, bobs, own),
        ]:
            payload = programs.Compare(program_id_1=one, program_id_2=two, user_id=user_id)
            with pytest.raises(Refused, match=f"no version {unseen} that this user may see"):
                await shelf.catalogue.compare(payload)
