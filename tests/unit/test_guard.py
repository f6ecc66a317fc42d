"""Similar memories are one only if their numbers and negations agree."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.memories.guard import facts, same_facts
from bespoke_workers.memories.guard_words import NEGATIONS, NEGATIONS_ANYWHERE, NUMBERS, RARELY
from bespoke_workers.memories.lexical import normal_form

PAIRS = Path(__file__).parents[2] / "benchmarks" / "pairs.jsonl"

texts = st.text(max_size=60)
sentences = st.lists(st.sampled_from(["she", "eats", "the", "soup", "at", "home"])).map(" ".join)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("at 6 am", "at 06:00"),
        ("at 6 am", "AT  6  A.M."),
        ("at 6:30 p.m. sharp", "at 18:30 sharp"),
        ("12 am", "midnight"),
        ("12 pm", "noon"),
        ("um 6 Uhr", "um 06:00"),
        ("à 18h30", "à 18:30"),
        ("1,000 euros", "1000 euros"),
        ("1 000 euros", "1000 euros"),
        ("1.000.000", "1,000,000"),
        ("1.234,50", "1,234.5"),
        ("2.50", "2,5"),
        (".5", "0.5"),
        ("06 eggs", "6 eggs"),
        ("5k steps", "5,000 steps"),
        ("two eggs", "2 eggs"),
        ("twenty-five", "25"),
        ("two hundred and five", "205"),
        ("one hundred and twenty-three thousand four hundred fifty-six", "123456"),
        ("10 million", "ten million"),
        ("the 3rd floor", "the third floor"),
        ("fünfundzwanzig", "25"),
        ("dreißig", "30"),
        ("三百零五", "305"),
        ("二〇二四", "2024"),
        ("٢٥", "25"),
        ("\uff12\uff15", "25"),
        ("2½", "2 1/2"),
        ("At 6 I feed 2 goats", "I feed 2 goats at 6"),
        ("I don't eat meat", "I do not eat meat"),
        ("I don\u2019t eat meat", "I DONT EAT MEAT"),
        ("I never eat meat", "I don't eat meat"),
        ("coffee without sugar", "coffee with no sugar"),
    ],
)
def test_the_same_facts_in_other_words(a: str, b: str) -> None:
    assert same_facts(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("at 6 am", "at 7 am"),
        ("at 6 am", "at 6 pm"),
        ("at 6:30", "at 6:40"),
        ("1.5 mg", "15 mg"),
        ("1.000 Euro", "1 Euro"),
        ("1.234 km", "1234 km"),
        ("-5 degrees", "5 degrees"),
        ("$5", "€5"),
        ("5%", "5"),
        ("05/03/2024", "03/05/2024"),
        ("version 1.2.3", "version 1.3.2"),
        ("room 007", "room 7"),
        ("A4 paper", "A5 paper"),
        ("10²", "102"),
        ("5k steps", "5 steps"),
        ("card 1234567890123456789012345678901234", "card 1234567890123456789012345678901235"),
        ("has two children", "has three children"),
        ("2 and 2 eggs", "2 eggs"),
        ("once a week", "twice a week"),
        ("eats meat", "never eats meat"),
        ("can come", "can't come"),
        ("can come", "cannot come"),
        ("smokes", "stopped smoking"),
        ("a smoker", "a non-smoker"),
        ("never eats meat", "rarely eats meat"),
        ("not without sugar", "with sugar"),
        ("Er mag Hunde", "Er mag keine Hunde"),
        ("J'aime le fromage", "Je n'aime pas le fromage"),
        ("他喜欢猫", "他不喜欢猫"),
        ("肉を食べる", "肉を食べない"),
        ("мне нравится", "мне не нравится"),
    ],
)
def test_other_facts_in_nearly_the_same_words(a: str, b: str) -> None:
    assert not same_facts(a, b)


def test_the_labelled_pairs_are_told_apart_where_number_or_negation_differ() -> None:
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    wrong = [
        pair
        for pair in pairs
        if (pair["kind"] in {"number", "negation"} and same_facts(pair["a"], pair["b"]))
        or (pair["same"] and not same_facts(pair["a"], pair["b"]))
    ]

    assert not wrong


@pytest.mark.parametrize("word", sorted(NEGATIONS | set(NEGATIONS_ANYWHERE)))
def test_each_negation_counts_once(word: str) -> None:
    assert normal_form(word) == word
    assert facts(f"she {word} soup") == "not1"


@pytest.mark.parametrize("word", sorted(RARELY))
def test_rarely_is_neither_always_nor_never(word: str) -> None:
    assert facts(word) == "rarely1"


@pytest.mark.parametrize(("word", "worth"), sorted(NUMBERS.items()))
def test_each_number_word_is_its_number(word: str, worth: int) -> None:
    assert facts(word) == facts(f"{worth} soups") == str(worth)


@given(texts)
def test_facts_do_not_depend_on_case_and_white_space(text: str) -> None:
    spaced = "\n" + text.replace(" ", " \t ") + " "

    assert facts(text.upper()) == facts(text) == facts(text.lower())
    assert facts(spaced) == facts(text)


@given(texts)
def test_facts_of_any_text_are_short_and_printable(text: str) -> None:
    assert facts(text).isprintable()
    assert len(facts(text)) <= 4 * len(text) + 8


@given(st.integers(0, 10**15))
def test_thousand_separators_make_no_difference(number: int) -> None:
    assert facts(f"{number:,}") == facts(str(number)) == str(number)
    assert facts(f"{number:,}".replace(",", "\u00a0")) == str(number)


@given(sentences, st.integers(0, 10**6), st.integers(0, 10**6))
def test_sentences_agree_exactly_if_their_numbers_do(text: str, one: int, other: int) -> None:
    assert same_facts(f"{text} {one}", f"{one} {text}")
    assert same_facts(f"{text} {one}", f"{text} {other}") == (one == other)


@given(sentences, st.sampled_from(sorted(NEGATIONS)))
def test_a_negation_more_is_another_fact(text: str, word: str) -> None:
    assert not same_facts(text, f"{text} {word}")
    assert not same_facts(f"{text} {word}", f"{word} {text} {word}")


@pytest.mark.parametrize("text", ["9" * 10_000, "hundred " * 5_000, "万" * 5_000, "二" * 5_000])
def test_long_runs_of_numbers_are_read_to_the_end(text: str) -> None:
    assert facts(text)
    assert not same_facts(text, text[:-1] + " 3")
