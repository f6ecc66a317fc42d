"""The server that fine-tunes and serves users' models over OpenAI's protocol, as it is set."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bespoke_workers.database.tables import UserModel
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.patience import CALL_SECONDS
from bespoke_workers.settings import Settings
from bespoke_workers.storage.places import without_userinfo

if TYPE_CHECKING:
    import dspy

OPENAI: Final = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Endpoint:
    """Where users' models are, and the key for it."""

    api_base: str
    key: str = field(repr=False)

    def language_model(self, name: str, temperature: float) -> "dspy.LM":
        """Return one of its models."""
        import dspy

        return dspy.LM(
            f"openai/{name}",
            api_base=self.api_base,
            api_key=self.key,
            temperature=temperature,
            timeout=CALL_SECONDS,
        )


def from_settings(settings: Settings) -> Endpoint:
    """Return the endpoint; raises Misconfigured where there is no key for it.

    The language model's own key goes nowhere but to the language model's own server.
    """
    lm_base = _bare(settings.lm_api_base)
    api_base = _bare(settings.finetune_api_base) or lm_base or OPENAI
    key = settings.finetune_api_key
    if key is None and _is_lm_s_own(settings, lm_base, api_base):
        key = settings.lm_api_key
    if key is None or not key.get_secret_value():
        raise Misconfigured(
            "BESPOKE_FINETUNE_API_KEY is not set, and fine-tuning at "
            f"{api_base} needs a key; set it to one of that server"
        )
    return Endpoint(api_base, key.get_secret_value())


def of_row(settings: Settings, row: UserModel) -> Endpoint:
    """Return the endpoint of a model; raises Refused where another one is set.

    A key is for the server that it is set with, and a row may be older than the settings.
    """
    if settings.finetune_provider != row.provider:
        raise Refused(
            f"the user's model is at provider {row.provider!r}, and BESPOKE_FINETUNE_PROVIDER is "
            f"{settings.finetune_provider!r}; set it to {row.provider!r}, or roll the version back"
        )
    try:
        endpoint = from_settings(settings)
    except Misconfigured as error:
        raise Refused(f"the user's model cannot be reached: {error}") from None
    if endpoint.api_base != row.api_base:
        raise Refused(
            f"the user's model is at {row.api_base}, and BESPOKE_FINETUNE_API_BASE leads to "
            f"{endpoint.api_base}; set it to where the model is, or roll the version back"
        )
    return endpoint


def _is_lm_s_own(settings: Settings, lm_base: str | None, api_base: str) -> bool:
    if lm_base is not None:
        return api_base == lm_base
    return api_base == OPENAI and (settings.lm or "").startswith("openai/")


def _bare(url: str | None) -> str | None:
    return without_userinfo(url).rstrip("/") if url else None
