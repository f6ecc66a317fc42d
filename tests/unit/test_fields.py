"""What the shared fields take and refuse, before anything reaches the broker."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bespoke_schemas import fields, memories
from bespoke_schemas.fields import Moment

SECRET = "my-secret-diagnosis"


def refusal(**wrong: Any) -> str:
    """Return the place and the reason for which a Store with these fields is refused."""
    with pytest.raises(ValidationError) as refused:
        memories.Store.model_validate({"user_id": "ada", "content": "likes tea", **wrong})
    assert SECRET not in str(refused.value)
    first = refused.value.errors(include_input=False)[0]
    return f"{first['loc'][0]}: {first['msg']}"


@pytest.mark.parametrize("field", ["user_id", "content", "kind"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least 1 character"),
        (" \t\n ", "is blank"),
        ("\u2003", "is blank"),
        (f"{SECRET}\x00", "holds a NUL character"),
        (None, "valid string"),
        (7, "valid string"),
        ([SECRET], "valid string"),
    ],
    ids=["empty", "blank", "an em space", "NUL", "None", "a number", "a list"],
)
def test_a_text_that_cannot_be_kept_is_refused(field: str, text: object, reason: str) -> None:
    refused = refusal(**{field: text})

    assert refused.startswith(f"{field}: ")
    assert reason in refused


@pytest.mark.parametrize("field", ["user_id", "content", "kind"])
@pytest.mark.parametrize("surrogate", ["\ud800", f"{SECRET}\udfff", "\udc80 tea"])
def test_a_lone_surrogate_is_refused(field: str, surrogate: str) -> None:
    assert refusal(**{field: surrogate}).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        ("user_id", fields.USER_ID_LIMIT),
        ("content", fields.CONTENT_LIMIT),
        ("kind", fields.NAME_LIMIT),
    ],
)
def test_a_text_has_a_limit_in_characters(field: str, limit: int) -> None:
    longest = {"user_id": "ada", "content": "likes tea", field: "ß" * limit}
    assert getattr(memories.Store.model_validate(longest), field) == "ß" * limit

    assert f"at most {limit} characters" in refusal(**{field: "ß" * (limit + 1)})


def test_emoji_and_every_script_are_kept() -> None:
    text = "🧑‍🚀 Łódź 北京 \u200f\x01 '; DROP TABLE memory; --"

    assert memories.Store(user_id=text, content=text).content == text


def test_tags_are_names_and_few() -> None:
    assert "at most 50 items" in refusal(tags=["a"] * 51)
    assert refusal(tags=["ok", " "]).startswith("tags: ")
    assert refusal(tags=["ok", "a\x00"]).startswith("tags: ")


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": float("nan")},
        {"a": [1, {"b": float("inf")}]},
        {"a": -float("inf")},
        {"a": object()},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {"a": datetime(2025, 1, 1, tzinfo=UTC)},
        {7: "a"},
        {"a": {7: "b"}},
        {"a": f"{SECRET}\x00"},
        {f"{SECRET}\x00": 1},
        {"a": {f"{SECRET}\x00": 1}},
        {"a": [[{"b": {"c\x00": None}}]]},
        {"a": f"{SECRET}\ud800"},
        {"\udc00": 1},
        {"a": [{"\udc00": 1}]},
        "text",
        [1],
        None,
    ],
    ids=range(19),
)
def test_metadata_that_is_not_json_is_refused(metadata: object) -> None:
    assert refusal(metadata=metadata).startswith("metadata: ")


def test_metadata_that_looks_like_an_escaped_nul_is_kept() -> None:
    harmless = {"a": "\\u0000", "b\\u0000": ["\\\\u0000"]}

    assert memories.Store(user_id="ada", content="c", metadata=harmless).metadata == harmless


def test_metadata_has_a_limit() -> None:
    fits = {"a": "x" * (fields.METADATA_LIMIT - len('{"a": ""}'))}
    assert memories.Store(user_id="ada", content="c", metadata=fits).metadata == fits

    assert "at most 65536 are kept" in refusal(metadata={"a": fits["a"] + "x"})


def test_metadata_nested_without_end_is_refused_and_not_a_crash() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"a": deep}

    assert refusal(metadata=cyclic).startswith("metadata: ")
    assert refusal(metadata=deep).startswith("metadata: ")


def test_a_moment_needs_an_offset_and_becomes_utc() -> None:
    moment = TypeAdapter(Moment)
    tokyo = timezone(timedelta(hours=9))

    taken = moment.validate_python(datetime(2025, 1, 1, 9, tzinfo=tokyo))

    assert taken == datetime(2025, 1, 1, tzinfo=UTC)
    assert taken.tzinfo is UTC
    with pytest.raises(ValidationError, match="timezone"):
        moment.validate_python(datetime(2025, 1, 1))  # noqa: DTZ001  # that is the mistake
    with pytest.raises(ValidationError, match="out of range"):
        moment.validate_python(datetime(1, 1, 1, tzinfo=tokyo))
