"""A stand-in LM that answers up to a call of the test's choice, and no further until it is let.

So a test meets a run in its middle, however fast or slow the machine is.
"""

import asyncio
import threading

from examples.support_desk import answers, prompts
from examples.support_desk.standin_lm import Answer
from tests.nodes.waiting import SECONDS


class Holding:
    """An ``Answer`` for StandinLM: so many calls are answered at once, all later ones held."""

    def __init__(self, answered: int = 0, answer: Answer = answers.answer) -> None:
        """``answer`` is what each call is answered with, in time."""
        self._answer = answer
        self._answered = answered
        self._asked = 0
        self._lock = threading.Lock()
        self._let_go = threading.Event()

    def __call__(self, prompt: prompts.Prompt) -> str:
        with self._lock:
            self._asked += 1
            is_held = self._asked > self._answered
        if is_held:
            assert self._let_go.wait(SECONDS), "the test never let the calls go"
        return self._answer(prompt)

    @property
    def held(self) -> int:
        """How many calls were held, whether or not they have been let go."""
        return max(self._asked - self._answered, 0)

    async def holds(self, calls: int = 1) -> None:
        """Return once so many calls are held."""
        async with asyncio.timeout(SECONDS):
            while self.held < calls:
                await asyncio.sleep(0.01)

    def hold(self, after: int = 0) -> None:
        """Hold what comes from now on, but for so many calls."""
        with self._lock:
            self._answered = self._asked + after

    def let_go(self) -> None:
        """Answer what is held, and all that comes."""
        self._let_go.set()
