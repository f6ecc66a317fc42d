"""The default embedder knows repeats from other sentences, and is the same everywhere."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.memories import lexical
from bespoke_workers.memories.lexical import embed, normal_form, repeat_key

PAIRS = Path(__file__).parents[2] / "benchmarks" / "pairs.jsonl"
REPEATS = {"identical", "case", "whitespace"}

texts = st.text(max_size=80)


def cosine(a: str, b: str) -> float:
    """As the index sees it: both rounded to float16."""
    one, other = embed([a, b]).astype(np.float16).astype(np.float32)
    return float(one @ other)


def labelled() -> list[tuple[str, str, str]]:
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    return [(pair["kind"], pair["a"], pair["b"]) for pair in pairs]


@pytest.mark.parametrize(("kind", "a", "b"), labelled())
def test_repeats_reach_the_threshold_and_other_sentences_do_not(kind: str, a: str, b: str) -> None:
    assert (cosine(a, b) >= lexical.THRESHOLD) == (kind in REPEATS)


def test_a_long_text_with_one_other_word_is_no_repeat() -> None:
    words = [f"word{n}" for n in range(500)]
    changed = [*words[:250], "other", *words[251:]]

    assert cosine(" ".join(words), " ".join(changed)) < lexical.THRESHOLD


@given(texts, texts)
def test_any_two_texts_reach_the_threshold_only_if_they_are_repeats(a: str, b: str) -> None:
    assert (cosine(a, b) >= lexical.THRESHOLD) == (repeat_key(a) == repeat_key(b))


@given(texts)
def test_case_and_white_space_make_no_difference(text: str) -> None:
    spaced = "\t " + text.replace(" ", " \n ") + "\u2003"

    assert normal_form(text.upper()) == normal_form(text)
    assert normal_form(text.lower()) == normal_form(text)
    assert normal_form(spaced) == normal_form(text)
    assert normal_form(normal_form(text)) == normal_form(text)


@given(st.lists(texts, max_size=4))
def test_every_text_has_a_finite_unit_vector_of_its_own(batch: list[str]) -> None:
    vectors = embed(batch)

    assert vectors.shape == (len(batch), lexical.DEFAULT.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(batch, vectors, strict=True):
        assert np.array_equal(embed([text])[0], vector)


@pytest.mark.parametrize("text", ["", " ", "!!!", "🎉", ".", "\ud800", "漢", "a"])
def test_texts_without_words_have_a_vector_and_repeat_themselves(text: str) -> None:
    assert cosine(text, text) == pytest.approx(1, abs=1e-3)


def test_a_final_full_stop_says_nothing_and_a_question_mark_does() -> None:
    assert cosine("Lives in Leeds", "Lives in Leeds.") >= lexical.THRESHOLD
    assert cosine("Lives in Leeds", "Lives in Leeds?") < lexical.THRESHOLD


def test_vectors_are_the_same_to_the_bit_in_any_process() -> None:
    # Stored vectors depend on these bits: another digest needs another NAME.
    known = "a378b0d6"
    program = (
        "import hashlib; from bespoke_workers.memories.lexical import embed; "
        "print(hashlib.blake2b(embed(['Prefers dark mode', '漢字 🎉']).tobytes(), "
        "digest_size=4).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = hashlib.blake2b(embed(["Prefers dark mode", "漢字 🎉"]).tobytes(), digest_size=4)

    assert printed == {here.hexdigest()} == {known}
