"""The steps of the Redis store, as scripts that the server runs one after the other.

| key | type | holds |
|---|---|---|
| `<prefix>.now` | hash | `run`, the id of the server process that last used it, and `life`, a name for that |
| `<prefix>.m.<hash>` | hash | of a stream: `e` epoch, `o` last offset, `l` life, `b` offset at which the epoch began, `p`, `f` the epoch before and its last offset (-1: not known), `a` the address |
| `<prefix>.s.<hash>` | stream | its messages; an id is `<offset>-<milliseconds since 1970>` |
| `<prefix>.i.<hash>` | string | of a name of a message: the positions that it got, or the id under which it is published |

A server process that was started from an old snapshot, or took another one's place, may lack the last messages.
It has another run id: then `life` changes, and with it the epoch of each stream at its next use. What is kept
stays, with its offsets. A replica that is promoted and demoted again is known by `life` as well: the other
master has set another one in between.
"""  # noqa: E501 - a table

from __future__ import annotations

from functools import cache
from hashlib import sha1
from typing import Final

from routing_app.core.streams.store import IDLE_SECONDS

_HEAD: Final = f"""
local run, ahead, seed = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ahead
local server = redis.call('HMGET', KEYS[1], 'run', 'life')
local life = server[2]
if server[1] ~= run then
  life = seed
  redis.call('HSET', KEYS[1], 'run', run, 'life', life)
end

-- Epoch, last offset, base, and the epoch before with its last offset.
local function open(meta, entries, seconds, address)
  local m = redis.call('HMGET', meta, 'e', 'o', 'l', 'b', 'p', 'f')
  local epoch, offset, base = m[1], tonumber(m[2]), tonumber(m[4])
  local former, final = m[5] or '', tonumber(m[6] or -1)
  if not epoch then
    epoch, offset, base = seed, 0, 0
    redis.call('DEL', entries)
    redis.call('HSET', meta, 'e', epoch, 'o', '0', 'l', life, 'b', '0', 'a', address)
  elseif m[3] ~= life then
    former, final, epoch, base = epoch, -1, seed, offset
    redis.call('HSET', meta, 'e', epoch, 'l', life, 'b', m[2], 'p', former, 'f', '-1')
  end
  redis.call('EXPIRE', meta, seconds + {IDLE_SECONDS})
  return epoch, offset, base, former, final
end

local function place(id)
  local dash = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end
"""

APPEND: Final = (
    _HEAD
    + """
-- ARGV: once_ms, names, record, then size, seconds and address of each stream. KEYS: once, then two of each.
-- A negative once_ms replaces what is known of the name.
local once_ms = tonumber(ARGV[4])
if once_ms > 0 then
  local found = redis.call('GET', KEYS[2])
  if found then
    return {1, found}
  end
end
local count = (#KEYS - 2) / 2
local positions = {}
for i = 1, count do
  local epoch, offset = open(KEYS[2 * i + 1], KEYS[2 * i + 2], ARGV[3 * i + 5], ARGV[3 * i + 6])
  positions[i] = {epoch, string.format('%d', offset + 1)}
end
for i = 1, count do
  local meta, entries, size, seconds = KEYS[2 * i + 1], KEYS[2 * i + 2], ARGV[3 * i + 4], ARGV[3 * i + 5]
  local offset = positions[i][2]
  local id = offset .. '-' .. string.format('%d', now)
  redis.call('HSET', meta, 'o', offset)
  if count > 1 then
    redis.call('XADD', entries, 'MAXLEN', '=', size, id, 'd', ARGV[6], 'p', cjson.encode(positions))
  else
    redis.call('XADD', entries, 'MAXLEN', '=', size, id, 'd', ARGV[6])
  end
  redis.call('EXPIRE', entries, seconds)
  if tonumber(offset) % 16 == 0 then
    local oldest = now - tonumber(seconds) * 1000
    repeat
      local some = redis.call('XRANGE', entries, '-', '+', 'COUNT', 32)
      local expired = 0
      for _, one in ipairs(some) do
        local _, at = place(one[1])
        if at < oldest then
          expired = expired + 1
        end
      end
      if expired > 0 then
        redis.call('XTRIM', entries, 'MAXLEN', '=', redis.call('XLEN', entries) - expired)
      end
    until expired < 32
  end
end
if once_ms ~= 0 then
  redis.call('SET', KEYS[2], cjson.encode({ARGV[5], positions}), 'PX', math.abs(once_ms))
end
return {0, positions}
"""
)
"""Appends one message to several streams, once per name."""

