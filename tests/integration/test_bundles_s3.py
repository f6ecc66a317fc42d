"""Bundles on S3, there and back, against a server of this machine."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from bespoke_schemas import exports, ids
from bespoke_schemas.programs import Save
from bespoke_workers.database.tables import Job
from bespoke_workers.errors import Misconfigured, Refused, Transient
from bespoke_workers.programs.bundles import Bundles
from bespoke_workers.settings import Settings
from bespoke_workers.storage import files
from bespoke_workers.storage.files import Writer
from tests.integration.bundles import FILE, Side
from tests.integration.object_stores import (
    BUCKET,
    checking_keys,
    forget_file_systems,
    point_to_s3,
    s3_store,
)
from tests.integration.test_bundles_killed import killed_at, start
from tests.two_predictors import tame_state

FOLDER = f"s3://{BUCKET}/backups"
PART = 5 * 2**20
"""The least that S3 takes as one part of several."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with s3_store(monkeypatch):
        yield boto3.client("s3")


@pytest.fixture
def here(here: Side) -> Side:
    return on(here, FOLDER)


def on(made: Side, url: str) -> Side:
    made.bundles = Bundles(made.database, Settings(storage_url=url))
    return made


def keys(s3: Any) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def uploads(s3: Any) -> list[str]:
    return [each["Key"] for each in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def fill(here: Side) -> None:
    """Save so much, and so random, that an upload has several parts."""
    noise = random.Random(7)
    for _ in range(6):
        here.save(state=tame_state(noise.randbytes(1_000_000).hex()))


def test_a_bundle_goes_to_s3_and_comes_back(here: Side, s3: Any) -> None:
    here.save(activate=True)
    here.save(user_id=None)

    exported = here.export(name=FILE)

    assert exported.url == f"{FOLDER}/{FILE}"
    assert keys(s3) == [f"backups/{FILE}"]
    assert here.import_(exported.url).unchanged == 2
    assert here.import_(FILE).unchanged == 2


def test_a_bundle_of_several_parts_comes_back_the_same(
    here: Side, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", PART)
    fill(here)

    exported = here.export(name=FILE)

    assert exported.size_bytes > PART
    head = s3.head_object(Bucket=BUCKET, Key=f"backups/{FILE}")
    assert head["ContentLength"] == exported.size_bytes
    assert head["ETag"].strip('"').endswith("-2")
    assert here.import_().unchanged == exported.count


def test_a_killed_export_shows_nothing_and_its_redelivery_a_whole_bundle(
    here: Side, s3: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", PART)
    fill(here)
    job = exports.ExportPrograms(id=ids.uuid7(), name=FILE)

    killed_at(start(FOLDER, database_url, job, "finish"))

    assert (keys(s3), uploads(s3)) == ([], [f"backups/{FILE}"])

    here.export(id=job.id, name=FILE)
    assert keys(s3) == [f"backups/{FILE}"]
    assert here.import_().unchanged == 6


def test_an_export_that_fails_leaves_neither_a_bundle_nor_parts(
    here: Side, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", PART)
    fill(here)
    seen: list[list[str]] = []

    def finish(_: Writer) -> tuple[int, str]:
        seen.append(uploads(s3))
        raise Refused("not today")

    monkeypatch.setattr(Writer, "finish", finish)
    with pytest.raises(Refused, match="not today"):
        here.export(name=FILE)

    assert seen == [[f"backups/{FILE}"]]
    assert (keys(s3), uploads(s3)) == ([], [])


def test_a_bundle_that_another_process_replaced_is_read_as_it_is_now(here: Side, s3: Any) -> None:
    here.save()
    here.export(name=FILE)
    here.import_()
    here.save()
    here.export(name="other.gz")
    copied = {"Bucket": BUCKET, "Key": "backups/other.gz"}
    s3.copy_object(Bucket=BUCKET, Key=f"backups/{FILE}", CopySource=copied)

    assert here.import_().unchanged == 2


def test_what_is_missing_is_named(here: Side, s3: Any) -> None:
    here.save()
    with pytest.raises(Refused, match=r"no bundle at 's3://bespoke-tests/backups/none\.gz'"):
        here.import_("none.gz")
    nowhere = on(here, "s3://no-such-bucket/backups")
    with pytest.raises(Misconfigured, match="no bucket or folder for 's3://no-such-bucket/"):
        nowhere.export(name=FILE)
    with pytest.raises(Refused, match="no bundle at 's3://no-such-bucket/"):
        nowhere.import_()
    with pytest.raises(Misconfigured, match="correct the rights, the credentials or the bucket"):
        on(here, "s3://not_A_bucket!/x").import_()
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == [BUCKET]


@pytest.mark.parametrize("wrong", ["unknown", "missing"])
def test_wrong_credentials_are_a_wrong_setting(
    here: Side, s3: Any, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    here.save()
    here.export(name="before.gz")
    if wrong == "missing":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
    forget_file_systems()
    on(here, FOLDER)
    with contextlib.nullcontext() if wrong == "missing" else checking_keys():
        for attempt in (lambda: here.export(name=FILE), lambda: here.import_("before.gz")):
            with pytest.raises(Misconfigured, match="forbids the access to 's3://bespoke-tests/b"):
                attempt()


def test_a_store_that_is_away_is_tried_again(
    here: Side, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.save()
    point_to_s3(monkeypatch, "http://127.0.0.1:9")
    on(here, FOLDER)

    for attempt in (lambda: here.export(name=FILE), here.import_):
        with pytest.raises(Transient, match="the storage failed: EndpointConnectionError"):
            attempt()
    assert {job.task for job in here.rows(Job)} == {Save.task}
