"""The language model of a run, built in the process that uses it: its sockets survive no fork."""

import os
from typing import Any

from bespoke_workers.errors import Misconfigured
from bespoke_workers.optimization.language_model.pace import Rate
from bespoke_workers.patience import CALL_SECONDS
from bespoke_workers.settings import Settings


def require(settings: Settings) -> str:
    """Return the model's name; raises Misconfigured where none is set."""
    if not settings.lm:
        raise Misconfigured(
            "BESPOKE_LM is not set, and optimizing needs a language model; set it to one that "
            "DSPy takes, such as openai/gpt-4o-mini, and BESPOKE_LM_API_KEY to its key"
        )
    return settings.lm


def rate(settings: Settings) -> Rate:
    """Return how often all workers together may call the model."""
    return Rate(settings.lm_rate, settings.lm_token_rate)


def build(settings: Settings) -> Any:
    """Return a ``dspy.LM`` for these settings; raises Misconfigured where they are wrong."""
    model = require(settings)
    # Without it, the first look-up of a price fetches a file from the internet.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
    from dspy.utils.exceptions import LMConfigurationError

    from bespoke_workers.optimization.language_model.patient_lm import PatientLM

    options: dict[str, Any] = {"temperature": settings.lm_temperature, "timeout": CALL_SECONDS}
    if settings.lm_api_base is not None:
        options["api_base"] = settings.lm_api_base
    if settings.lm_api_key is not None:
        options["api_key"] = settings.lm_api_key.get_secret_value()
    try:
        if settings.lm_temperature == 0 and _has_its_own_temperature(model):
            options["temperature"] = None
        return PatientLM(model, **options)
    except LMConfigurationError:
        raise Misconfigured(
            f"BESPOKE_LM_TEMPERATURE: got {settings.lm_temperature:g}, which {model!r} does not "
            "take; set it to 1"
        ) from None
    except ValueError:
        raise Misconfigured(
            f"BESPOKE_LM: got {model!r}; set it to provider/model, such as openai/gpt-4o-mini"
        ) from None


def _has_its_own_temperature(model: str) -> bool:
    """Return whether DSPy refuses any temperature but 1 for a model, as for OpenAI's reasoning."""
    import dspy
    from dspy.utils.exceptions import LMConfigurationError

    try:
        dspy.LM(model, temperature=0.5)
    except LMConfigurationError:
        return True
    return False
