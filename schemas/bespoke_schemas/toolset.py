"""Tools by which an agent uses one user's memories: plain functions of typed arguments.

Each makes one payload of its arguments and a text of the result. Who does the job is whoever
makes the tools: `bespoke_client` asks through the queue, `bespoke_workers` a store of memories.
"""

import asyncio
import functools
import inspect
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from bespoke_schemas import memories
from bespoke_schemas.fields import UserId
from bespoke_schemas.payload import Payload, Result

Ask = Callable[[Payload[Any]], Result]
"""Does a payload's job and returns its result."""
Tool = Callable[..., str]
AsyncTool = Callable[..., Coroutine[Any, Any, str]]

TIMEOUT = 30.0  # seconds that a tool waits for a job
NAMES = (
    "store",
    "retrieve",
    "search",
    "list",
    "update",
    "delete",
    "clear",
    "count",
    "metadata",
)

_log = logging.getLogger("bespoke.toolset")


class ToolRefused(Exception):
    """The job was refused for a reason that its caller can do something about: the text."""


class ToolsetMisused(RuntimeError):
    """A tool was called where it cannot wait for its job; the text says what to do."""


class _Job(Protocol):
    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end."""


@runtime_checkable
class Enqueues(Protocol):
    """What the tools need of a `bespoke_client.Client`."""

    def enqueue(self, payload: Payload[Any]) -> _Job:
        """Return the job once its message is in the broker."""


def through_queue(client: Enqueues, timeout: float = TIMEOUT) -> Ask:
    """Return what has jobs done by workers, waiting at most ``timeout`` seconds for each."""

    def ask(payload: Payload[Any]) -> Result:
        try:
            result: Result = client.enqueue(payload).result(timeout)
        except Exception as error:
            # The client's JobFailed, which schemas cannot import.
            if getattr(error, "error_type", None) == "Refused":
                raise ToolRefused(getattr(error, "reason", "")) from None
            raise
        return result

    return ask


class Asked(NamedTuple):
    """What a tool asks for, and how it says the result."""

    payload: Payload[Any]
    say: Callable[[Any], str]


class MemoryTools:
    """The tools of one user's memories; no argument of any of them names a user.

    ``tools`` are plain functions, which `dspy.ReAct` takes as they are; ``async_tools`` are the
    same for `ReAct.acall`, and keep no event loop waiting. ``prefix`` stands before each name,
    where an agent has other tools called "search" or "list"; ``only`` leaves the others out.
    A tool never raises for what an agent does: its answer then begins with "error:".
    """

    def __init__(
        self, user_id: str, ask: Ask, *, prefix: str = "", only: Sequence[str] = NAMES
    ) -> None:
        unknown = [name for name in only if name not in NAMES]
        if unknown:
            raise ValueError(f"only: got {unknown[0]!r}, allowed: {', '.join(NAMES)}")
        questions = _Questions(TypeAdapter(UserId).validate_python(user_id))
        self.tools: list[Tool] = [
            _named(prefix + name, getattr(questions, name), ask) for name in only
        ]
        self.async_tools: list[AsyncTool] = [_in_a_thread(tool) for tool in self.tools]


class _Questions:
    """What each tool asks for. The docstrings are what the language model reads."""

    def __init__(self, user_id: str) -> None:
        self._user_id = user_id

    def store(self, content: str, tags: Sequence[str] = (), kind: str = "fact") -> Asked:
        """Remember one thing about the user for later conversations: one short sentence.

        Something that is remembered already is merged with it. Answers the memory's id.
        """
        payload = memories.Store(
            user_id=self._user_id, content=content, tags=_tags(tags), kind=kind
        )
        return Asked(payload, _stored)

    def retrieve(self, memory_id: str) -> Asked:
        """Read one memory by its id, as search and list show it."""
        payload = memories.Get(user_id=self._user_id, memory_id=_id(memory_id))
        return Asked(payload, lambda got: _one(got.memory, memory_id, _shown))

    def search(
        self, query: str, limit: int = 5, tags: Sequence[str] = (), kind: str | None = None
    ) -> Asked:
        """Find memories by meaning, most similar first, one to a line.

        With tags, only those that carry all of them; with a kind, only those of that kind.
        """
        payload = memories.Search(
            user_id=self._user_id, query=query, limit=limit, tags=_tags(tags), kind=kind
        )
        return Asked(payload, _found)

    def list(self, limit: int = 20, offset: int = 0, tags: Sequence[str] = ()) -> Asked:
        """List memories, newest first, one to a line; offset leaves out the first ones."""
        payload = memories.List(user_id=self._user_id, limit=limit, offset=offset, tags=_tags(tags))
        return Asked(payload, lambda listed: _listed(listed, offset))

    def update(
        self,
        memory_id: str,
        content: str | None = None,
        tags: Sequence[str] | None = None,
        kind: str | None = None,
    ) -> Asked:
        """Change a memory that is no longer true or complete: what is given replaces the old."""
        payload = memories.Update(
            user_id=self._user_id,
            memory_id=_id(memory_id),
            content=content,
            tags=None if tags is None else _tags(tags),
            kind=kind,
        )
        return Asked(payload, lambda updated: _updated(updated, memory_id))

    def delete(self, memory_id: str) -> Asked:
        """Forget one memory by its id."""
        payload = memories.Delete(user_id=self._user_id, memory_id=_id(memory_id))
        return Asked(
            payload, lambda done: f"deleted {memory_id}" if done.deleted else _missing(memory_id)
        )

    def clear(self, tags: Sequence[str] = (), kind: str | None = None) -> Asked:
        """Forget all memories, or only those with all of some tags and of a kind.

        Only to be used when the user asks for it.
        """
        payload = memories.Clear(user_id=self._user_id, tags=_tags(tags), kind=kind)
        return Asked(payload, lambda cleared: f"deleted {_so_many(cleared.removed_count)}")

    def count(self) -> Asked:
        """Tell how many memories there are."""
        payload = memories.Count(user_id=self._user_id)
        return Asked(payload, lambda counted: _so_many(counted.count))

    def metadata(self, memory_id: str) -> Asked:
        """Tell when a memory was made, changed and last found, how often, and its metadata."""
        payload = memories.Get(user_id=self._user_id, memory_id=_id(memory_id))
        return Asked(payload, lambda got: _one(got.memory, memory_id, _described))


def _named(name: str, question: Callable[..., Asked], ask: Ask) -> Tool:
    """Return the tool that asks a question, under a name."""
    signature = inspect.signature(question)
    takes = ", ".join(signature.parameters) or "no arguments"

    @functools.wraps(question)
    def tool(*args: Any, **kwargs: Any) -> str:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as error:
            return f"error: {error}; {name} takes {takes}"
        try:
            asked = question(*given.args, **given.kwargs)
        except ValidationError as error:
            return f"error: {_problems(error)}"
        except (TypeError, ValueError) as error:
            return f"error: {error}"
        return _answer(name, asked, ask)

    tool.__name__ = tool.__qualname__ = name
    tool.__doc__ = inspect.getdoc(question)
    tool.__annotations__ = {**question.__annotations__, "return": str}
    return tool


def _answer(name: str, asked: Asked, ask: Ask) -> str:
    try:
        return asked.say(ask(asked.payload))
    except ToolRefused as refused:
        return f"error: {refused}"
    except ToolsetMisused:
        raise
    except TimeoutError:
        _log.warning("a tool had no answer in time: %s", name)
        return "error: no answer in time; it may still take effect, go on without it"
    except Exception as error:  # noqa: BLE001  # an agent goes on without its memories
        # Only the type: the text of an error may hold what a user said, or an address.
        _log.warning("a tool failed: %s: %s", name, type(error).__name__)
        return "error: the memories cannot be used at the moment; go on without them"


def _in_a_thread(tool: Tool) -> AsyncTool:
    @functools.wraps(tool)
    async def async_tool(*args: Any, **kwargs: Any) -> str:
        return await asyncio.to_thread(tool, *args, **kwargs)

    return async_tool


def _id(memory_id: str) -> UUID:
    try:
        return UUID(memory_id)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f"memory_id: got {memory_id!r}, expected an id as search and list show it"
        ) from None


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    return (tags,) if isinstance(tags, str) else tuple(tags)  # one tag, not its letters


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(
        ": ".join([*(str(place) for place in one["loc"][:1]), one["msg"]]).replace(
            "Value error, ", ""
        )
        for one in problems
    )


def _stored(stored: memories.Stored) -> str:
    known = "" if stored.outcome == "inserted" else ", merged with what was remembered already"
    archived = stored.compaction.total_compacted
    made_room = f"; {_so_many(archived)} went to the archive" if archived else ""
    return f"stored as {stored.memory_id}{known}{made_room}"


def _found(found: memories.Found) -> str:
    lines = [
        _line(_shown(match.memory) | {"similarity": round(match.similarity or 0.0, 3)})
        for match in found.matches
    ]
    return "\n".join(lines) or "nothing found"


def _listed(listed: memories.Listed, offset: int) -> str:
    lines = [_line(_shown(memory)) for memory in listed.memories]
    if offset + len(lines) < listed.total:
        lines.append(
            f"{len(lines)} of {_so_many(listed.total)}; the next offset is {offset + len(lines)}"
        )
    return "\n".join(lines) or "nothing here"


def _updated(updated: memories.Updated, memory_id: str) -> str:
    if updated.memory is None:
        return _missing(memory_id)
    merged = "" if updated.merged_with is None else ", merged with what said the same"
    return f"updated{merged}: {_line(_shown(updated.memory))}"


def _one(
    memory: memories.Memory | None,
    memory_id: str,
    shown: Callable[[memories.Memory], dict[str, Any]],
) -> str:
    return _missing(memory_id) if memory is None else _line(shown(memory))


def _shown(memory: memories.Memory) -> dict[str, Any]:
    return {
        "id": str(memory.id),
        "content": memory.content,
        "kind": memory.kind,
        "tags": memory.tags,
    }


def _described(memory: memories.Memory) -> dict[str, Any]:
    described: dict[str, Any] = memory.model_dump(mode="json", exclude={"content"})
    return described


def _line(shown: dict[str, Any]) -> str:
    return json.dumps(shown, ensure_ascii=False)


def _missing(memory_id: str) -> str:
    return f"error: there is no memory {memory_id}; search or list show which there are"


def _so_many(count: int) -> str:
    return f"{count} memory" if count == 1 else f"{count} memories"
