"""The stand-in language model answers from its prompt alone, and speaks the OpenAI protocol."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from examples.support_desk import answers, hints, prompts
from examples.support_desk.similarity import similarity
from examples.support_desk.standin_lm import LARGEST_REQUEST, BadRequestError, StandinLM, complete

TASK = """Your input fields are:
1. `text` (str): the message
Your output fields are:
1. `label` (str): its label
All interactions will be structured in the following way, with the appropriate values filled in.

[[ ## text ## ]]
{text}

[[ ## label ## ]]
{label}

[[ ## completed ## ]]
In adhering to this structure, your objective is: 
        """  # noqa: W291  # as the adapter writes it

END = "\n\n[[ ## completed ## ]]"


def message(role: str, content: str) -> prompts.Message:
    return {"role": role, "content": content}


def ask(text: str) -> prompts.Message:
    return message(
        "user",
        f"[[ ## text ## ]]\n{text}\n\nRespond with the corresponding output fields, starting with "
        "the field `[[ ## label ## ]]`, and then ending with the marker for "
        "`[[ ## completed ## ]]`.",
    )


def shown(text: str, label: str) -> list[prompts.Message]:
    return [
        message("user", f"[[ ## text ## ]]\n{text}"),
        message("assistant", f"[[ ## label ## ]]\n{label}{END}\n"),
    ]


def reply(*messages: prompts.Message) -> str:
    return answers.answer(prompts.read(messages))


def test_the_most_similar_demonstration_decides() -> None:
    demonstrations = shown("My card got lost", "red tray") + shown("I want a refund", "blue tray")
    task = message("system", TASK + "Label it.")
    assert reply(task, *demonstrations, ask("I lost a card")) == f"[[ ## label ## ]]\nred tray{END}"
    assert "blue tray" in reply(task, *demonstrations, ask("Where is my refund?"))


def test_the_hints_of_an_instruction_decide_too() -> None:
    instruction = (
        'Messages labelled "red" mention card, lost. Messages labelled "blue" mention pay.'
    )
    task = message("system", TASK + instruction)
    assert reply(task, ask("I lost my card")) == f"[[ ## label ## ]]\nred{END}"


def test_without_demonstrations_it_guesses_a_word_of_the_message() -> None:
    task = message("system", TASK + "Label it.")
    assert reply(task, ask("I lost my passport")) == f"[[ ## label ## ]]\npassport{END}"
    assert reply(task, ask("?!")) == f"[[ ## label ## ]]\ngeneral{END}"


def test_a_prompt_of_another_shape_is_answered_with_plain_text() -> None:
    assert reply(message("user", "Hello passport")) == "passport"


def test_a_type_other_than_text_is_answered_with_a_value_of_it() -> None:
    task = message("system", TASK.replace("`label` (str)", "`label` (int)") + "Count.")
    assert reply(task, ask("three")) == f"[[ ## label ## ]]\n0{END}"


def test_options_named_by_the_format_are_chosen_from() -> None:
    note = "{label}        # note: the value you produce must exactly match (no extra characters) "
    literal = TASK.replace("(str): its", "(Literal['card', 'refund']): its")
    task = message("system", literal.replace("{label}", note + "one of: card; refund") + "Label.")
    assert reply(task, ask("the refunds")) == f"[[ ## label ## ]]\nrefund{END}"


def test_what_it_observes_reaches_the_instruction_that_it_proposes() -> None:
    batch = [("card lost", "red"), ("refund late", 'the "blue" one'), ("lost my card", "red")]
    printed = ", ".join(
        f"Example({{'text': {text!r}, 'label': {label!r}}}) (input_keys={{'text'}})"
        for text, label in batch
    )
    observations = value("observations", examples=f"[{printed}]")
    summary = value("summary", observations=observations * 2)
    proposed = value("proposed_instruction", dataset_description=summary, basic_instruction="Do.")
    assert hints.read(proposed) == {"red": ["card", "lost"], 'the "blue" one': ["late", "refund"]}
    assert proposed.startswith("Do. Answer with one of the labels named here.")


def value(name: str, **inputs: str) -> str:
    asked = prompts.Prompt(instructions="", inputs=inputs, outputs={name: "str"}, as_json=True)
    answered: dict[str, str] = json.loads(answers.answer(asked))
    return answered[name]


@pytest.mark.parametrize("name", ["observations", "summary", "proposed_instruction", "rationale"])
def test_each_field_is_answered_even_when_nothing_is_known(name: str) -> None:
    assert value(name, question="").strip()


def test_the_same_prompt_has_the_same_answer() -> None:
    asked = message("system", TASK + "Label it."), ask("Passport or suitcase")
    assert reply(*asked) == reply(*asked)


def test_similarity_ignores_case_and_lies_between_zero_and_one() -> None:
    assert similarity("Lost Card", "lost card") == pytest.approx(1.0)
    assert similarity("lost card", "") == 0.0
    assert 0.0 < similarity("refund my order", "a refunded order") < 1.0


def test_usage_adds_up() -> None:
    usage = complete({"messages": [{"role": "user", "content": "12345678"}]})["usage"]
    assert usage == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


def test_content_parts_are_read_as_text() -> None:
    parts = [{"type": "text", "text": "pass"}, {"type": "text", "text": "port"}]
    answered = complete({"messages": [{"role": "user", "content": parts}]})
    assert answered["choices"][0]["message"]["content"] == "passport"


@pytest.mark.parametrize("request_body", [None, [], {}, {"messages": []}, {"messages": ["hi"]}])
def test_a_request_without_messages_is_refused(request_body: object) -> None:
    with pytest.raises(BadRequestError, match="messages must"):
        complete(request_body)


@pytest.fixture
def standin() -> Iterator[tuple[StandinLM, http.client.HTTPConnection]]:
    with StandinLM() as lm:
        connection = http.client.HTTPConnection(lm.url.removeprefix("http://").removesuffix("/v1"))
        yield lm, connection
        connection.close()


def post(connection: http.client.HTTPConnection, path: str, body: str) -> tuple[int, Any]:
    connection.request("POST", path, body)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_the_server_answers_and_counts_over_one_connection(
    standin: tuple[StandinLM, http.client.HTTPConnection],
) -> None:
    lm, connection = standin
    body = json.dumps({"model": "standin", "messages": [{"role": "user", "content": "passport"}]})
    for _ in range(2):
        status, answered = post(connection, "/v1/chat/completions", body)
        assert (status, answered["choices"][0]["message"]["content"]) == (200, "passport")
    assert lm.calls == 2


def test_the_server_names_its_model(standin: tuple[StandinLM, http.client.HTTPConnection]) -> None:
    _, connection = standin
    connection.request("GET", "/v1/models")
    assert json.loads(connection.getresponse().read())["data"][0]["id"] == "standin"


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/chat/completions", "{", 400, "the body is not JSON"),
        ("/v1/chat/completions", "{}", 400, "messages must be a list that is not empty"),
        ("/v1/embeddings", "{}", 404, "no such path: '/v1/embeddings'"),
    ],
)
def test_the_server_refuses_other_requests_in_one_line(
    standin: tuple[StandinLM, http.client.HTTPConnection],
    path: str,
    body: str,
    status: int,
    text: str,
) -> None:
    lm, connection = standin
    assert post(connection, path, body) == (
        status,
        {"error": {"message": text, "type": "invalid_request_error"}},
    )
    assert lm.calls == 0


def test_the_server_refuses_a_body_that_is_too_large(
    standin: tuple[StandinLM, http.client.HTTPConnection],
) -> None:
    _, connection = standin
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Length", str(LARGEST_REQUEST + 1))
    connection.endheaders()
    assert connection.getresponse().status == 400
