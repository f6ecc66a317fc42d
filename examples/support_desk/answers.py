"""What the stand-in language model answers, from nothing but the prompt.

A question is answered like the most similar demonstration, an instruction's hint
(see ``hints``) counting as one; without either there is only a guess.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator

from examples.support_desk import hints
from examples.support_desk.prompts import Prompt, Texts
from examples.support_desk.similarity import content_words, similarity

_EXAMPLE = re.compile(r"Example\((\{.*?\})\) \(input_keys=\{([^}]*)\}\)", re.DOTALL)
_WANTED = re.compile(r"^Wanted: (.+)", re.MULTILINE)
_NO_VALUE = {"int": "0", "float": "0.0", "bool": "False"}
SUMMARY_WORDS = 24  # words of each label that a summary keeps
TIP_WORDS = {"concise": 6, "informative": 24}  # words of each label, by what the tip asks for
INSTRUCTION_WORDS = 12  # words of each label under any other tip


def answer(prompt: Prompt) -> str:
    """Return the reply to a prompt, in the format that it asks for."""
    if not prompt.outputs:
        return _guess(prompt)
    values = {name: _value(prompt, name) for name in prompt.outputs}
    if prompt.as_json:
        return json.dumps(values, ensure_ascii=False)
    sections = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])


def _value(prompt: Prompt, name: str) -> str:
    write = _WRITERS.get(name)
    if write and not prompt.demonstrations:
        return write(prompt.inputs)
    return _most_similar(prompt, name) or _fitting(prompt.outputs[name], _guess(prompt))


def _most_similar(prompt: Prompt, name: str) -> str | None:
    asked = " ".join(prompt.inputs.values())
    candidates = list(_evidence(prompt, name))
    if not candidates:
        return None
    return max(candidates, key=lambda candidate: similarity(asked, candidate[0]))[1]


def _evidence(prompt: Prompt, name: str) -> Iterator[tuple[str, str]]:
    """Yield (text, value) pairs: what speaks for each value of the field ``name``."""
    for shown in prompt.demonstrations:
        if name in shown.outputs:
            yield " ".join(shown.inputs.values()), shown.outputs[name]
    for label, words in hints.read(prompt.instructions).items():
        yield " ".join(words), label
    for option in prompt.options.get(name, ()):
        yield option, option


def _guess(prompt: Prompt) -> str:
    """Return the message's longest content word: a plain label, and nobody's own word."""
    asked = " ".join(prompt.inputs.values())
    return max(content_words(asked), key=len, default="general")


def _fitting(python_type: str, guess: str) -> str:
    if python_type.startswith(("list", "dict")):
        return "[]" if python_type.startswith("list") else "{}"
    return _NO_VALUE.get(python_type, guess)


def _observe(inputs: Texts) -> str:
    """Describe a batch of examples, given as DSPy prints them."""
    labelled = []
    for printed, keys in _EXAMPLE.findall(inputs.get("examples", "")):
        values = ast.literal_eval(printed)
        asked = {key.strip().strip("'\"") for key in keys.split(",")}
        text = " ".join(str(value) for key, value in values.items() if key in asked)
        wanted = [str(value) for key, value in values.items() if key not in asked]
        labelled += [(text, label) for label in wanted[-1:]]
    if not labelled:
        return "The examples are short texts."
    return f"Each example has one label. {hints.write(hints.collect(labelled))} "


def _summarize(inputs: Texts) -> str:
    known = hints.sharpen(hints.read(inputs.get("observations", "")), SUMMARY_WORDS)
    return f"Short messages, each with one label out of {len(known)}. {hints.write(known)}"


def _instruct(inputs: Texts) -> str:
    """Propose an instruction: the basic one, with what the data's description tells."""
    basic = inputs.get("basic_instruction") or "Answer the question."
    tip = inputs.get("tip", "")
    limit = next((n for word, n in TIP_WORDS.items() if word in tip), INSTRUCTION_WORDS)
    known = hints.read(inputs.get("dataset_description", ""))
    if not known:
        return f"{basic} Take care to answer in the same words as the examples."
    shortened = {label: words[:limit] for label, words in known.items()}
    return f"{basic} Answer with one of the labels named here. {hints.write(shortened)}"


def _rewrite(inputs: Texts) -> str:
    """Rewrite an instruction by the labels that the feedback on answers says were wanted."""
    basic = inputs.get("current_instruction", "")
    known = hints.read(basic)
    for text, label in _told(inputs.get("examples_with_feedback", "")):
        known[label] = [*known.get(label, ()), *content_words(text)]
    told = hints.write(hints.sharpen(known, SUMMARY_WORDS))
    return " ".join([hints.without(basic) or "Answer the question.", told]).strip()


def _told(printed: str) -> Iterator[tuple[str, str]]:
    """Yield the (text, wanted label) pairs of examples with feedback, given as JSON."""
    try:
        examples = json.loads(printed)
    except ValueError:
        return
    for one in examples if isinstance(examples, list) else ():
        wanted = _WANTED.search(str(one.get("Feedback", ""))) if isinstance(one, dict) else None
        if wanted:
            asked = one.get("Inputs", {})
            yield (
                " ".join(map(str, asked.values() if isinstance(asked, dict) else [asked])),
                (wanted[1].strip()),
            )


def _describe(inputs: Texts) -> str:
    return "The program takes a short text and answers with one label for it."


_WRITERS: dict[str, Callable[[Texts], str]] = {
    "observations": _observe,
    "summary": _summarize,
    "proposed_instruction": _instruct,
    "new_instruction": _rewrite,
    "program_description": _describe,
    "module_description": _describe,
}
