"""A bundle with anything wrong in it is refused with the line and the reason, as a whole."""

import gzip
import json
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bespoke_schemas import ids
from bespoke_workers.errors import Refused
from bespoke_workers.programs import bundle_format, bundles
from tests.integration.bundles import (
    FILE,
    Side,
    a_header,
    an_entry,
    bundle_of,
    encoded,
    put,
    sealed,
)
from tests.two_predictors import tame_state

SECRET = "the card of ada was lost"


def refusal(here: Side) -> str:
    """Import the bundle in the storage, see it refused and nothing written; return the reason."""
    with pytest.raises(Refused) as refused:
        here.import_(activate=True)
    assert here.is_empty()
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def refused(here: Side) -> str:
    """Import the bundle, see it refused, and return the reason."""
    with pytest.raises(Refused) as error:
        here.import_(activate=True)
    return str(error.value)


def good(count: int = 3) -> bytes:
    return bundle_of(*(an_entry(program_data=tame_state(SECRET)) for _ in range(count)))


def test_a_good_one_is_good(here: Side) -> None:
    put(here.storage, good())

    assert here.import_().imported == 3


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4])
def test_a_bundle_that_lacks_lines_is_refused(here: Side, kept: int) -> None:
    put(here.storage, b"".join(good().splitlines(keepends=True)[:kept]))

    assert refusal(here).startswith(f"bundle, line {kept + 1}: it is truncated: ")


def test_a_file_that_is_cut_off_anywhere_is_refused(here: Side) -> None:
    whole = gzip.compress(good())
    for length in range(0, len(whole), 97):
        (here.storage / FILE).write_bytes(whole[:length])
        refusal(here)
    (here.storage / FILE).write_bytes(whole[:-4])
    assert "the file is cut off" in refusal(here)


def test_a_file_damaged_anywhere_is_refused(here: Side) -> None:
    whole = gzip.compress(good(), mtime=0)
    for place in [*range(4), *range(10, len(whole), 101), len(whole) - 6]:
        damaged = bytearray(whole)
        damaged[place] ^= 0x5A
        (here.storage / FILE).write_bytes(damaged)
        refusal(here)


def test_a_line_that_was_altered_is_refused(here: Side) -> None:
    put(here.storage, good().replace(b'"score": 0.5', b'"score": 0.9', 1))

    assert refusal(here) == (
        "bundle, line 5: the checksum differs: the bundle was altered; export it anew"
    )


def altered(**changes: Any) -> bytes:
    return bundle_of(an_entry(), an_entry(**changes))


