"""Field types that several payloads share, with their limits and what they refuse."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, JsonValue

USER_ID_LIMIT = 200  # characters; it is part of database keys
CONTENT_LIMIT = 32_768  # characters; longer texts are documents, not memories
METADATA_LIMIT = 65_536  # characters of JSON
STATE_LIMIT = 8_388_608  # characters of JSON; a state with hundreds of long demos fits
NAME_LIMIT = 100  # characters
COUNT_LIMIT = 2**31 - 1  # rows; what PostgreSQL's integer holds
SHARED = "\x1f"
"""Stands before the name of a shared space where else a user's id stands."""
TAG_LIMIT = 50  # tags of one row


def storable(text: str) -> str:
    """Return ``text`` if PostgreSQL and JSON can hold it, else raise ValueError.

    PostgreSQL's text cannot hold NUL, and a lone surrogate has no UTF-8 form.
    """
    if "\x00" in text:
        raise ValueError("holds a NUL character; remove it")
    try:
        text.encode()  # in C: a loop over the characters takes a hundred times as long
    except UnicodeEncodeError:
        raise ValueError(
            "holds a lone surrogate, which has no UTF-8 form; decode the text properly"
        ) from None
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; give at least one visible character")
    return text


def _storable_json(limit: int) -> AfterValidator:
    """Check that a value is JSON that PostgreSQL can hold, of at most ``limit`` characters."""

    def check(value: Any) -> Any:
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"is not JSON: {error}") from None
        storable(text)
        if "\\u0000" in text and _holds_nul(value):
            raise ValueError("holds a NUL character; remove it")
        if len(text) > limit:
            raise ValueError(f"is {len(text)} characters of JSON; at most {limit} are kept")
        return value

    return AfterValidator(check)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return any(_holds_nul(inner) for inner in value)
    return isinstance(value, str) and "\x00" in value


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range in UTC") from None


def _no_shared_space(user_id: str) -> str:
    if user_id.startswith(SHARED):
        raise ValueError("begins with U+001F, which marks shared spaces; give another id")
    return user_id


_TEXT = AfterValidator(storable)

OwnerId = Annotated[
    str, Field(min_length=1, max_length=USER_ID_LIMIT), _TEXT, AfterValidator(_not_blank)
]
"""Whose a space is: a user's, or that of all who share it."""
UserId = Annotated[OwnerId, AfterValidator(_no_shared_space)]
Content = Annotated[
    str, Field(min_length=1, max_length=CONTENT_LIMIT), _TEXT, AfterValidator(_not_blank)
]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT), _TEXT, AfterValidator(_not_blank)]
Tags = Annotated[tuple[Name, ...], Field(max_length=TAG_LIMIT)]
Metadata = Annotated[dict[str, JsonValue], _storable_json(METADATA_LIMIT)]
Fields = Annotated[dict[Name, JsonValue], Field(min_length=1), _storable_json(METADATA_LIMIT)]
State = Annotated[dict[str, JsonValue], _storable_json(STATE_LIMIT)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Text = Annotated[str, Field(max_length=CONTENT_LIMIT), _TEXT]
Offset = Annotated[int, Field(ge=0, le=COUNT_LIMIT)]
"""How many rows of a listing are before its page."""
