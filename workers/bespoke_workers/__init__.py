"""Bespoke's workers: they remember, learn, optimize and export for each user.

``program`` registers a DSPy program of the application, ``scoring`` a function that says how much
memories are worth; ``programs.for_user`` gives a user's program, ready to be called; ``celery``
is what ``celery -A bespoke_workers worker`` runs; ``MemoryToolset`` gives an agent the memories
of one user, and ``InMemoryStore`` keeps memories without servers. All are imported at first use:
registering a program needs no broker, and a worker that serves only memories needs no DSPy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["InMemoryStore", "MemoryToolset", "__version__", "celery", "program", "scoring"]


def __getattr__(name: str) -> Any:
    if name == "celery":
        from bespoke_workers.app import celery

        return celery
    if name == "program":
        from bespoke_workers.programs.registry import program

        return program
    if name == "programs":
        return import_module("bespoke_workers.programs")
    if name == "scoring":
        from bespoke_workers.memories.scoring import scoring

        return scoring
    if name == "MemoryToolset":
        from bespoke_workers.memories.toolset import MemoryToolset

        return MemoryToolset
    if name == "InMemoryStore":
        from bespoke_workers.memories.in_memory import InMemoryStore

        return InMemoryStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
