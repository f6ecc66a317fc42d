"""Which provider the settings name."""

from bespoke_workers.errors import Misconfigured
from bespoke_workers.optimization.finetuning.provider import Provider
from bespoke_workers.programs import model_endpoint
from bespoke_workers.settings import Settings


def require(settings: Settings) -> Provider:
    """Return the provider; raises Misconfigured where none is set, or it is set wrongly."""
    if settings.finetune_provider is None:
        raise Misconfigured(
            "BESPOKE_FINETUNE_PROVIDER is not set, and BootstrapFinetune needs who trains; set it "
            "to openai, for a server of OpenAI's protocol, or to local, for a small model"
        )
    return named(settings, settings.finetune_provider)


def named(settings: Settings, name: str) -> Provider:
    """Return the provider of that name, with what is set for it."""
    if name == "local":
        from bespoke_workers.optimization.finetuning.small import LocalProvider

        return LocalProvider(settings)
    from bespoke_workers.optimization.finetuning.openai_api import OpenAIProvider

    base_model = settings.finetune_model or (settings.lm or "").partition("/")[2]
    if not base_model:
        raise Misconfigured(
            "BESPOKE_FINETUNE_MODEL is not set; set it to a model that can be fine-tuned, such as "
            "gpt-4.1-mini-2025-04-14"
        )
    return OpenAIProvider(model_endpoint.from_settings(settings), base_model)
