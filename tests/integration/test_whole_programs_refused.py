"""No byte of a whole program is unpickled unless this system wrote it just so."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bespoke_schemas import ids, programs
from bespoke_workers.errors import Refused
from bespoke_workers.programs import sealing
from tests.integration.whole_desk import SIGNING_KEY, Desk, opened
from tests.traps import Exploit


@pytest.fixture
def desk(database_url: str, tmp_path: Path) -> Iterator[Desk]:
    with opened(database_url, tmp_path) as desk:
        yield desk


Attack = Callable[[Desk, programs.SavedWhole, bytes], None]
"""Brings a pickle into the place of ada's program, without the signing key."""


def replaced(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(hostile)


def altered(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    content = desk.file(saved).read_bytes()
    # Before the end of the program, so that the hostile part would run first.
    desk.file(saved).write_bytes(hostile[:-1] + b"0" + content[2:])


def of_the_same_size(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    size = desk.file(saved).stat().st_size
    desk.file(saved).write_bytes(hostile.ljust(size, b"."))


def truncated(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(desk.file(saved).read_bytes()[:-1])


def swapped(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(desk.file(desk.save()).read_bytes())


def renamed(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    """Another user's program, with its seal, under ada's name."""
    theirs = desk.save(user_id="bob")
    desk.file(saved).write_bytes(desk.file(theirs, "bob").read_bytes())
    row = next(row for row in desk.rows() if row.id == theirs.whole_id)
    desk.change(saved, seal=row.seal, size_bytes=row.size_bytes)


def signed_with_another_key(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(hostile)
    (row,) = desk.rows()
    desk.change(saved, seal=sealing.seal(row, hostile, b"another key" * 3))


def unsigned(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.file(saved).write_bytes(hostile)
    desk.change(saved, seal="")


def of_another_program(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.change(saved, program="another")


def of_another_version(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.change(saved, version_id=ids.uuid7())


def of_other_releases(desk: Desk, saved: programs.SavedWhole, hostile: bytes) -> None:
    desk.change(saved, versions={"dspy": "3.4.0", "python": "3.11.0"})


@pytest.mark.parametrize(
    "attack",
    [
        replaced, altered, of_the_same_size, truncated, swapped, renamed,
        signed_with_another_key, unsigned, of_another_program, of_another_version,
        of_other_releases,
    ],
)  # fmt: skip
def test_what_this_system_did_not_write_is_refused_before_anything_is_unpickled(
    desk: Desk, tmp_path: Path, attack: Attack
) -> None:
    written = tmp_path / "written by a pickle"
    desk.teach("ada's")
    saved = desk.save()
    attack(desk, saved, pickle.dumps(Exploit(written)))

    with pytest.raises(Refused) as refused:
        desk.load(saved.whole_id)

    assert str(refused.value) == (
        f"the whole program {saved.whole_id} is not as this system wrote it, or was signed with "
        "another BESPOKE_SIGNING_KEY; it was not loaded: save it again"
    )
    assert not written.exists()


def test_such_a_pickle_would_have_run(desk: Desk, tmp_path: Path) -> None:
    written, saved = tmp_path / "written by a pickle", desk.save()
    hostile = pickle.dumps(Exploit(written))
    (row,) = desk.rows()
    desk.file(saved).write_bytes(hostile)
    desk.change(saved, seal=sealing.seal(row, hostile, SIGNING_KEY.encode()))

    with pytest.raises(Refused, match=r"no dspy\.Module"):
        desk.load(saved.whole_id)

    assert written.exists()


def test_a_file_that_is_not_there_or_was_signed_before_the_key_changed_is_refused(
    desk: Desk,
) -> None:
    saved = desk.save()

    with pytest.raises(Refused, match="signed with another BESPOKE_SIGNING_KEY"):
        desk.load(saved.whole_id, signing_key=SecretStr("n" * 32))
    desk.file(saved).unlink()
    with pytest.raises(Refused, match="no whole program at"):
        desk.load(saved.whole_id)


def test_another_python_or_dspy_is_named(desk: Desk) -> None:
    saved = desk.save()
    (row,) = desk.rows()
    row.versions = {**row.versions, "python": "3.9.1"}
    seal = sealing.seal(row, desk.file(saved).read_bytes(), SIGNING_KEY.encode())
    desk.change(saved, versions=row.versions, seal=seal)

    with pytest.raises(Refused, match=r"was saved under python 3\.9\.1, and this is 3\."):
        desk.load(saved.whole_id)
