"""The Lua scripts, each of which Redis runs as one step."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from redis.exceptions import NoScriptError


def run(client: Any, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run one of the scripts; raises redis-py's errors."""
    try:
        return client.evalsha(_sha(script), len(keys), *keys, *args)
    except NoScriptError:  # Redis was restarted, or has never seen it
        return client.eval(script, len(keys), *keys, *args)


@cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


#: Forgets the acknowledged receipts, then moves up to `limit` messages from the queues, one
#: queue after the other, into the record: none is ever in neither place.
#: KEYS: record, index, queues. ARGV: limit, number of receipts, receipts, and for each queue
#: 1 if it is to be recorded and 0 if not.
#: Returns [[queue number, receipt or nil if unreadable, message]], [numbers of empty queues].
CLAIM = """
local record, index = KEYS[1], KEYS[2]
local limit, acks = tonumber(ARGV[1]), tonumber(ARGV[2])
-- A key of the wrong type must raise before anything is popped.
redis.call('HLEN', record)
redis.call('ZCARD', index)
for i = 3, acks + 2 do
  redis.call('ZREM', index, ARGV[i])
  redis.call('HDEL', record, ARGV[i])
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function tag_of(text)
  local ok, message = pcall(cjson.decode, text)
  local properties = ok and type(message) == 'table' and message.properties
  local tag = type(properties) == 'table' and properties.delivery_tag
  return type(tag) == 'string' and tag
end

-- The message goes in as it is: cjson would turn [] into {} and round long numbers.
local function write_down(tag, text, queue)
  local entry = '[' .. text .. ', "", ' .. cjson.encode(queue) .. ']'
  local receipt, copies = tag, 1
  while redis.call('HSETNX', record, receipt, entry) == 0 do
    copies = copies + 1
    receipt = tag .. '/' .. copies
  end
  redis.call('ZADD', index, now, receipt)
  return receipt
end

local open, claimed, empty = {}, {}, {}
for number = 1, #KEYS - 2 do open[number] = number end
while #open > 0 and #claimed < limit do
  local still_open = {}
  for _, number in ipairs(open) do
    if #claimed == limit then break end
    local queue = KEYS[number + 2]
    local text = redis.call('RPOP', queue)
    if text then
      local tag = tag_of(text)
      if not tag then
        redis.call('LPUSH', queue .. '.unreadable', text)
        claimed[#claimed + 1] = {number, false, false}
      elseif ARGV[acks + 2 + number] == '1' then
        claimed[#claimed + 1] = {number, write_down(tag, text, queue), text}
      else
        claimed[#claimed + 1] = {number, tag, text}
      end
      still_open[#still_open + 1] = number
    else
      empty[#empty + 1] = number
    end
  end
  open = still_open
end
return {claimed, empty}
"""

#: Renews the times of receipts that are still recorded, and brings none back that is not.
#: KEYS: index. ARGV: receipts.
RENEW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
-- A full Redis refuses ZADD unless the script has written before.
redis.call('ZREM', KEYS[1], '')
for _, receipt in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], 'XX', now, receipt)
end
"""

#: Reads up to `limit` records whose holder has given no sign of life for `age` seconds, newest
#: first, and changes nothing.
#: KEYS: record, index. ARGV: age, limit. Returns [receipt, entry, ...].
OVERDUE = """
local clock = redis.call('TIME')
local receipts = redis.call('ZRANGE', KEYS[2], clock[1] - ARGV[1], '-inf',
                            'BYSCORE', 'REV', 'LIMIT', 0, ARGV[2])
local found = {}
for _, receipt in ipairs(receipts) do
  found[#found + 1] = receipt
  found[#found + 1] = redis.call('HGET', KEYS[1], receipt) or ''
end
return found
"""

#: Moves each message that is still recorded, and whose holder is still silent, from the record
#: to its lists; whoever comes second finds nothing to move.
#: KEYS: record, index. ARGV: age in seconds (empty: whatever its age), RPUSH (next in line) or
#: LPUSH (last in line), and for each: receipt, message, number of lists, lists.
#: Returns the number moved.
RESTORE = """
local latest = math.huge
if ARGV[1] ~= '' then latest = redis.call('TIME')[1] - ARGV[1] end
local moved, at = 0, 3
while at <= #ARGV do
  local receipt, lists = ARGV[at], tonumber(ARGV[at + 2])
  if tonumber(redis.call('ZSCORE', KEYS[2], receipt) or 0) <= latest then
    redis.call('ZREM', KEYS[2], receipt)
    if redis.call('HDEL', KEYS[1], receipt) == 1 then
      for i = at + 3, at + 2 + lists do redis.call(ARGV[2], ARGV[i], ARGV[at + 1]) end
      moved = moved + 1
    end
  end
  at = at + 3 + lists
end
return moved
"""

#: Moves a claimed message that Python cannot read from the record to a list of its own.
#: KEYS: record, index, list. ARGV: receipt, message.
SET_ASIDE = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[2])
"""

#: Gives a member's sign of life, and drops the members that have given none for `age` seconds.
#: KEYS: members. ARGV: age, entry, former entry of the same member (may be empty).
#: Returns the entries of all live members.
BEAT = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
-- A full Redis refuses ZADD unless the script has written before.
redis.call('ZREM', KEYS[1], ARGV[3])
-- A clock that was set back would keep the dead for as long.
for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE')) do
  redis.call('ZADD', KEYS[1], now, entry)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('ZADD', KEYS[1], now, ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""

#: Takes a member off the list. KEYS: members. ARGV: entry.
LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
"""
