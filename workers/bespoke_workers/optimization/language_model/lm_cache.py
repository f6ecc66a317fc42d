"""Each job's own cache of LM answers: what lets a killed run go on without paying again.

DSPy has one cache in a process, and its keys ignore whose key and server a call used. Here
that one cache only finds the job in whose ``dspy.context`` the calling thread runs, and asks
the job's own cache; a thread outside of any job finds none. So jobs can neither read nor
write each other's answers, even where an optimizer leaves threads behind.

Answers are kept as lines of JSON: DSPy's own disk cache would load pickles.
"""

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dspy
from dspy.clients.cache import Cache
from dspy.clients.legacy_outputs import plain

from bespoke_workers.optimization.language_model import gate, lm_cache_folders
from bespoke_workers.optimization.language_model.usage import Spent, Usage
from bespoke_workers.optimization.stopping import Stop, Stopped

SETTING = "bespoke_lm_cache"
"""The name in ``dspy.context`` under which threads of a job find its cache."""


class JobCache:
    """The answers that one job paid for, in a directory of its own.

    A line is written in one piece, so a kill costs at most the line that was being written.
    ``used`` is what the answers cost that were used until now, also if an earlier run of the job
    paid for them: a run that is taken up again goes by the same sums.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._answers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._file: int | None = None
        self._open = False
        self._stop: Stop | None = None
        self._usage: Usage | None = None
        self._used_keys: set[str] = set()
        self._begun = 0
        self._most: tuple[int | None, float | None] = None, None
        self.used = Spent()
        self.spent_before = Spent()

    def __enter__(self) -> Self:
        self._load(self._directory / lm_cache_folders.FILE)
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None
            self._open = False
            self._answers.clear()

    def account(self, stop: Stop, usage: Usage) -> None:
        """Ask ``stop`` before each call that will be paid, and ``usage`` what one cost."""
        self._stop, self._usage = stop, usage

    def limit(self, lm_calls: int | None, usd: float | None) -> None:
        """Raise Stopped instead of an answer that would be used beyond this; None has no limit."""
        with self._lock:
            self._most = lm_calls, usd

    def find(self, key: str) -> Any:
        """Return the answer under ``key``; None, or Stopped, where it must be paid for."""
        with self._lock:
            line = self._answers.get(key)
            self._begin(key)
        if line is not None:
            entry = json.loads(line)
            self._use(key, entry["tokens"], entry["cost"])
            return entry["answer"]
        if self._stop is not None:
            self._stop.spend()
        return None

    def price(self, model: str, tokens: dict[str, Any]) -> float | None:
        """Return what a call cost in US dollars, None where that is not known."""
        return None if self._usage is None else self._usage.price(model, tokens)

    def keep(self, key: str, answer: Any, tokens: dict[str, Any], cost: float | None) -> None:
        """Keep a paid answer. One that is no JSON is paid for again after a kill."""
        self._use(key, tokens, cost)
        entry = {"key": key, "answer": answer, "tokens": tokens, "cost": cost}
        try:
            line = json.dumps(entry)
        except (TypeError, ValueError):
            return
        with self._lock:
            if self._open:
                self._answers[key] = line
                os.write(self._opened(), f"{line}\n".encode())

    def _opened(self) -> int:
        """Return the file, made for the first answer: a run without calls leaves none."""
        if self._file is None:
            owner_only = lm_cache_folders.OWNER_ONLY
            self._directory.mkdir(mode=owner_only, parents=True, exist_ok=True)
            path = self._directory / lm_cache_folders.FILE
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._file

    def _begin(self, key: str) -> None:
        """Count an answer that was not used yet, whether it is kept or must be paid for."""
        if key in self._used_keys:
            return
        calls, usd = self._most
        spent = usd is not None and self.used.cost_usd >= usd
        if spent or (calls is not None and self._begun >= calls):
            raise Stopped
        self._begun += 1

    def _use(self, key: str, tokens: dict[str, Any], cost: float | None) -> None:
        """Count an answer when it is first used, as it will be again after a kill."""
        with self._lock:
            if key not in self._used_keys:
                self._used_keys.add(key)
                self.used = self.used.plus(tokens, cost)

    def _load(self, path: Path) -> None:
        for line in lm_cache_folders.mended(path):
            entry = json.loads(line)
            self._answers[entry["key"]] = line
            self.spent_before = self.spent_before.plus(entry["tokens"], entry["cost"])


class ContextCache(Cache):  # type: ignore[misc]  # dspy ships no types
    """The process's cache as DSPy sees it; holds nothing itself."""

    def __init__(self) -> None:
        super().__init__(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)

    def get(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> Any:
        """Return the current job's answer to a request, None if it has none."""
        cache = dspy.settings.get(SETTING)
        if cache is None:
            return None
        found = cache.find(self.cache_key(request, ignored_args_for_cache_key))
        if found is None and (way := gate.current()) is not None:
            way.admit()
        return found

    def put(
        self,
        request: dict[str, Any],
        value: Any,
        ignored_args_for_cache_key: list[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None:
        """Keep an answer in the current job's cache."""
        cache = dspy.settings.get(SETTING)
        if cache is None:
            return
        key = self.cache_key(request, ignored_args_for_cache_key)
        answer = plain(value)
        tokens = answer.get("usage") or {} if isinstance(answer, dict) else {}
        cache.keep(key, answer, tokens, cache.price(_model(request), tokens))
        if (way := gate.current()) is not None:
            way.answered(tokens)


def install() -> None:
    """Make DSPy's one cache that of the job in whose context a thread runs."""
    with dspy._cache_lock:
        if not isinstance(vars(dspy).get("cache"), ContextCache):
            dspy.cache = ContextCache()


def _model(request: dict[str, Any]) -> str:
    """Return the model that a request is for, which one of DSPy's own form has further down."""
    inner = request.get("request")
    return str(request.get("model") or (inner.get("model") if isinstance(inner, dict) else ""))
