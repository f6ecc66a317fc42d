"""Copies of a module, so that whoever is served one may change and call it as they like.

A call writes into a module (`history`, traces), and so may its caller (demos, instructions,
language models). A copy costs half a millisecond; a call of a language model hundreds.
"""

import copy
from collections.abc import Callable
from typing import Any


def copier(module: Any) -> Callable[[], Any]:
    """Return what makes copies of a module that nobody changes.

    A copy shares nothing with it but language models and callbacks, which hold connections.
    Making one raises whatever deepcopy raises for what cannot be copied.
    """
    import dspy

    modules = [each for _, each in module.named_sub_modules()]
    lms = [vars(each).get("lm") for each in modules]
    shared: dict[int, Any] = {id(lm): lm for lm in lms if isinstance(lm, dspy.BaseLM)}

    def copied() -> Any:
        made = dict(shared)
        twin = copy.deepcopy(module, made)
        for each in modules:
            # DSPy leaves callbacks out of a copy.
            if each.callbacks:
                made[id(each)].callbacks = list(each.callbacks)
            # A deep copy shares classes, and a signature is one that may be changed in place.
            if isinstance(each, dspy.Predict):
                made[id(each)].signature = _apart(each.signature)
        return twin

    return copied


def _apart(signature: Any) -> Any:
    """Return a subclass of a signature that has its wording in places of its own.

    In less than half of the time in which DSPy would make the class from its fields.
    """
    twin = type(signature)(
        signature.__name__,
        (signature,),
        {"__doc__": signature.__doc__, "__module__": signature.__module__},
    )
    for field in twin.model_fields.values():
        field.json_schema_extra = dict(field.json_schema_extra)
    return twin
