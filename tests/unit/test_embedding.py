"""An embedder gives finite unit vectors of one dimension, or says in one line why it cannot."""

import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bespoke_workers.errors import BespokeError, Misconfigured, Permanent, Transient
from bespoke_workers.memories import embedding, lexical
from bespoke_workers.memories.embedding import Embedder, load_embedder


def lengths(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0, 0.0] for text in texts]


def flat(texts: list[str]) -> list[float]:
    return [1.0 for _ in texts]


def words(texts: list[str]) -> list[list[str]]:
    return [["no", "numbers"] for _ in texts]


NOT_CALLABLE = 7


class Answer(Exception):  # as providers name theirs
    def __init__(self, status_code: int) -> None:
        super().__init__("quotes the secret text")
        self.status_code = status_code


def embedder(answer: Any, dim: int = 2) -> Embedder:
    def encode(texts: list[str]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Embedder("own", dim, 0.95, encode)


@pytest.mark.parametrize("spec", [None, "lexical"])
def test_the_default_is_lexical_with_its_own_threshold(spec: str | None) -> None:
    default = load_embedder(spec)

    assert (default.name, default.dim, default.threshold) == ("lexical-1", 384, 0.97)
    assert np.array_equal(default.embed(["Prefers tea"]), lexical.embed(["Prefers tea"]))
    assert load_embedder(spec, 0.9).threshold == 0.9


def test_a_callable_is_probed_for_its_dimension_and_normalised() -> None:
    own = load_embedder(f"{__name__}:lengths")

    assert (own.name, own.dim, own.threshold) == (f"{__name__}:lengths", 3, 0.95)
    np.testing.assert_allclose(own.embed(["abc"]), [[3 / 10**0.5, 1 / 10**0.5, 0]], rtol=1e-6)
    assert own.embed([]).shape == (0, 3)
    assert own.embed(["a", "b"]).dtype == np.float32


@given(
    arrays.arrays(
        np.float64,
        (3, 4),
        elements=st.floats(-1e300, 1e300, allow_nan=False).filter(
            lambda x: x == 0 or abs(x) > 1e-300
        ),
    ).filter(lambda a: bool(a.any(axis=1).all()))
)
def test_any_finite_answer_becomes_unit_vectors(answer: Any) -> None:
    vectors = embedder(answer, dim=4).embed(["a", "b", "c"])

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(embedder(vectors, dim=4).embed(["a", "b", "c"]), vectors)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([[1.0, 2.0, 3.0]], r"got shape \(1, 3\), expected \(1, 2\)"),
        ([[1.0, 2.0], [1.0, 2.0]], r"got shape \(2, 2\), expected \(1, 2\)"),
        ([1.0, 2.0], r"got shape \(2,\), expected \(1, 2\)"),
        ([[1.0], [1.0, 2.0]], "no array of numbers"),
        ([["a", "b"]], "no array of numbers"),
        (None, "got shape"),
        ([[math.nan, 1.0]], "not finite"),
        ([[math.inf, 1.0]], "not finite"),
        ([[0.0, 0.0]], "zero vector"),
    ],
)
def test_an_unusable_answer_names_the_embedder_and_what_was_wrong(
    answer: Any, complaint: str
) -> None:
    with pytest.raises(Misconfigured, match=f"embedder 'own': .*{complaint}"):
        embedder(answer).embed(["secret text"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("secret"), Transient),
        (TimeoutError("secret"), Transient),
        (Answer(429), Transient),
        (Answer(408), Transient),
        (Answer(500), Transient),
        (Answer(401), Misconfigured),
        (Answer(404), Misconfigured),
        (ValueError("secret"), Permanent),
        (Transient("their own"), Transient),
    ],
)
def test_failures_are_told_apart_and_quote_nothing(
    error: Exception, kind: type[BespokeError]
) -> None:
    with pytest.raises(kind) as raised:
        embedder(error).embed(["secret text"])

    assert type(raised.value) is kind
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(("status", "is_said"), [(400, True), (413, True), (401, False)])
def test_a_request_that_is_too_much_is_told_apart_from_a_wrong_key(
    status: int, is_said: bool
) -> None:
    with pytest.raises(Misconfigured) as refusal:
        embedder(Answer(status)).embed(["secret text"])

    assert ("give shorter texts" in str(refusal.value)) is is_said


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("no_such_module:embed", "cannot import 'no_such_module'"),
        (f"{__name__}:nothing", "has no 'nothing'"),
        (f"{__name__}:NOT_CALLABLE", "expected a callable"),
        (f"{__name__}:flat", r"got shape \(1,\), expected \(1, dim\)"),
        (f"{__name__}:words", "no array of numbers"),
        ("sentence-transformers/all-MiniLM-L6-v2", "needs the package sentence-transformers"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(spec: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint) as refusal:
        load_embedder(spec)

    assert repr(spec) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("threshold", [-1.5, 1.1, math.nan])
def test_a_threshold_is_a_cosine(threshold: float) -> None:
    with pytest.raises(Misconfigured, match="similarity threshold"):
        load_embedder(None, threshold)


@pytest.mark.parametrize("spec", ["openai/text-embedding-3-small", "bedrock/amazon.titan:v2:0"])
def test_other_names_are_models_of_dspy(spec: str) -> None:
    assert embedding._CALLABLE.fullmatch(spec) is None
    assert embedding._encode(spec).__class__.__name__ == "Embedder"


def test_no_request_holds_more_texts_than_a_provider_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answered(*, model: str, input: list[str], **_: Any) -> SimpleNamespace:  # noqa: A002  # litellm's name
        assert model == "cohere/embed-english-v3.0"
        if len(input) > 96:
            raise Answer(400)
        return SimpleNamespace(data=[{"embedding": vector} for vector in lengths(input)])

    # To import litellm itself takes seconds.
    provider = SimpleNamespace(embedding=answered, cache=None)
    monkeypatch.setattr("dspy.clients.embedding._get_litellm", lambda: provider)
    own = load_embedder("cohere/embed-english-v3.0")

    assert own.embed(["a" * number for number in range(1, 301)]).shape == (300, 3)


@pytest.mark.parametrize(
    "module", ["embedding", "lexical", "guard", "policy", "compaction", "plan", "index"]
)
def test_no_module_imports_faiss_dspy_or_litellm_before_it_must(module: str) -> None:
    program = (
        f"import sys, bespoke_workers.memories.{module}; "
        "print([m for m in ('faiss', 'dspy', 'litellm') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )

    assert run.stdout.strip() == "[]"
