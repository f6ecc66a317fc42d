"""What DSPy works out anew for each LM call although it never changes: here it is remembered.

Of the four milliseconds that a call takes DSPy, these take one. Neither what is asked nor what
is answered depends on it, and where DSPy is made otherwise one day, it is left as it is.
"""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

MODELS: Final = 64
"""Models whose entry in DSPy's table a process remembers; a model without one costs a search."""

ANEW: Final = "bespoke_anew"
"""Where what remembers has that which it asks."""

_lock = threading.Lock()


def install() -> None:
    """Have DSPy remember, in this process."""
    from dspy.adapters import utils
    from dspy.clients import costs

    with _lock:
        for module, name, remembering in (
            (utils, "TypeAdapter", _text_adapter),
            (costs, "model_info", _model_entry),
        ):
            anew = getattr(module, name, None)
            if anew is not None and not hasattr(anew, ANEW):
                remembered = remembering(anew)
                setattr(remembered, ANEW, anew)
                setattr(module, name, remembered)


def _text_adapter(anew: Callable[..., Any]) -> Callable[..., Any]:
    """Make pydantic's adapter of texts once: DSPy asks for one for each field of each demo."""
    texts = anew(str)

    def adapter(kind: Any, *args: Any, **options: Any) -> Any:
        plain = kind is str and not args and not options
        return texts if plain else anew(kind, *args, **options)

    return adapter


def _model_entry(anew: Callable[..., Any]) -> Callable[..., Any]:
    """Look a model up once: DSPy estimates what each call cost, which nobody reads here.

    Where its table lacks the model, it goes through all of it.
    """
    return lru_cache(maxsize=MODELS)(anew)
