"""Erasing in Redis: messages of a user in queues and in workers' hands, and answers of jobs."""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError

from bespoke_schemas.exports import EraseUser
from bespoke_schemas.memories.sharing import shared_owner
from bespoke_schemas.queues import Queue, members
from bespoke_workers.errors import Transient
from bespoke_workers.keys import UNACKED, UNREADABLE
from bespoke_workers.observe import events
from bespoke_workers.users.naming import GONE, quoted, without
from bespoke_workers.users.times import is_until

MESSAGES_AT_ONCE: Final = 500
ANSWERS_AT_ONCE: Final = 500
ANSWERS: Final = "celery-task-meta-"
"""What the keys of jobs' answers begin with."""

_BODY: Final = re.compile(rb'"body": ?"([A-Za-z0-9+/]+)')

FILTER: Final = """
local found = {}
for _, key in ipairs(KEYS) do
  local text = redis.call('GET', key)
  for _, part in ipairs(text and ARGV or {}) do
    if string.find(text, part, 1, true) then
      found[#found + 1] = key
      found[#found + 1] = text
      break
    end
  end
end
return found
"""
"""Return those of some answers, with their keys, in which one of some texts occurs."""

REPLACE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""
"""Replace an answer for the rest of its time, if it is still what was read."""


@dataclass(frozen=True)
class Carried:
    """What a message carries, as far as an erasure asks; ``is_later`` if it waits for its time."""

    job_id: UUID
    task: str
    about: frozenset[str]
    is_later: bool

    @classmethod
    def of(cls, message: Any) -> "Carried":
        """Read a message; raises ValueError, KeyError or TypeError for one that is none."""
        headers, body = message["headers"], message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        payload = json.loads(body)[1].get("payload") or {}
        about = {payload.get("user_id")}
        if isinstance(payload.get("space"), str):
            about.add(shared_owner(payload["space"]))
        names = frozenset(one for one in about if isinstance(one, str))
        return cls(UUID(headers["id"]), headers["task"], names, headers.get("eta") is not None)


