"""What of a document is about a user is found and taken out; all else stays as it is."""

import json
from typing import Any

import pytest

from bespoke_schemas.exports import EraseUser
from bespoke_workers.users.naming import GONE, quoted, without

OF_ADA = {"content": "a secret", "metadata": {"said_by": "ada"}}
OF_BOB = {"content": "a word", "metadata": {"said_by": "bob", "heard": "ada"}}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"members": ["ada", "bob"]}, {"members": ["bob"]}),
        ({"used_by": ["ada"], "user_id": None}, {"used_by": [], "user_id": None}),
        ({"errors": {"ada": "why", "bob": "so"}}, {"errors": {"bob": "so"}}),
        ({"round": {"errors": {"ada": "why"}}}, {"round": {"errors": {}}}),
        ({"memories": [OF_ADA, OF_BOB], "total": 2}, {"memories": [OF_BOB], "total": 2}),
        (
            {"matches": [{"memory": OF_ADA, "similarity": 1}, {"memory": OF_BOB}]},
            {"matches": [{"memory": OF_BOB}]},
        ),
        ({"memory": OF_ADA, "merged_with": None}, {"memory": None, "merged_with": None}),
        ({"user_id": "ada", "score": 1}, GONE),
        ({"versions": [{"user_id": "ada"}, {"user_id": None}]}, {"versions": [{"user_id": None}]}),
    ],
)  # fmt: skip
def test_what_is_about_a_user_goes(value: Any, left: Any) -> None:
    assert without(value, "ada") == left


@pytest.mark.parametrize(
    "value",
    [
        {"tags": ["ada"], "program": "ada", "ada": 1},
        {"members": ["bob"], "metadata": {"said_by": "bob"}},
        {"metadata": {"members": ["ada"], "errors": {"ada": 1}}, "state": {"user_id": "ada"}},
        ["ada", 1, None, True],
        OF_BOB,
    ],
)
def test_words_that_are_like_a_users_id_stay(value: Any) -> None:
    assert without(value, "ada") == value


def test_a_users_id_is_looked_for_as_json_may_have_it() -> None:
    for text in (json.dumps({"a": "zoë"}), json.dumps({"a": "zoë"}, ensure_ascii=False)):
        assert any(form in text for form in quoted("zoë"))


def test_the_record_of_an_erasure_names_nobody() -> None:
    erasure = EraseUser(user_id="ada")

    assert erasure.subject() != EraseUser(user_id="bob").subject()
    assert "ada" not in erasure.subject()
