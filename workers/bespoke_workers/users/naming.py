"""What of a JSON document is about a user, and what is left of it without that."""

import json
from collections.abc import Mapping
from typing import Any, Final

from bespoke_workers.memories.sharing import SAID_BY

NAMED: Final = frozenset({"members", "used_by"})
"""The lists that name users."""
CONTENTS: Final = frozenset({"metadata", "meta", "state", "program_data", "optimization_result"})
"""What others said, which nobody changes, whatever words are in it."""
GONE: Final = object()
"""Stands for what is about the user as a whole."""


def is_about(value: Mapping[str, Any], user_id: str) -> bool:
    """Whether an object belongs to a user, or is a memory of what the user said to others."""
    if value.get("user_id") == user_id:
        return True
    said = value.get("metadata", value.get("meta"))
    return isinstance(said, Mapping) and said.get(SAID_BY) == user_id


def without(value: Any, user_id: str, *, key: str = "") -> Any:
    """Return a document without what is about a user; GONE if that is all of it.

    An object that is about the user goes, and with it the element of a list that it is a part
    of; so do reasons by user under ``errors``, and a name in a list of users.
    """
    if isinstance(value, Mapping):
        return _object_without(value, user_id, key)
    if isinstance(value, list):
        left = [without(one, user_id) for one in value if key not in NAMED or one != user_id]
        return [one for one in left if one is not GONE and not _lost_a_part(one)]
    return value


class _Part(dict[str, Any]):
    """An object one of whose members is gone."""


def _object_without(value: Mapping[str, Any], user_id: str, key: str) -> Any:
    if is_about(value, user_id):
        return GONE
    left = {
        name: inner if name in CONTENTS else without(inner, user_id, key=name)
        for name, inner in value.items()
        if key != "errors" or name != user_id
    }
    if any(inner is GONE for inner in left.values()):
        return _Part({name: None if inner is GONE else inner for name, inner in left.items()})
    return left


def _lost_a_part(value: Any) -> bool:
    return isinstance(value, _Part)


def quoted(user_id: str) -> tuple[str, ...]:
    """Return the forms in which a user's id stands in JSON: with escapes, and in UTF-8."""
    forms = (json.dumps(user_id), json.dumps(user_id, ensure_ascii=False))
    return tuple(dict.fromkeys(forms))