class Messages:
    """The messages and the answers of one erased user, ``owners`` of ended spaces included."""

    def __init__(self, broker: Any, results: Any, user_id: str, owners: Sequence[str]) -> None:
        self._broker = broker
        self._results = results
        self._user_id = user_id
        self._whose = frozenset((user_id, *owners))
        self._forms = quoted(user_id)

    async def take_away(self, until: datetime) -> list[UUID]:
        """Take messages made up to a moment out of all queues; return the ids of their jobs.

        From the newest to the oldest: what comes or goes meanwhile is seen twice, not missed.
        """
        taken: list[UUID] = []
        with _translated():
            queues = [name for family in Queue for name in members(family)]
            for queue in queues:
                async for text in self._listed(queue):
                    carried = _carried(text)
                    if carried is None or not self._is_theirs(carried, until):
                        continue
                    if await self._broker.lrem(queue, 0, text):
                        taken.append(carried.job_id)
            for queue in (*queues, UNACKED):
                await self._clear_aside(f"{queue}{UNREADABLE}")
        return taken

    async def in_hand(self, wanted: Callable[[Carried], bool]) -> set[bytes]:
        """Return the receipts of this user's messages that workers have in their hands."""
        found = set()
        with _translated():
            async for receipt, text in self._broker.hscan_iter(UNACKED, count=MESSAGES_AT_ONCE):
                carried = _carried(text, recorded=True)
                if carried is not None and self._is_about(carried) and wanted(carried):
                    found.add(receipt)
        return found

    async def let_go(self, receipts: set[bytes]) -> None:
        """Forget that workers hold some messages; those only wait, to be refused in their time."""
        if receipts:
            with _translated():
                await self._broker.zrem(f"{UNACKED}_index", *receipts)
                await self._broker.hdel(UNACKED, *receipts)

    async def still_in_hand(self, receipts: set[bytes]) -> set[bytes]:
        """Return those of some receipts whose messages have not been dealt with."""
        if not receipts:
            return set()
        listed = list(receipts)
        with _translated():
            entries = await self._broker.hmget(UNACKED, listed)
        return {receipt for receipt, entry in zip(listed, entries, strict=True) if entry}

    async def forget_answers(self, until: datetime) -> int:
        """Delete the answers to this user's jobs, and take the user out of those to others'."""
        marks = [events.hashed(one) for one in sorted(self._whose)]
        forgotten = 0
        keys: list[bytes] = []
        with _translated():
            scanned = self._results.scan_iter(match=f"{ANSWERS}*", count=ANSWERS_AT_ONCE)
            async for key in scanned:
                keys.append(key)
                if len(keys) >= ANSWERS_AT_ONCE:
                    forgotten += await self._forget(keys, marks, until)
                    keys = []
            return forgotten + await self._forget(keys, marks, until)

    async def _forget(self, keys: list[bytes], marks: list[str], until: datetime) -> int:
        found = await self._results.eval(FILTER, len(keys), *keys, *marks, *self._forms)
        forgotten = 0
        for key, text in zip(found[::2], found[1::2], strict=True):
            forgotten += await self._forget_one(key, text, marks, until)
        return forgotten

    async def _forget_one(
        self, key: bytes, text: bytes | None, marks: Sequence[str], until: datetime
    ) -> int:
        while text is not None:
            left = _answer_without(text, self._user_id, marks)
            if left == text or (left is None and not _is_answer_until(key, until)):
                return 0
            if left is None:
                return int(await self._results.delete(key))
            if await self._results.eval(REPLACE, 1, key, text, left):
                return 1
            text = await self._results.get(key)  # changed meanwhile, as by another user's erasure
        return 0

    async def _listed(self, queue: str) -> AsyncIterator[bytes]:
        start = 0
        while page := await self._broker.lrange(queue, start, start + MESSAGES_AT_ONCE - 1):
            for text in page:
                yield text
            start += len(page)

    async def _clear_aside(self, queue: str) -> None:
        """Take away what names the user of what could not be decoded."""
        forms = [form.encode() for form in self._forms]
        async for text in self._listed(queue):
            if any(form in part for form in forms for part in _parts(text)):
                await self._broker.lrem(queue, 0, text)

    def _is_theirs(self, carried: Carried, until: datetime) -> bool:
        return self._is_about(carried) and is_until(carried.job_id, until)

    def _is_about(self, carried: Carried) -> bool:
        return carried.task != EraseUser.task and not self._whose.isdisjoint(carried.about)


@asynccontextmanager
async def connected(broker_url: str, results_url: str) -> AsyncIterator[tuple[Any, Any]]:
    """Open clients of both Redis databases."""
    broker = redis.asyncio.Redis.from_url(broker_url, socket_timeout=30, socket_connect_timeout=10)
    results = redis.asyncio.Redis.from_url(
        results_url, socket_timeout=30, socket_connect_timeout=10
    )
    try:
        yield broker, results
    finally:
        await broker.aclose()
        await results.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Transient(f"Redis failed: {type(error).__name__}") from None


def _parts(text: bytes) -> Iterator[bytes]:
    """Yield what could not be decoded as it is, and what it may carry."""
    yield text
    for body in _BODY.findall(text):
        with suppress(ValueError):
            yield base64.b64decode(body + b"==")


def _carried(text: bytes, *, recorded: bool = False) -> Carried | None:
    """Read a message, or the record of one; None where it is no job that a payload describes."""
    try:
        message = json.loads(text)
        return Carried.of(message[0] if recorded else message)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _answer_without(text: bytes, user_id: str, marks: Sequence[str]) -> bytes | None:
    """Return a job's answer without what is about a user; None if it is the user's own."""
    try:
        entry = json.loads(text)
        answer = entry["result"]
        if not set(marks).isdisjoint(answer.get("users", ())):
            return None
        left = without(answer.get("result"), user_id)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text
    if left is GONE:
        return None
    if left == answer.get("result"):
        return text
    return json.dumps({**entry, "result": {**answer, "result": left}}).encode()


def _is_answer_until(key: bytes, until: datetime) -> bool:
    try:
        return is_until(UUID(key.decode().removeprefix(ANSWERS)), until)
    except ValueError:
        return True
