"""The small model chooses among values that it has seen, and says when it cannot."""

import json
from typing import Any

import pytest

from bespoke_schemas.small_model import NotLearnable, SmallModel

ASKS = (
    "\n\nRespond with the corresponding output fields, starting with the field `[[ ## label ## ]]`."
)
INVOICES = ("where is my invoice", "the invoice is wrong", "a second invoice came", "invoice 12")
PARCELS = ("where is my parcel", "the parcel is broken", "a parcel for others", "parcels late")


def system(*outputs: str) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{{{name}}}" for name in ("text", *outputs))


def question(text: str) -> str:
    return f"[[ ## text ## ]]\n{text}{ASKS}"


def line(text: str, instructions: str = "", **outputs: str) -> dict[str, Any]:
    answer = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in outputs.items())
    return {
        "messages": [
            {"role": "system", "content": system(*outputs) + instructions},
            {"role": "user", "content": question(text)},
            {"role": "assistant", "content": f"{answer}\n\n[[ ## completed ## ]]\n"},
        ]
    }


LINES = [
    *(line(text, label="heron") for text in INVOICES),
    *(line(text, label="wren") for text in PARCELS),
]


@pytest.mark.parametrize(
    ("text", "label"), [("My INVOICED amount?", "heron"), ("parcel again", "wren")]
)
def test_an_answer_is_in_a_users_own_words(text: str, label: str) -> None:
    answer = SmallModel.trained(LINES).answer(system("label"), question(text))

    assert answer == f"[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]"


def test_it_comes_back_from_json_as_it_was_and_holds_no_text_but_the_values() -> None:
    model = SmallModel.trained(LINES)

    stored = json.dumps(model.stored())
    again = SmallModel.of(stored)

    assert again.stored() == model.stored() == SmallModel.trained(LINES).stored()
    assert again.answer(system("label"), question("invoice")) == model.answer(
        system("label"), question("invoice")
    )
    assert "heron" in stored
    assert "invoice" not in stored


def test_each_predictor_and_each_field_has_its_own_choice() -> None:
    urgent = [line(one, " Judge.", urgent="yes", mood="sad") for one in PARCELS]
    calm = [line(one, " Judge.", urgent="no", mood="sad") for one in INVOICES]
    model = SmallModel.trained([*LINES, *urgent, *calm])

    label = model.answer(system("label"), question("a parcel"))
    judged = model.answer(system("urgent", "mood") + " Judge.", question("a parcel"))

    assert "wren" in label
    assert "yes" in judged
    assert "sad" in judged


def test_instructions_that_were_reworded_ask_for_the_same_fields() -> None:
    model = SmallModel.trained(LINES)

    assert "wren" in model.answer(system("label") + " Be kind.", question("a parcel"))
    with pytest.raises(NotLearnable, match="not trained for this predictor"):
        model.answer(system("reason"), question("a parcel"))


def test_free_text_is_refused_without_a_word_of_it() -> None:
    told = [line(text, reason=f"since {text}") for text in (*INVOICES, *PARCELS)]

    with pytest.raises(NotLearnable, match="field 'reason' has 8 values in 8") as refused:
        SmallModel.trained(told)

    assert "invoice" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"format": 1, "predictors": {}}',
        '{"format": 2, "predictors": {"a": {}}}',
        '{"format": 1, "predictors": {"a": {"b": {"values": ["x"], "examples": []}}}}',
        json.dumps(
            {
                "format": 1,
                "predictors": {
                    "a": {"b": {"values": ["x"], "examples": [1], "counts": {"7": [3, 1]}}}
                },
            }
        ),
    ],
)
def test_what_is_no_small_model_is_refused(content: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SmallModel.of(content)