TWICE = str(ids.uuid7())
CASES: dict[str, tuple[bytes, str]] = {
    "not gzip's contents": (b"\x00\xff not json\n", "bundle, line 1: header: Invalid JSON"),
    "a pickle": (
        pickle.dumps({"format": "bespoke-programs"}) + b"\n",
        "bundle, line 1: header: Invalid JSON",
    ),
    "another format": (
        bundle_of(format="other"),
        "bundle, line 1: format: Input should be 'bespoke-programs'",
    ),
    "newer format": (
        bundle_of(version=3, codec="zstd"),
        "bundle, line 1: format version 3 is newer than 2; update the workers",
    ),
    "format zero": (bundle_of(version=0), "bundle, line 1: format version 0, expected 2"),
    "no count": (
        encoded({"format": "bespoke-programs", "version": 1}),
        "bundle, line 1: count: Field required",
    ),
    "absurd count": (
        bundle_of(count=10**12),
        "bundle, line 1: count: Input should be less than or equal to 100000",
    ),
    "negative count": (
        bundle_of(count=-1),
        "bundle, line 1: count: Input should be greater than or equal to 0",
    ),
    "more entries than counted": (
        bundle_of(an_entry(), an_entry(), count=1),
        "bundle, line 3: sha256: Field required",
    ),
    "fewer entries than counted": (
        bundle_of(an_entry(), count=2),
        "bundle, line 3: program_id: Field required",
    ),
    "trailer counts otherwise": (
        sealed(encoded(a_header(1), an_entry()), 7),
        "bundle, line 3: count is 7, the header's is 1",
    ),
    "more after the trailer": (
        bundle_of(an_entry()) + encoded(an_entry()),
        "bundle, line 4: there is more after the trailer",
    ),
    "an id twice": (
        bundle_of(an_entry(program_id=TWICE), an_entry(program_id=TWICE)),
        f"bundle, line 3: program_id {TWICE} occurs twice",
    ),
    "two in use": (
        bundle_of(an_entry(active=True), an_entry(active=True)),
        "bundle, line 3: a second active version of the same user and program",
    ),
    "a second one in use by a shared version": (
        bundle_of(an_entry(active=True), an_entry(user_id=None, used_by=["bob", "ada"])),
        "bundle, line 3: a second active version of the same user and program",
    ),
    "somebody else's in use": (
        altered(used_by=["bob"]),
        "bundle, line 3: a user's own version that others have in use",
    ),
    "a checkpoint in use": (
        altered(active=True, checkpoint="half-way"),
        "bundle, line 3: a checkpoint that is in use",
    ),
    "an unknown key that was added": (
        altered(added=["program_data.lm"]),
        "bundle, line 3: added: Input should be 'optimization_result.best_score_value'",
    ),
    "last line in the middle": (good()[:-1], "bundle, line 5: it ends in the middle"),
    "an entry that is a list": (bundle_of([1]), "bundle, line 2: entry: Input should be an obj"),  # type: ignore[arg-type]  # that is the point
    "an id that is none": (altered(program_id=SECRET), "bundle, line 3: program_id: Input should"),
    "an empty user": (altered(user_id=" "), "bundle, line 3: user_id: Value error, is blank"),
    "a long user": (altered(user_id="u" * 201), "bundle, line 3: user_id: String should have at"),
    "NUL": (altered(description=f"{SECRET}\x00"), "bundle, line 3: description: Value error, "),
    "NUL inside": (altered(metadata={"a": "\x00"}), "bundle, line 3: metadata: Value error, ho"),
    "lone surrogate": (altered(description="\ud800"), "bundle, line 3: entry: Invalid JSON"),
    "no time zone": (altered(saved_at="2026-01-02T03:04:05"), "bundle, line 3: saved_at: Input"),
    "a key that we do not know": (
        altered(lm={"api_key": SECRET}),
        "bundle, line 3: a key that format 2 does not have",
    ),
    "an infinite score": (altered(score=float("inf")), "bundle, line 3: score: Input should be"),
    "not a number inside": (
        altered(optimization_result={"a": float("nan")}),
        "bundle, line 3: optimization_result: Value error, is not JSON",
    ),
    "a state without predictors": (
        altered(program_data={"forward": SECRET}),
        "bundle, line 3: program_data: state: holds no predictor",
    ),
    "a malformed state": (
        altered(program_data={"p": {"demos": SECRET}}),
        "bundle, line 3: program_data: state['p'].demos: got str, expected a list",
    ),
    "too deep": (
        altered(program_data=json.loads('{"p": ' + "[" * 300 + "]" * 300 + "}")),
        "bundle, line 3: entry: Invalid JSON: recursion limit exceeded",
    ),
    "too many tags": (altered(tags=["t"] * 51), "bundle, line 3: tags: Tuple should have at"),
    "a long signature": (altered(signature="s" * 401), "bundle, line 3: signature: String shoul"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_wrong_is_named_with_its_line(here: Side, case: str) -> None:
    lines, message = CASES[case]
    put(here.storage, lines)

    assert refusal(here).startswith(message)


def test_text_that_is_not_compressed_is_refused(here: Side) -> None:
    (here.storage / FILE).write_bytes(good())

    assert refusal(here) == (
        "bundle, line 1: not gzip, or damaged; give a file that an export wrote"
    )


def bomb_of_one_line() -> bytes:
    return encoded(a_header(1)) + b'{"program_id": "' + b"0" * (bundle_format.LINE_LIMIT + 2**20)


def bomb_of_spaces() -> bytes:
    return b" " * (bundle_format.LINE_LIMIT + 2**20)


@pytest.mark.parametrize("bomb", [bomb_of_one_line, bomb_of_spaces])
def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(
    here: Side, bomb: Callable[[], bytes]
) -> None:
    small = gzip.compress(bomb() * 4, 9)
    assert len(small) < 2**20
    (here.storage / FILE).write_bytes(small)

    tracemalloc.start()
    try:
        message = refusal(here)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert f"longer than {bundle_format.LINE_LIMIT} bytes" in message
    assert peak < 3 * bundle_format.LINE_LIMIT


def test_many_small_files_after_each_other_are_one_and_counted_together(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = good()
    parts = [gzip.compress(whole[at : at + 100]) for at in range(0, len(whole), 100)]
    (here.storage / FILE).write_bytes(b"".join(parts) + b"\0" * 512)
    assert here.import_(dry_run=True).imported == 3
    monkeypatch.setattr(bundles, "BUNDLE", replace(bundles.BUNDLE, total_limit=len(whole) - 1))

    assert "is larger than 0 MiB uncompressed; split it" in refused(here)


def test_a_file_of_nothing_but_empty_parts_is_refused_unread(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.storage / FILE).write_bytes(gzip.compress(b"") * 1_000)
    assert refusal(here).startswith("bundle, line 1: it is truncated: it is empty")
    monkeypatch.setattr(bundles, "BUNDLE", replace(bundles.BUNDLE, total_limit=10_000))

    assert refusal(here).startswith("bundle, line 1: the bundle is larger than 0 MiB")


def test_what_comes_after_the_compressed_part_is_refused(here: Side) -> None:
    (here.storage / FILE).write_bytes(gzip.compress(good()) + b"PK\3\4")

    assert refusal(here).startswith("bundle, line 6: not gzip, or damaged")


def test_a_bundle_that_is_too_large_in_all_is_refused_both_ways(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "BUNDLE", replace(bundles.BUNDLE, total_limit=2**20))
    filler = {"text": "x" * 2**18}
    put(here.storage, bundle_of(*(an_entry(optimization_result=filler) for _ in range(5))))
    assert refusal(here).startswith(
        "bundle, line 5: the bundle is larger than 1 MiB uncompressed; split it"
    )

    for _ in range(13):
        here.save(optimization_result={"text": "x" * 60_000}, description="y" * 30_000)
    with pytest.raises(Refused, match="larger than 1 MiB uncompressed; export fewer programs"):
        here.export(name="large.gz")
    assert [file.name for file in here.storage.iterdir()] == [FILE]


def test_an_id_that_is_there_with_other_contents_refuses_the_whole(here: Side) -> None:
    known = an_entry()
    put(here.storage, bundle_of(known))
    here.import_()
    before = here.versions()

    changes: list[tuple[str, dict[str, Any]]] = [
        ("score", {"score": 0.6}),
        ("user_id", {"user_id": "eve"}),
        ("state", {"program_data": tame_state(SECRET)}),
        ("meta", {"metadata": {}}),
        ("saved_at", {"saved_at": "2026-01-02T03:04:06Z"}),
    ]
    for column, change in changes:
        put(here.storage, bundle_of(an_entry(active=True), {**known, **change}))
        with pytest.raises(Refused) as refused:
            here.import_(activate=True)
        assert str(refused.value) == (
            f"version {known['program_id']} exists with another {column}; versions never "
            "change, and nothing was imported"
        )
        assert here.versions() == before
        assert here.pointers() == {}
