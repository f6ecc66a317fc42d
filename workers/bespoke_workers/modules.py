"""The application's own modules, which register its programs and its scoring functions."""

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from bespoke_workers.errors import BespokeError, Misconfigured

_imported: set[str] = set()


def load(modules: Iterable[str]) -> None:
    """Import modules, each once for this process.

    They are looked for in the working directory too, as Celery does with the application it
    is given. Raises Misconfigured naming the module that cannot be imported.
    """
    for module in modules:
        if module not in _imported:
            _import(module)
            _imported.add(module)


def _import(module: str) -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        # It stays: a module may import its neighbours later, inside a function.
        sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except BespokeError:
        raise
    except ImportError as error:
        raise Misconfigured(
            f"BESPOKE_PROGRAMS: cannot import {module!r}: {_one_line(error)}; correct the name, "
            "or start the workers in the directory that holds it"
        ) from error
    except Exception as error:
        raise Misconfigured(
            f"BESPOKE_PROGRAMS: {module!r} raised {type(error).__name__} on import; "
            f"run `python -c 'import {module}'` to see where"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
