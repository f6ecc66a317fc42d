"""The pace of a language model that all workers keep together, through Redis.

What is known of a model is a hash in Redis, changed by scripts, each of which is atomic and
takes Redis's own time: neither the number of workers nor their clocks matter. Where Redis is
away, a process goes on with its share of the rate, among those that called lately.
"""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from bespoke_workers.keys import LM_PACE
from bespoke_workers.optimization.language_model.pace import Admission, LocalPace, Rate

ANSWER_SECONDS: Final = 1.0
"""A Redis that takes longer to answer is away: a run that is to stop must not wait for it."""
AWAY_SECONDS: Final = 2.0
"""For so long a Redis that was away is not asked again, nor a call that may not go on made."""
SHARE_SECONDS: Final = 120
"""A process that made no call for so long has no share: longer than one call may take."""
KEPT_SECONDS: Final = 3600
FIRST_GAP_SECONDS: Final = 0.05
LONGEST_GAP_SECONDS: Final = 10.0
GAP_HALVES_SECONDS: Final = 30.0
"""What refusals taught is forgotten by half in this time, for limits move."""
MEAN_WEIGHT: Final = 0.1  # of the last call in what calls take on average

MICROSECONDS: Final = 1e6
_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = redis.call('HMGET', KEYS[1], 'next', 'held', 'gap', 'slowed', 'tokens')
local next, held = tonumber(found[1]) or 0, tonumber(found[2]) or 0
local gap, tokens = tonumber(found[3]) or 0, tonumber(found[5]) or 0
gap = gap * 0.5 ^ (math.max(now - (tonumber(found[4]) or now), 0) / tonumber(ARGV[1]))
local function keep(...)
  redis.call('HSET', KEYS[1], ...)
  redis.call('PEXPIRE', KEYS[1],
    math.ceil(math.max(next - now, held - now, 0) / 1000) + tonumber(ARGV[2]))
end
local function whole(number) return string.format('%.0f', number) end
"""
_ADMIT: Final = (
    _NOW
    + """
local request, token = tonumber(ARGV[3]), tonumber(ARGV[4])
local sharers = 0
if request + token > 0 then
  redis.call('ZADD', KEYS[2], now, ARGV[5])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[6]))
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  sharers = redis.call('ZCARD', KEYS[2])
end
local moment = math.max(now, next, held)
local every = math.max(request, gap, tokens * token)
if every >= 1000 or request + token > 0 then
  next = moment + every
  keep('next', whole(next))
end
return {whole(moment - now), sharers, tostring(tokens)}
"""
)
_HELD: Final = _NOW + "return whole(math.max(held - now, 0))"
_REFUSED: Final = (
    _NOW
    + """
local fresh = held < now  -- calls under way together are refused together, and say it once
held = math.max(held, now + tonumber(ARGV[3]))
if fresh then
  gap = math.min(math.max(2 * gap, tonumber(ARGV[4])), tonumber(ARGV[5]))
  keep('gap', whole(gap), 'slowed', whole(held))
end
keep('held', whole(held))
return {fresh and 1 or 0, whole(gap)}
"""
)
_SETTLE: Final = (
    _NOW
    + """
local used = tonumber(ARGV[4])
next = next + (used - tonumber(ARGV[5])) * tonumber(ARGV[3])
if used > 0 then
  local weight = tokens > 0 and tonumber(ARGV[6]) or 1
  tokens = tokens + (used - tokens) * weight
end
keep('next', whole(next), 'tokens', tostring(tokens))
"""
)

T = TypeVar("T")

_log = structlog.get_logger("bespoke.optimization")


class SharedPace:
    """The pace of one model at one server, kept with every other worker on the same Redis."""

    def __init__(self, url: str, model: str, api_base: str | None, rate: Rate) -> None:
        """Connect at the first call; ``url`` is Redis's."""
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        server = hashlib.sha256((api_base or "").encode()).hexdigest()[:8]
        self._keys = [f"{LM_PACE}.{model}.{server}", f"{LM_PACE}_sharers.{model}.{server}"]
        self._model = model
        self._rate = rate
        self._member = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._alone = LocalPace(rate, shares=0)
        self._away_until = 0.0
        self._lock = threading.Lock()
        self._admit = self._redis.register_script(_ADMIT)
        self._held = self._redis.register_script(_HELD)
        self._refused = self._redis.register_script(_REFUSED)
        self._settle = self._redis.register_script(_SETTLE)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def admit(self) -> Admission:
        """Give a call its moment among those of all workers."""
        return self._ask(self._admit_together, self._admit_alone)

    def held_s(self) -> float:
        """Return for how many seconds no worker is to call the model."""

        def together() -> float:
            return int(self._held(self._keys, self._args())) / MICROSECONDS

        return self._ask(together, self._alone.held_s)

    def refused(self, seconds: float) -> None:
        """Let no worker call the model for so long, and all of them less often after that."""
        self._alone.refused(seconds)
        bounds = FIRST_GAP_SECONDS * MICROSECONDS, LONGEST_GAP_SECONDS * MICROSECONDS

        def together() -> None:
            fresh, gap = self._refused(self._keys, self._args(seconds * MICROSECONDS, *bounds))
            if int(fresh):
                _log.warning(
                    "the language model is called too often",
                    model=self._model,
                    nobody_for_s=round(seconds, 1),
                    then_every_s=round(int(gap) / MICROSECONDS, 3),
                )

        self._ask(together, lambda: None)

    def settle(self, reserved: float, used: int) -> None:
        """Count the tokens that a call took; nothing where tokens are not limited."""
        token = self._rate.seconds_a_token * MICROSECONDS
        if not token:
            return
        arguments = self._args(token, used, reserved, MEAN_WEIGHT)
        self._ask(
            lambda: self._settle(self._keys, arguments),
            lambda: self._alone.settle(reserved, used),
        )

    def _admit_together(self) -> Admission:
        arguments = self._args(
            self._rate.seconds_a_request * MICROSECONDS,
            self._rate.seconds_a_token * MICROSECONDS,
            self._member,
            SHARE_SECONDS * MICROSECONDS,
        )
        wait, sharers, tokens = self._admit(self._keys, arguments)
        self._alone.shares = int(sharers)
        return Admission(int(wait) / MICROSECONDS, float(tokens))

    def _admit_alone(self) -> Admission:
        """Take this process's share; nothing where it never learned how large that is."""
        if self._rate.is_limited and not self._alone.shares:
            return Admission(AWAY_SECONDS, granted=False)
        return self._alone.admit()

    def _args(self, *more: float | str) -> list[float | str]:
        return [GAP_HALVES_SECONDS * MICROSECONDS, KEPT_SECONDS * 1000, *more]

    def _ask(self, together: Callable[[], T], alone: Callable[[], T]) -> T:
        """Ask Redis, or this process alone while Redis is away."""
        if time.monotonic() < self._away_until:
            return alone()
        try:
            answer = together()
        except RedisError as error:
            self._away(error)
            return alone()
        self._back()
        return answer

    def _away(self, error: RedisError) -> None:
        with self._lock:
            told, self._away_until = self._away_until, time.monotonic() + AWAY_SECONDS
        if not told:
            _log.warning(
                "Redis is away: this process keeps to its share of the rate of calls",
                model=self._model,
                error=type(error).__name__,
                shares=self._alone.shares,
            )

    def _back(self) -> None:
        if self._away_until:
            with self._lock:
                self._away_until = 0.0
            _log.info("Redis is back: the rate of calls is kept together", model=self._model)
