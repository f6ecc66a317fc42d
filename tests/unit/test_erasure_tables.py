"""Every table is swept when a user is erased, or says why nothing of a user is in it."""

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from bespoke_workers.users.erasure_rows import NAMING_NOBODY, tables


def test_every_table_has_a_user_or_a_reason_for_having_none() -> None:
    swept = {table.name for table in tables()}

    assert swept | set(NAMING_NOBODY) == set(SQLModel.metadata.tables)
    assert not swept & set(NAMING_NOBODY)


def test_a_table_that_refers_to_another_is_swept_before_it() -> None:
    order = [table.name for table in tables()]

    for table in tables():
        for key in table.foreign_keys:
            other = key.column.table.name
            if other in order and other != table.name:
                assert order.index(table.name) < order.index(other)


def test_a_users_name_stands_in_no_column_of_another_name() -> None:
    """A new column in which a user may stand is to be seen to, and then written down here."""
    known = {
        "batch": {"key", "program", "tier", "state", "planned_through", "over_budget"},
        "compaction_round": {"asked", "state", "planned_through"},
        "activation": {"reason"},
        "delivery": {"task"},
        "embedder_target": {"embedder"},
        "erasure": {"subject", "state", "found"},
    }
    for name in NAMING_NOBODY:
        table = SQLModel.metadata.tables[name]
        texts = {column.name for column in table.columns if isinstance(column.type, Text | JSONB)}
        assert texts == known[name], f"{name}: may one of {texts - known[name]} name a user?"
