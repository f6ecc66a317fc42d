"""What tokens cost: an own table before the packaged one, and nothing where nobody knows."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from bespoke_workers.errors import Misconfigured
from bespoke_workers.optimization.language_model import prices
from bespoke_workers.optimization.language_model.prices import Price, Prices
from bespoke_workers.settings import Settings

KNOWN = "openai/gpt-4o-mini"
TOKENS = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}


def of(prices: str | None) -> Prices:
    return Prices.from_settings(Settings(prices=prices))


def test_a_model_has_the_price_that_litellm_s_package_brings_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a price was fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    prices._packaged.cache_clear()
    price = of(None).of(KNOWN)
    assert price is not None
    assert 0 < price.cached < price.input < price.output < 10
    assert of(None).of("gpt-4o-mini") == price


def test_an_own_price_goes_before_it() -> None:
    prices = of(
        json.dumps({KNOWN: {"input": 2, "output": 8}, "openai/mine": {"input": 0, "output": 0}})
    )

    assert prices.of(KNOWN) == Price(2, 2, 8)
    assert prices.cost(KNOWN, TOKENS) == 10
    assert prices.cost("openai/mine", TOKENS) == 0
    assert prices.of("openai/gpt-4o") is not None


def test_a_table_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"openai/mine": {"input": 1, "cached": 0.5, "output": 3}}))

    assert of(str(file)).of("openai/mine") == Price(1, 0.5, 3)


def test_tokens_out_of_the_provider_s_cache_have_their_own_price() -> None:
    tokens = TOKENS | {"prompt_tokens_details": {"cached_tokens": 400_000}}

    assert Price(1, 0.5, 3).of(tokens) == pytest.approx(0.6 + 0.2 + 3)


@pytest.mark.parametrize(
    "tokens", [{}, {"prompt_tokens": 5}, {"prompt_tokens": 5, "completion_tokens": None}]
)
def test_what_the_lm_did_not_report_has_no_price(tokens: dict[str, Any]) -> None:
    assert Price(1, 1, 1).of(tokens) is None


@pytest.mark.parametrize("model", ["openai/standin", "somebody-else/gpt-4o-mini", "sample_spec"])
def test_a_model_that_nobody_knows_has_no_price(model: str) -> None:
    prices, settings = of(None), Settings(lm=model)
    assert prices.cost(model, TOKENS) is None
    prices.require_for(settings, max_usd=None)
    with pytest.raises(Misconfigured, match=r"max_usd .* BESPOKE_PRICES"):
        prices.require_for(settings, max_usd=5)
    with pytest.raises(Misconfigured, match=r"BESPOKE_OPTIMIZATION_USD .* BESPOKE_PRICES"):
        prices.require_for(Settings(lm=model, optimization_usd=1))
    prices.require_for(Settings(lm=KNOWN, optimization_usd=1), max_usd=5)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "got neither JSON nor a file of it"),
        ("/nowhere/prices.json", "'/nowhere/prices.json' cannot be read"),
        ("[]", "'[]' cannot be read"),
        ('{"openai/mine": {"input": 1}}', "'openai/mine' 'output'"),
        ('{"openai/mine": {"input": -1, "output": 2}}', "'openai/mine' 'input'"),
        ('{"openai/mine": {"input": 1, "output": 2, "outptu": 3}}', "'outptu'"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(value: str, said: str) -> None:
    with pytest.raises(Misconfigured) as told:
        of(value)
    assert str(told.value).startswith("BESPOKE_PRICES: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)
