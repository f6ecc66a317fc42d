"""Whatever is done to a bundle: it is refused with the line, or means what it meant before."""

import gzip
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bespoke_workers.errors import Refused
from bespoke_workers.programs.bundle_decoding import Decoder
from bespoke_workers.programs.bundle_format import Entry
from bespoke_workers.programs.bundles import BUNDLE
from bespoke_workers.storage.files import read_lines
from bespoke_workers.storage.places import Storage
from tests.integration.bundles import FILE, a_header, an_entry, bundle_of, encoded, sealed
from tests.two_predictors import TRAP, hostile_state, tame_state

FUZZED = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
REFUSAL = re.compile(r"^bundle, line \d+: [^\n]+$")
KEYS = sorted(an_entry() | {"used_by": 0, "checkpoint": 0, "checkpoint_of": 0, "added": 0, "lm": 0})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@cache
def lines() -> bytes:
    shared = an_entry(
        program_id="01890000-0000-7000-8000-000000000001", user_id=None, used_by=["bob"]
    )
    own = an_entry(
        program_id="01890000-0000-7000-8000-000000000002",
        active=True,
        optimization_result={"best_score_value": 0.5, "n": [1e100, -0.0]},
        added=["optimization_result.best_score_value"],
    )
    point = an_entry(program_id="01890000-0000-7000-8000-000000000003", checkpoint="half-way")
    return bundle_of(shared, own, point, version=2)


def decoded(storage: Path, stored: bytes) -> list[Entry] | None:
    """Return a bundle's entries; None if it was refused as it must be."""
    (storage / FILE).write_bytes(stored)
    files = Storage(storage.as_uri())
    try:
        return list(Decoder(read_lines(BUNDLE, files, files.place(FILE))))
    except Refused as refused:
        reason = str(refused)
    assert REFUSAL.match(reason), reason
    return None


def mutated(whole: bytes, how: str, at: int, size: int, byte: int) -> bytes:
    at %= len(whole)
    head, piece, tail = whole[:at], whole[at : at + size], whole[at + size :]
    altered = {
        "cut off": head,
        "left out": head + tail,
        "twice": head + piece + piece + tail,
        "moved": piece + head + tail,
        "overwritten": head + bytes([byte]) * len(piece) + tail,
        "put in": head + bytes([byte]) * size + piece + tail,
    }
    return altered[how]


WAYS = st.tuples(
    st.sampled_from(["cut off", "left out", "twice", "moved", "overwritten", "put in"]),
    st.integers(0, 2**16),
    st.integers(1, 64),
    st.integers(0, 255),
)


@FUZZED
@given(way=WAYS)
def test_altered_bytes_are_refused_or_mean_the_same(
    tmp_path: Path, way: tuple[str, int, int, int]
) -> None:
    for stored in (
        gzip.compress(mutated(lines(), *way), 1, mtime=0),
        mutated(gzip.compress(lines(), 1, mtime=0), *way),
    ):
        entries = decoded(tmp_path, stored)
        assert entries is None or entries == decoded(tmp_path, gzip.compress(lines(), 1))


@FUZZED
@given(order=st.lists(st.integers(0, 4), max_size=8))
def test_lines_in_another_order_are_refused_or_mean_the_same(
    tmp_path: Path, order: list[int]
) -> None:
    each = lines().splitlines(keepends=True)

    entries = decoded(tmp_path, gzip.compress(b"".join(each[one] for one in order), 1))

    assert (entries is not None) == (order == [0, 1, 2, 3, 4])


@FUZZED
@given(key=st.sampled_from(KEYS), value=JSON, count=JSON)
def test_whatever_a_rightly_sealed_bundle_holds_it_is_refused_or_can_be_stored(
    tmp_path: Path, key: str, value: Any, count: Any
) -> None:
    document = json.dumps(an_entry(program_data=hostile_state()) | {key: value})
    header = a_header(1, version=2)
    body = encoded(header) + document.encode() + b"\n"

    for entry in decoded(tmp_path, gzip.compress(sealed(body, 1), 1)) or []:
        assert TRAP not in str(entry.program_data)
        assert Entry.model_validate_json(entry.model_dump_json()) == entry
    weird = encoded({**header, "count": count}, an_entry())
    entries = decoded(tmp_path, gzip.compress(sealed(weird, 1), 1))
    assert entries is None or count == 1


@pytest.mark.parametrize(
    "harm",
    [
        lambda: "[" * 100_000,
        lambda: '{"a":' * 100_000,
        lambda: '{"program_id": "' + "9" * 1_000_000,
        lambda: '{"score": ' + "9" * 1_000_000 + "}",
        lambda: json.dumps(an_entry(tags=["t"] * 1_000_000)),
        lambda: json.dumps(an_entry(user_id=None, used_by=["u"] * 200_001)),
        lambda: json.dumps(an_entry(program_data={"x" * 40: tame_state()} | {"y": [0] * 10**6})),
    ],
)
def test_deep_long_and_wide_lines_are_refused(tmp_path: Path, harm: Callable[[], str]) -> None:
    body = encoded(a_header(1, version=2)) + harm().encode() + b"\n"

    assert decoded(tmp_path, gzip.compress(sealed(body, 1), 1)) is None
