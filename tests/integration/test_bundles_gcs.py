"""Bundles on GCS, there and back, against an emulator on this machine."""

import random
from collections.abc import Iterator

import pytest

from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs.bundles import Bundles
from bespoke_workers.settings import Settings
from bespoke_workers.storage import files
from tests.integration.bundles import FILE, Side
from tests.integration.object_stores import BUCKET, gcs_store
from tests.two_predictors import tame_state

FOLDER = f"gs://{BUCKET}/backups"
CHUNK = 2**18
"""The least that GCS takes as one chunk of several."""


@pytest.fixture
def here(here: Side, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    with gcs_store(monkeypatch):
        yield on(here, FOLDER)


def on(made: Side, url: str) -> Side:
    made.bundles = Bundles(made.database, Settings(storage_url=url))
    return made


@pytest.mark.parametrize("demo_bytes", [10, 500_000])
def test_a_bundle_goes_to_gcs_and_comes_back(
    here: Side, monkeypatch: pytest.MonkeyPatch, demo_bytes: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", CHUNK)
    noise = random.Random(7)
    for _ in range(2):
        here.save(state=tame_state(noise.randbytes(demo_bytes).hex()))

    exported = here.export(name=FILE)

    assert exported.url == f"{FOLDER}/{FILE}"
    assert exported.size_bytes > 2 * demo_bytes
    assert here.import_(exported.url).unchanged == 2


def test_what_is_missing_is_named(here: Side) -> None:
    here.save()
    with pytest.raises(Refused, match=r"no bundle at 'gs://bespoke-tests/backups/none\.gz'"):
        here.import_("none.gz")
    with pytest.raises(Misconfigured, match="no bucket or folder for 'gs://no-such-bucket/"):
        on(here, "gs://no-such-bucket/backups").export(name=FILE)
