"""Texts to vectors: the lexical default, a `module:callable`, or a model by its name."""

import importlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bespoke_workers.errors import BespokeError, Misconfigured, Permanent, Transient
from bespoke_workers.memories import lexical

THRESHOLD = 0.95  # cosine; the documents' figure, for every embedder that brings none of its own
PROBE = "probe"  # embedded once to learn the dimension
UNIT_TOLERANCE = 1e-6  # of a length; ten times what rounding to float32 can do
TEXTS_AT_ONCE = 96  # in one request: Cohere takes no more, Gemini 100, most others thousands
REQUEST_SECONDS = 36.0
"""A provider that hangs is away. LiteLLM tries three times, which has to end within a job's time:
a late answer would end the job for good."""
SENTENCE_TRANSFORMERS = "sentence-transformers/"

_CALLABLE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# Answers to a request that is too much for the model, and of some providers to a wrong key.
_TOO_MUCH = {400, 413, 422}
# Of the 4xx answers of a provider, those that may pass: time-out, conflict, too early, rate limit.
_PASSING = {408, 409, 425, 429}

Encode = Callable[[list[str]], ArrayLike]


@dataclass(frozen=True)
class Embedder:
    """Turns texts into unit vectors. `name` and `dim` are stored beside what it embeds.

    `threshold` is the cosine from which two of its vectors count as similar enough to be one
    memory; it belongs to the embedder, since each spreads its similarities differently.
    """

    name: str
    dim: int
    threshold: float
    encode: Encode = field(repr=False, compare=False)

    @property
    def kind(self) -> tuple[str, int]:
        """What tells its vectors from those of others."""
        return self.name, self.dim

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised vectors of shape (len(texts), dim).

        Raises:
            Transient: the model could not be reached, or had too much to do.
            Misconfigured: its answer is not of shape (len(texts), dim), not finite, or zero.
            Permanent: it failed in a way that another try would not cure.
        """
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        return _unit(self.name, _call(self.name, self.encode, list(texts)), (len(texts), self.dim))


def load_embedder(spec: str | None, threshold: float | None = None) -> Embedder:
    """Return the embedder that a setting names; `threshold` takes the place of its own.

    None or "lexical" is the default, `module:callable` a callable from list[str] to an array of
    shape (n, dim), `sentence-transformers/NAME` a local model, anything else a model name of
    `dspy.Embedder`. All but the default are asked for one vector, to learn the dimension.

    Raises:
        Misconfigured: there is no such module, callable or package, or its answer is unusable.
        Transient: a model that could not be reached.
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise Misconfigured(f"similarity threshold: got {threshold!r}, allowed: from -1 to 1")
    if spec is None or spec == "lexical":
        own = lexical.THRESHOLD if threshold is None else threshold
        return Embedder(lexical.NAME, lexical.DEFAULT.dim, own, lexical.embed)
    encode = _encode(spec)
    probed = np.asarray(_call(spec, encode, [PROBE]))
    if probed.ndim != 2 or probed.shape[0] != 1 or probed.shape[1] < 1:
        raise _misshapen(spec, probed, "(1, dim)")
    _unit(spec, probed, (1, probed.shape[1]))
    return Embedder(spec, probed.shape[1], THRESHOLD if threshold is None else threshold, encode)


def _encode(spec: str) -> Encode:
    if _CALLABLE.fullmatch(spec):
        return _imported(spec)
    if spec.startswith(SENTENCE_TRANSFORMERS):
        return _sentence_transformer(spec)
    return _dspy_model(spec)


def _imported(spec: str) -> Encode:
    module, name = spec.split(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise Misconfigured(
            f"embedder {spec!r}: cannot import {error.name or module!r}; "
            "set BESPOKE_EMBEDDER to a module that the workers can import"
        ) from error
    except AttributeError as error:
        raise Misconfigured(f"embedder {spec!r}: {module} has no {name!r}") from error
    if not callable(found):
        raise Misconfigured(f"embedder {spec!r}: got {type(found).__name__!r}, expected a callable")
    return found  # type: ignore[no-any-return]  # what it returns is checked at every call


def _sentence_transformer(spec: str) -> Encode:
    try:
        package: Any = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise Misconfigured(
            f"embedder {spec!r} needs the package sentence-transformers; install it beside the "
            "workers, or unset BESPOKE_EMBEDDER for the lexical default"
        ) from error
    model = _call(spec, package.SentenceTransformer, spec)
    return lambda texts: model.encode(texts, show_progress_bar=False)


def _dspy_model(spec: str) -> Encode:
    # Without it, the first call fetches a file of prices from the internet.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
    import dspy  # heavy, and no business of a worker with another embedder

    # A cache of embeddings by text would outlive the erasure of the user whose text it was.
    model: Encode = dspy.Embedder(
        spec, batch_size=TEXTS_AT_ONCE, caching=False, timeout=REQUEST_SECONDS
    )
    return model


def _call(name: str, function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except Exception as error:  # noqa: BLE001  # a model may raise anything
        raise _failure(name, error) from None


def _failure(name: str, error: Exception) -> BespokeError:
    """What to raise for a model's error: its text may quote a memory, so only its type is told."""
    if isinstance(error, BespokeError):
        return error
    kind, status = type(error).__name__, getattr(error, "status_code", None)
    if isinstance(error, OSError) or (isinstance(status, int) and _may_pass(status)):
        return Transient(f"embedder {name!r} could not be reached: {kind}")
    if isinstance(status, int):
        shorter = ", or give shorter texts" if status in _TOO_MUCH else ""
        return Misconfigured(
            f"embedder {name!r} was refused with {kind} ({status}); "
            f"check BESPOKE_EMBEDDER and the provider's key{shorter}"
        )
    return Permanent(f"embedder {name!r} failed with {kind}")


def _may_pass(status: int) -> bool:
    return status in _PASSING or not 400 <= status < 500


def _unit(name: str, answer: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        vectors = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise Misconfigured(f"embedder {name!r}: its answer is no array of numbers") from None
    if vectors.shape != shape:
        raise _misshapen(name, vectors, str(shape))
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if (np.abs(squares - 1) < UNIT_TOLERANCE).all():  # as most embedders' are
        return vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise Misconfigured(f"embedder {name!r}: got a vector that is not finite")
    # Scaled first, so that the squares neither overflow nor vanish.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    if not largest.all():
        raise Misconfigured(f"embedder {name!r}: got a zero vector, which has no direction")
    scaled = vectors / largest
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    # A unit vector stays as it is, to the bit, whatever order this machine adds its squares in.
    is_unit = np.abs(length * largest - 1) < UNIT_TOLERANCE
    return np.where(is_unit, vectors, scaled / length).astype(np.float32)


def _misshapen(name: str, answer: NDArray[Any], expected: str) -> Misconfigured:
    return Misconfigured(f"embedder {name!r}: got shape {answer.shape}, expected {expected}")
