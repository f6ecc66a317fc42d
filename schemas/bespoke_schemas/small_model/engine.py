"""The small model behind DSPy's interface of language models, so that a program just calls it."""

from typing import TYPE_CHECKING, Any

from bespoke_schemas.small_model.chat import NotLearnable
from bespoke_schemas.small_model.model import SmallModel

if TYPE_CHECKING:
    import dspy

PREFIX = "bespoke-local/"
"""What names of small models begin with; calls of them are not paid for."""


class SmallEngine:
    """Answers requests in the calling process: no connection, no address, no key."""

    def __init__(self, model: SmallModel) -> None:
        self._model = model

    def complete(self, request: Any) -> Any:
        """Answer a ``dspy.lm15.Request``."""
        from dspy.lm15 import Message, Response, TextPart, UnsupportedFeatureError, Usage

        system = request.system
        if system is not None and not isinstance(system, str):
            system = "".join(part.text for part in system)
        try:
            text = self._model.answer(system or "", request.messages[-1].text or "")
        except NotLearnable as error:
            raise UnsupportedFeatureError(str(error)) from None
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(text)]),
            finish_reason="stop",
            usage=Usage(input_tokens=0, output_tokens=0, total_tokens=0),
        )

    def close(self) -> None:
        """Nothing to do: nothing is open."""

    def dump_state(self) -> dict[str, Any]:
        """Say nothing of itself: a model goes with a version, never with a program's state."""
        return {}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "SmallEngine":
        """Refuse: no state brings a model along."""
        raise ValueError("a small model comes with its version and out of no state")


class AsyncSmallEngine:
    """The same for asyncio; an answer takes a millisecond."""

    def __init__(self, engine: SmallEngine) -> None:
        self._engine = engine

    async def complete(self, request: Any) -> Any:
        """Answer a ``dspy.lm15.Request``."""
        return self._engine.complete(request)

    async def aclose(self) -> None:
        """Nothing to do: nothing is open."""

    def dump_state(self) -> dict[str, Any]:
        """See SmallEngine."""
        return {}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "AsyncSmallEngine":
        """See SmallEngine."""
        raise ValueError("a small model comes with its version and out of no state")


def language_model(name: str, model: SmallModel) -> "dspy.LM":
    """Return a model as a ``dspy.LM``; its answers are made anew each time, and cost nothing."""
    import dspy

    engine = SmallEngine(model)
    return dspy.LM(PREFIX + name, engine=engine, async_engine=AsyncSmallEngine(engine), cache=False)
