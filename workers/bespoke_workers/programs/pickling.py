"""A module as bytes, its class included, and bytes as a module. Imports dspy at first use.

Whoever loads such bytes runs what is in them: ``loaded`` is called in one place, after their
signature was checked.
"""

import io
import pickle  # what is loaded was signed by this system, see `sealing`
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from bespoke_workers.errors import Refused

if TYPE_CHECKING:
    import dspy

LIMIT = 256 * 2**20
"""Bytes of one whole program; a state has at most 8 MiB, and the rest is code."""
LM = "language model"
ADDRESS_OR_KEY = frozenset(
    {"api_base", "api_key", "base_url", "default_headers", "extra_headers", "fallbacks", "headers",
     "mock_response", "model_list"}
)  # fmt: skip
"""What a predictor's own configuration may say of where its calls go, and with which key."""


def pickled(module: "dspy.Module") -> bytes:
    """Return a module and its classes, without language models and their keys.

    ``module`` is the caller's own and loses them too. Classes of the application's modules go
    along as they are now; what they import is imported again where they are loaded. Raises
    Refused if it cannot be pickled, or is too large.
    """
    _strip(module)
    target = io.BytesIO()
    try:
        with _by_value(module):
            _Pickler(target).dump(module)
    except Exception as error:
        raise Refused(
            f"the program cannot be saved whole: pickling it raised {type(error).__name__}; save "
            "its state, or keep what has no copy, such as connections, out of the module"
        ) from error
    if target.tell() > LIMIT:
        raise Refused(f"the program is larger than {LIMIT // 2**20} MiB as a whole; save its state")
    return target.getvalue()


def loaded(content: bytes) -> "dspy.Module":
    """Return the module in ``content``, which runs code: only for what was checked before."""
    import dspy

    try:
        module = _Unpickler(io.BytesIO(content)).load()
    except Exception as error:
        raise Refused(
            f"the whole program cannot be loaded here: {type(error).__name__}; install what it "
            "imports, or save it again"
        ) from error
    if not isinstance(module, dspy.Module):
        raise Refused(f"the whole program is a {type(module).__name__} and no dspy.Module")
    return module


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """Leaves every language model out, wherever it is."""

    def persistent_id(self, obj: Any) -> str | None:
        import dspy

        return LM if issubclass(type(obj), dspy.BaseLM) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> None:
        if pid != LM:
            raise pickle.UnpicklingError


def _strip(module: "dspy.Module") -> None:
    for _, part in module.named_sub_modules():
        configured = getattr(part, "config", None)
        if isinstance(configured, Mapping):
            part.config = {
                key: value for key, value in configured.items() if key not in ADDRESS_OR_KEY
            }


@contextmanager
def _by_value(module: "dspy.Module") -> Iterator[None]:
    """Have the application's classes pickled as they are, and not by their names."""
    from dspy.utils.pickle_by_value import serialize_by_value

    with serialize_by_value(_application(module)):
        yield


def _application(module: "dspy.Module") -> list[ModuleType]:
    """Return the modules that define the parts, and those of their bases in the same package."""
    names = {
        base.__module__
        for _, part in module.named_sub_modules()
        for base in type(part).__mro__
        if _package(base) == _package(type(part)) is not None
    }
    return [sys.modules[name] for name in sorted(names) if name in sys.modules]


def _package(kind: type) -> str | None:
    """Return the package that defines a class; None for DSPy, which is imported as it is."""
    package = kind.__module__.partition(".")[0]
    return None if package == "dspy" else package
