"""Similar memories are one only if their numbers and negations agree."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bespoke_workers.memories.guard import facts, facts_read, prepared, same_facts
from bespoke_workers.memories.guard_numbers import ITSELF, NUMBERS, SCALES
from bespoke_workers.memories.guard_silence import says_nothing
from bespoke_workers.memories.guard_words import (
    CONTRASTS,
    CONTRASTS_ANYWHERE,
    NEGATIONS,
    NEGATIONS_ANYWHERE,
    NOT_JOINED,
    RARELY,
    UNITS,
)
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
        ("at 7 h 30", "à 7h30"),
        ("50 per cent", "50%"),
        ("fünfzig Prozent", "50 %"),
        ("500 euros", "€500"),
        ("5 kilometres", "5km"),
        ("three hours", "3 hours"),
        ("daily", "every day"),
        ("quatre-vingt-dix-sept", "97"),
        ("soixante et onze", "71"),
        ("vingt et un élèves", "21 élèves"),
        ("treinta y dos", "32"),
        ("trinta e dois", "32"),
        ("trentadue", "32"),
        ("ventotto", "28"),
        ("tweeëntwintig", "22"),
        ("hundertfünfzehn", "115"),
        ("dreitausendzweihundert", "3200"),
        ("двадцать пять", "25"),
        ("خمسة", "5"),
        ("الساعة ٦", "الساعة 6"),
        ("der dritte Stock", "der 3. Stock"),
        ("I don't smoke any more", "I no longer smoke"),
        ("isn't able", "is unable"),
        ("j'aime pas", "je n'aime pas"),
        ("nobody", "no one"),
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
        ("quarter to nine", "quarter past nine"),
        ("ten to six", "ten past six"),
        ("Viertel vor acht", "Viertel nach acht"),
        ("half past six", "half past seven"),
        ("um halb sieben", "um sieben"),
        ("sept heures et demie", "sept heures"),
        ("from 9 to 5", "from 5 to 9"),
        ("am 3. Mai", "am 13. Mai"),
        ("on 3 May", "on 3 June"),
        ("twice a week", "twice a month"),
        ("on Tuesdays", "on Thursdays"),
        ("70 kg", "70 lb"),
        ("5 miles", "5 km"),
        ("500 dollars", "500 euros"),
        ("5 kg", "5"),
        ("7 in the morning", "7 in the evening"),
        ("im ersten Stock", "im vierten Stock"),
        ("au premier étage", "au deuxième étage"),
        ("el segundo piso", "el tercer piso"),
        ("ventuno", "ventotto"),
        ("vingt et un", "vingt"),
        ("treinta y un", "treinta"),
        ("七点半", "七点"),
        ("午前七時", "午後七時"),
        ("на пятом этаже", "на шестом этаже"),
        ("خمسة وعشرون", "خمسة وثلاثون"),
        ("दो बच्चे", "तीन बच्चे"),
        ("고양이 두 마리", "고양이 세 마리"),
        ("never smoked", "no longer smokes"),
        ("nie geraucht", "raucht nicht mehr"),
        ("happy", "unhappy"),
        ("möglich", "unmöglich"),
        ("everything and fish", "everything but fish"),
        ("not impossible", "impossible"),
        ("j'en veux encore", "j'en veux plus"),
        ("fuma", "non fuma più"),
        ("砂糖入りの紅茶", "砂糖なしの紅茶"),
        ("砂糖を入れて飲む", "砂糖を入れずに飲む"),
        ("et yiyor", "et yemiyor"),
        ("şekerli", "şekersiz"),
        ("قهوة بسكر", "قهوة بلا سكر"),
        ("دخن أمس", "وما دخن أمس"),
        ("14a Mill Lane", "14b Mill Lane"),
        ("likes tea", "likes sugar-free tea"),
        ("Tee", "zuckerfreier Tee, zuckerfrei"),
        ("takes sugar", "gave up sugar"),
        ("has milk", "is out of milk"),
        ("hot summers", "cold summers"),
        ("loves it", "hates it"),
        ("left side", "right side"),
    ],
)
def test_other_facts_in_nearly_the_same_words(a: str, b: str) -> None:
    assert not same_facts(a, b)


def test_every_labelled_number_and_negation_is_told_apart_and_no_repeat_is() -> None:
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    wrong = [
        pair
        for pair in pairs
        if (pair["kind"] in {"number", "negation", "antonym"} and same_facts(pair["a"], pair["b"]))
        or (pair["same"] and not same_facts(pair["a"], pair["b"]))
    ]

    assert len(pairs) >= 200
    assert not wrong


@pytest.mark.parametrize("word", ["under", "until", "unit", "uncle", "unser", "ungefähr", "unter"])
def test_what_begins_with_un_is_not_always_a_negation(word: str) -> None:
    assert "not" not in facts(word)


def test_each_side_of_a_contrast_is_a_fact() -> None:
    words = {*CONTRASTS, *CONTRASTS_ANYWHERE}
    assert [word for word in words if normal_form(word) != word or not facts(word)] == []


def test_a_unit_makes_another_amount() -> None:
    assert [unit for unit in UNITS if same_facts(f"5 {unit}", "5")] == []


@pytest.mark.parametrize("word", sorted(NEGATIONS | set(NEGATIONS_ANYWHERE)))
def test_each_negation_counts_once(word: str) -> None:
    assert normal_form(word) == word
    assert facts(f"she {word} soup") == "not1"


@pytest.mark.parametrize("word", sorted(RARELY))
def test_rarely_is_neither_always_nor_never(word: str) -> None:
    assert facts(word) == "rarely1"


def test_each_number_word_is_its_number() -> None:
    wrong = {
        word: facts(word)
        for word, worth in NUMBERS.items()
        if not facts(word) == facts(f"{worth} soups") == str(worth)
    }
    assert wrong == {}


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


telling = [*NEGATIONS, *NOT_JOINED, *RARELY, *CONTRASTS, *NUMBERS, *ITSELF, *SCALES, *UNITS]
parts = [
    *("gave", "up", "out", "of", "all", "every", "but", "no", "one", "any", "more", "free", "per"),
    *("pour", "por", "ciento", "cent", "cento", "procent", "quatre", "vingt", "soixante", "dix"),
    *("noon", "midnight", "am", "p.m.", "uhr", "h", "k", "unhappy", "gelmez", "yemiyor", "york"),
    *("hundertfünf", "twohundred", "zuckerfrei", "tea", "soup", "it's", "n'a", "m", "t", "n"),
]
mixed = st.lists(
    st.tuples(
        st.sampled_from(telling) | st.sampled_from(parts) | st.text(max_size=6),
        st.sampled_from([" ", " ", " ", "-", "'", ", ", ". ", "_", "/", "`", ""]),
    ),
    max_size=8,
).map(lambda pairs: "".join(word + between for word, between in pairs))


@settings(max_examples=500)
@given(mixed)
@example("dislikes tea\x1b, dislike\x1b")
def test_a_text_passed_at_a_glance_has_no_facts(text: str) -> None:
    if says_nothing(prepared(text)):
        assert facts_read(prepared(text)) == ""


def test_no_telling_word_passes_at_a_glance() -> None:
    passed = [word for word in telling if says_nothing(prepared(f"the {word} soup"))]
    assert [word for word in passed if facts(f"the {word} soup")] == []


def test_most_texts_pass_at_a_glance() -> None:
    assert says_nothing("she likes the soup at home, and it's good")