READ: Final = (
    _HEAD
    + """
-- ARGV: size, seconds, address, limit, and epoch and offset to read from ('': the newest). KEYS: its two.
local entries, size, seconds, limit = KEYS[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
local epoch, offset, base, former, final = open(KEYS[2], entries, ARGV[5], ARGV[6])
local oldest, floor = now - seconds * 1000, offset - size
local function kept(one)
  local number, at = place(one[1])
  return number > floor and at >= oldest
end
local function answer(recovered, more, first, rows)
  return {epoch, offset, base, former, final, recovered, more, first, rows}
end

if ARGV[8] == '' then
  local rows = {}
  if limit > 0 then
    for _, one in ipairs(redis.call('XREVRANGE', entries, '+', '-', 'COUNT', limit)) do
      if not kept(one) then
        break
      end
      table.insert(rows, one)
    end
  end
  return answer(1, 0, 0, rows)
end

local since = tonumber(ARGV[9])
if ARGV[8] == epoch and since == offset then
  return answer(1, 0, 0, {})
end
if ARGV[8] == epoch and since < offset and since >= floor then
  local rows = redis.call('XRANGE', entries, string.format('%d', since + 1), '+', 'COUNT', limit + 1)
  local whole = #rows > 0 and kept(rows[1]) and place(rows[1][1]) == since + 1
  local more = #rows > limit and 1 or 0
  -- A stream that was cut short from outside (evicted, deleted) ends before its offset.
  if whole and more == 0 then
    whole = place(rows[#rows][1]) == offset
  end
  if whole then
    if more == 1 then
      table.remove(rows)
    end
    return answer(1, more, 0, rows)
  end
end
local first, from = offset + 1, math.max(floor, 0) + 1
while first > offset do
  local some = redis.call('XRANGE', entries, string.format('%d', from), '+', 'COUNT', 100)
  if #some == 0 then
    break
  end
  for _, one in ipairs(some) do
    from = place(one[1]) + 1
    if kept(one) then
      first = from - 1
      break
    end
  end
end
return answer(0, 0, first, {})
"""
)
"""Reads messages of a stream, or only its end."""

DELETE: Final = (
    _HEAD
    + """
local epoch, offset = open(KEYS[2], KEYS[3], ARGV[4], ARGV[5])
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[2], 'e', ARGV[6], 'o', '0', 'b', '0', 'p', epoch, 'f', string.format('%d', offset))
return ARGV[6]
"""
)
"""Forgets the messages of a stream, and begins a new epoch."""

LIST: Final = """
-- ARGV: a cursor of SCAN, and a pattern of keys of streams.
local found = redis.call('SCAN', ARGV[4], 'MATCH', ARGV[5], 'COUNT', 500)
local addresses = {}
for _, meta in ipairs(found[2]) do
  table.insert(addresses, redis.call('HGET', meta, 'a') or '')
end
return {found[1], addresses}
"""
"""Some addresses of streams, and the cursor of the next ones; "0" at the end."""

END: Final = "return redis.call('DEL', unpack(KEYS, 2))"
"""Forgets streams and their epochs."""

ALL: Final = (APPEND, READ, DELETE, LIST, END)


@cache
def digest(script: str) -> str:
    """The name by which the server knows a script that it has loaded."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
