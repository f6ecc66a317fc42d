"""What a payload is: a frozen model that declares its task, queue and result once."""

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from bespoke_schemas.ids import uuid7
from bespoke_schemas.queues import Queue


class Result(BaseModel):
    """What a job answers. Frozen; unknown fields of a newer worker are ignored."""

    model_config = ConfigDict(frozen=True)


ResultT = TypeVar("ResultT", bound=Result, covariant=True)

_types: dict[str, type["Payload[Any]"]] = {}


class Payload(BaseModel, Generic[ResultT]):
    """One job to be done. Its ``id`` is the job's id and the idempotency key.

    A subclass names its queue: ``class Store(Payload[Stored], queue=Queue.MEMORIES)``.
    Its task name follows from its group and its name: ``bespoke.memories.store``. The group is
    the module, or the package where a group has several.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    task: ClassVar[str] = ""
    queue: ClassVar[Queue]
    result_type: ClassVar[type[Result]]

    id: UUID = Field(default_factory=uuid7)

    def __init_subclass__(cls, *, queue: Queue | None = None, **kwargs: Any) -> None:
        """Keep ``queue`` from typing.Generic, which takes no keywords."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, *, queue: Queue | None = None, **kwargs: Any) -> None:
        """Register a payload under its task name."""
        super().__pydantic_init_subclass__(**kwargs)
        if queue is None:
            return
        cls.queue = queue
        cls.task = f"bespoke.{_group(cls.__module__)}.{_snake_case(cls.__name__)}"
        cls.result_type = _result_type(cls)
        _types[cls.task] = cls

    def subject(self) -> str | None:
        """Return the user whom this payload is about, if it is about one."""
        user_id = getattr(self, "user_id", None)
        return user_id if isinstance(user_id, str) else None

    def __repr__(self) -> str:
        """Name the job and none of its contents: a repr ends up in logs and in Flower."""
        return f"<{self.task} {self.id}>"

    __str__ = __repr__

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Name as little to rich and other printers, which ask here."""
        yield "id", self.id


def payload_type(task: str) -> type[Payload[Any]] | None:
    """Return the payload whose task name is ``task``; None if there is none."""
    return payload_types().get(task)


def payload_types() -> dict[str, type[Payload[Any]]]:
    """Return every payload by its task name."""
    from bespoke_schemas import (  # noqa: F401  # each registers itself on import, and imports this
        examples,
        exports,
        jobs,
        memories,
        optimization,
        programs,
    )

    return dict(_types)


def _group(module: str) -> str:
    package, *below = module.split(".")
    return below[0] if below else package


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _result_type(cls: type[Payload[Any]]) -> type[Result]:
    for base in cls.__mro__:
        metadata = getattr(base, "__pydantic_generic_metadata__", None)
        if metadata and metadata["args"]:
            (argument,) = metadata["args"]
            if isinstance(argument, type) and issubclass(argument, Result):
                return argument
    raise TypeError(f"{cls.__name__} does not say what it answers: inherit Payload[ItsResult]")
