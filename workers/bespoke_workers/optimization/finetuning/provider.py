"""Who trains models: what a run asks of a provider, and what it gets to know from it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol
from uuid import UUID

ProviderName = Literal["local", "openai"]

Line = Mapping[str, Any]
"""One call as OpenAI's chat format has it: ``{"messages": [{"role": …, "content": …}, …]}``."""


@dataclass(frozen=True)
class Training:
    """What is to be trained: for which run, of which user, on which calls."""

    job_id: UUID
    user_id: str
    program: str
    lines: Sequence[Line] = field(repr=False)

    @cached_property
    def content(self) -> bytes:
        """The calls as JSON lines."""
        return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in self.lines).encode()

    @property
    def sha256(self) -> str:
        """What the calls are known by."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Begun:
    """How far a training has begun, by the provider's ids; nothing is begun twice that has one."""

    file_id: str | None = None
    remote_id: str | None = None


@dataclass(frozen=True)
class Trained:
    """A model that is ready, and on how many tokens it was trained if the provider says so."""

    name: str
    tokens: int | None = None


@dataclass(frozen=True)
class Leftover:
    """What may be left of a model at its provider."""

    job_id: UUID
    user_id: str
    begun: Begun
    name: str | None


Note = Callable[[Begun], None]
"""Writes down how far a training has begun, before anything else is asked of the provider."""


class Provider(Protocol):
    """Trains models and serves them. All of it blocks, and is called in threads.

    Each raises Transient for what may pass, Refused or Misconfigured for what will not.
    """

    @property
    def name(self) -> ProviderName:
        """What rows and answers call it."""

    @property
    def base_model(self) -> str:
        """The model that it goes on from."""

    @property
    def api_base(self) -> str | None:
        """Where it is; None where that is this machine."""

    def begin(self, training: Training, begun: Begun, note: Note) -> Begun:
        """Begin a training, or take up the one that was begun for the same run.

        ``begun`` is what was noted before a worker died, which may be less than was done.
        """

    def look(self, training: Training, begun: Begun) -> Trained | None:
        """Return the model once it is ready, None while it is trained.

        Raises Refused with the provider's reason where that failed.
        """

    def remove(self, leftover: Leftover) -> None:
        """Stop what is being trained and delete what there is; nothing is left afterwards."""
