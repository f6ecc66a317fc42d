"""What names under the storage URL may be, and where they must not lead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bespoke_workers.errors import Refused
from bespoke_workers.storage.files import Kind, Writer, read_lines
from bespoke_workers.storage.places import Storage

KIND = Kind("bundle", 1_000, 10_000, "export less")
OUTSIDE = "leads out of the storage; give a file that lies in it"


def read(storage: Storage, name: str) -> list[bytes]:
    return list(read_lines(KIND, storage, storage.place(name), compressed=False))


def write(storage: Storage, name: str) -> None:
    writer = Writer(KIND, storage, storage.place(name), "token", compressed=False)
    writer.open()
    writer.write([b"line\n"])
    writer.finish()


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"secret\n")
    return tmp_path / "inside"


def test_a_folder_that_is_removed_as_a_file_begins_in_it_is_made_again(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(inside.as_uri())
    write(storage, "folder/old")
    made = storage.files.makedirs

    def make_too_early(path: str, exist_ok: bool) -> None:
        made(path, exist_ok=exist_ok)
        if (inside / "folder" / "old").exists():
            storage.remove("folder/old")  # the last file in it, as an erasure does it

    monkeypatch.setattr(storage.files, "makedirs", make_too_early)
    write(storage, "folder/new")
    assert storage.names() == ["folder/new"]


@pytest.mark.parametrize("link", ["x", "folder/x"])
def test_a_link_that_leads_out_is_not_followed(inside: Path, link: str) -> None:
    name, _, rest = link.partition("/")
    (inside / name).symlink_to(inside.parent / "outside" / ("" if rest else "x"))
    storage = Storage(inside.as_uri())

    for attempt in (read, write):
        with pytest.raises(Refused, match=OUTSIDE):
            attempt(storage, link)
    with pytest.raises(Refused, match=OUTSIDE):
        write(storage, f"{link}-new" if rest else f"{name}")

    assert [file.name for file in (inside.parent / "outside").iterdir()] == ["x"]


def test_a_storage_that_is_a_link_and_links_within_it_are_followed(inside: Path) -> None:
    (inside.parent / "link").symlink_to(inside)
    storage = Storage((inside.parent / "link").as_uri())
    write(storage, "folder/x")
    (inside / "y").symlink_to(inside / "folder" / "x")

    assert read(storage, "y") == [b"line\n"]


def test_what_is_no_file_is_refused_at_once(inside: Path) -> None:
    os.mkfifo(inside / "pipe")
    (inside / "round").symlink_to(inside / "round")
    storage = Storage(inside.as_uri())

    for name in ("pipe", "round"):
        with pytest.raises(Refused, match="is no file"):
            read(storage, name)


@pytest.mark.parametrize(
    "name",
    ["x?versionId=1", "x#1", "*.gz", "[a]", "a:b", "猫" * 67, "a\\b", "..", "a/../b", "/a", "a//b"],
)
def test_a_name_that_a_file_system_takes_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="is no name under the storage URL"):
        Storage("s3://bucket/folder").place(name)


def test_the_longest_names_can_be_written(inside: Path) -> None:
    storage = Storage(inside.as_uri())
    write(storage, "猫" * 66)

    assert read(storage, "猫" * 66) == [b"line\n"]


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("gcs", "gcsfs")])
def test_a_missing_extra_is_named(scheme: str, package: str) -> None:
    """In a process of its own: fsspec keeps what it has imported."""
    code = f"""
import sys
sys.modules[{package!r}] = None
from bespoke_workers.errors import Misconfigured
from bespoke_workers.storage.places import Storage
try:
    Storage("{scheme}://bucket/x").place("y")
except Misconfigured as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    extra = {"s3": "s3"}.get(scheme, "gcs")
    assert said.stdout == (
        f"BESPOKE_STORAGE_URL: {scheme!r} needs a package that is missing: "
        f"install bespoke-workers[{extra}]\n"
    )


def test_a_folder_that_cannot_be_made_is_told(inside: Path) -> None:
    (inside / "file").write_bytes(b"")

    with pytest.raises(Refused, match=r"file/x. is no file"):
        write(Storage(inside.as_uri()), "file/x")
