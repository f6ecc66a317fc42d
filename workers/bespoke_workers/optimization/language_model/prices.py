"""What tokens cost: an installation's own table, else the one that LiteLLM's package brings along.

Nothing is fetched. A model in neither has no price: its calls and tokens are counted, and that
their cost is not known is told.
"""

import importlib.util
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from bespoke_workers.errors import Misconfigured
from bespoke_workers.optimization.language_model import lm
from bespoke_workers.settings import Settings

MILLION: Final = 1_000_000
DEAREST: Final = 1e6  # US dollars for a million tokens; a higher price is a slip of the pen
MODELS: Final = 64
"""Models whose packaged price a process remembers; reading one anew takes some 50 ms."""
PACKAGED: Final = "model_prices_and_context_window_backup.json"
NO_MODEL: Final = "sample_spec"  # the entry of that table which explains the others

_one_reads = threading.Lock()

_FORM: Final = (
    "give a table of US dollars for a million tokens, or the path of its file: "
    '{"openai/gpt-4o-mini": {"input": 0.15, "cached": 0.075, "output": 0.6}}'
)


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens: asked, asked again out of the provider's cache, answered."""

    input: float
    cached: float
    output: float

    def of(self, tokens: Mapping[str, Any]) -> float | None:
        """Return what one call's tokens cost; None where the provider did not report them."""
        asked, answered = tokens.get("prompt_tokens"), tokens.get("completion_tokens")
        if asked is None or answered is None:
            return None
        details = tokens.get("prompt_tokens_details") or {}
        cached = min(int(details.get("cached_tokens") or 0), int(asked))
        sums = (asked - cached) * self.input + cached * self.cached + answered * self.output
        return float(sums) / MILLION


class Prices:
    """The price of each model that has one."""

    def __init__(self, own: Mapping[str, Price]) -> None:
        """``own`` goes before what is packaged, by the names that BESPOKE_LM has them under."""
        self._own = dict(own)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Prices":
        """Return the prices that are set; raises Misconfigured naming what is wrong with them."""
        chosen = (settings.prices or "").strip()
        return cls(_own(chosen) if chosen else {})

    def of(self, model: str) -> Price | None:
        """Return a model's price, None where it is not known."""
        return self._own.get(model) or packaged(model)

    def cost(self, model: str, tokens: Mapping[str, Any]) -> float | None:
        """Return what one call cost in US dollars, None where that is not known."""
        price = self.of(model)
        return None if price is None else price.of(tokens)

    def require_for(self, settings: Settings, **limits: float | None) -> None:
        """Raise Misconfigured unless the model is set, and priced where dollars are limited.

        ``limits`` are a job's own limits in US dollars by their names.
        """
        model = lm.require(settings)
        limits = {"BESPOKE_OPTIMIZATION_USD": settings.optimization_usd, **limits}
        limited = next((name for name, limit in limits.items() if limit is not None), None)
        if limited is not None and self.of(model) is None:
            raise Misconfigured(
                f"{limited} is a limit in US dollars, and the price of {model!r} is not known; "
                "set BESPOKE_PRICES"
            )


def packaged(model: str) -> Price | None:
    """Return the price that LiteLLM's package has for a model, as it lies on the disk.

    A name without its provider counts only for that provider: another one's service may have a
    model of the same name at another price.
    """
    with _one_reads:  # else all threads of a process's first run would, at once
        return _packaged(model)


@lru_cache(maxsize=MODELS)
def _packaged(model: str) -> Price | None:
    table = _table()
    found = table.get(model)
    provider, slash, bare = model.partition("/")
    if found is None and slash:
        found = table.get(bare)
        if found is not None and not str(found.get("litellm_provider", "")).startswith(provider):
            found = None
    return None if found is None or model == NO_MODEL else _per_million(found)


def _table() -> dict[str, Any]:
    # Importing LiteLLM takes seconds and 180 MB; its file alone is read in a fraction of one.
    spec = importlib.util.find_spec("litellm")
    for folder in spec.submodule_search_locations or () if spec else ():
        try:
            table = json.loads((Path(folder) / PACKAGED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return table if isinstance(table, dict) else {}
    return {}


def _per_million(entry: Mapping[str, Any]) -> Price | None:
    asked, answered = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if asked is None or answered is None:
        return None
    cached = entry.get("cache_read_input_token_cost")
    cached = asked if cached is None else cached
    return Price(float(asked) * MILLION, float(cached) * MILLION, float(answered) * MILLION)


class _Entry(BaseModel):
    """The price of one model in a table of one's own."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    input: float = Field(ge=0, le=DEAREST)
    output: float = Field(ge=0, le=DEAREST)
    cached: float | None = Field(default=None, ge=0, le=DEAREST)


class _Entries(RootModel[dict[str, _Entry]]):
    """A table of one's own."""

    model_config = ConfigDict(hide_input_in_errors=True)


def _own(chosen: str) -> dict[str, Price]:
    text = chosen if chosen.startswith("{") else _read(chosen)
    try:
        entries = _Entries.model_validate(json.loads(text)).root
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = " ".join(repr(part) for part in first["loc"])
        raise _wrong(f"{place}: {first['msg']}" if place else first["msg"]) from None
    except ValueError:
        raise _wrong("got neither JSON nor a file of it") from None
    return {
        name: Price(one.input, one.input if one.cached is None else one.cached, one.output)
        for name, one in entries.items()
    }


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        raise _wrong(f"{path!r} cannot be read ({type(error).__name__})") from None


def _wrong(what: str) -> Misconfigured:
    return Misconfigured(f"BESPOKE_PRICES: {what}; {_FORM}")
