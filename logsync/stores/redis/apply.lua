#!lua
-- One plan, in one step: compare the position, check everything, then write and move the position.
--
-- The first line makes Redis (7.0 or later) refuse the whole script before it runs when memory is full, on a
-- replica and when persistence failed; without it, the first write to be refused could be any (R1). For a plan that
-- releases, store.py writes flags=allow-oom there.
--
-- KEYS  1 positions (hash: partition -> JSON, and the counts begun and ended)  2... the keys of the plan, and last, only
--       if the plan says something about parked events: parked, about and order, see parking.py
-- ARGV  1 partition  2 epoch  3 next_offset  4 releases of the expected position  5 the new position (JSON)
--       6 "apply", or "check" to stop before the first write
--       7 how many words about parked events there are at the end: the number of events to forget, their fields, and
--         field, about and event of each that is to be kept (unless there is one already)
--       8... instructions: command, mode, n, index of the first key (1 = KEYS[2]), number of keys,
--             and then n arguments for each of these keys
--             mode 0: run it   1: check that it cannot fail, and run it   2: only check
--             MSET has one value per key; it is never checked, because it overwrites whatever there is
--             HINCRBY and ZINCRBY carry many: first all members, then what is added to each
-- Returns {"ok"}, {"conflict", stored}, {"poisoned", begun, ended}, {"denied", command, key} or
--         {"refused", key, what is wrong}: all but "ok" wrote nothing.
--
-- Nothing undoes a script that dies half-way, not even pcall. So the first write counts "begun" up, and the last one
-- notes that count as "ended". If the two differ, the content is neither the old nor the new.
-- They are counts, not a mark that comes and goes, because half a plan may also run besides a whole one. Seen (Redis
-- 8.2): killed while it writes the effects of a script to its append-only file, Redis drops the torn transaction from
-- memory at its next start but leaves its opening in the file; what follows is appended to it, and the start after
-- that runs the torn half, too.

local PARTITION, EPOCH, NEXT, RELEASES, AFTER, MODE, PARKING, FIRST = 1, 2, 3, 4, 5, 6, 7, 8
local HEADER = 5      -- ARGV before the arguments of an instruction
local RUN, GUARD = '0', '2'
local BOOKKEEPING = 1 -- KEYS before those of the plan
local CHUNK = 4000    -- arguments per call: unpack() fails at about 8,000
local EXACT = 9007199254740992 -- 2^53: doubles, so sorted-set scores, hold no larger integers exactly

local call, pcall = redis.call, redis.pcall
local KEYS, ARGV, tonumber, unpack = KEYS, ARGV, tonumber, unpack -- locals: they are looked up per argument
local sub, match = string.sub, string.match
local min, floor = math.min, math.floor

-- Does the sum of the 64-bit integer that Redis keeps as text and another one still fit? Doubles cannot tell beyond
-- 2^53, so long numbers are added in two halves.
local function bears(text, by)
  local sign, digits = match(text, '^(%-?)([1-9]%d*)$')
  if not digits then
    return text == '0'
  end
  if #digits <= 18 and #by <= 18 then
    return true
  end
  local least = sign == '-' and 854775808 or 854775807
  local high, low = tonumber(sub(digits, 1, -10)) or 0, tonumber(sub(digits, -9))
  local other, amount = match(by, '^(%-?)(%d+)$')
  if #digits > 19 or high > 9223372036 or (high == 9223372036 and low > least) then
    return false
  end
  if sign ~= other then
    return true
  end
  low = low + tonumber(sub(amount, -9))
  high = high + (tonumber(sub(amount, 1, -10)) or 0) + floor(low / 1000000000)
  low = low % 1000000000
  return high < 9223372036 or (high == 9223372036 and low <= least)
end

local function typed(key, expected)
  local found = call('TYPE', key).ok
  if found ~= expected and found ~= 'none' then
    return 'expected a ' .. expected .. ', found a ' .. found
  end
end

-- What is wrong with a value that shall bear `by` more; `field` for the message, which is only made when it is needed and
-- never shows a value: messages go into logs.
local function integer(value, by, field)
  if value and not bears(value, by) then
    local where = field and ' in field ' .. sub(field, 1, 80) or ''
    return 'expected a 64-bit integer' .. where .. ' that bears what is added, found what does not'
  end
end

-- Why a command that reads has failed. It tells the wrong type by itself, so TYPE is only asked now; whatever else it
-- fails of (rights) ends the script here, before the first write.
local function failed(answer, key, expected)
  return typed(key, expected) or error(answer)
end

-- For each member of a command that adds: its value on the server, and what is to be added.
local function each(key, at, n, expected, command, check)
  local half = n / 2
  for i = at, at + half - 1, CHUNK do
    local last = min(i + CHUNK, at + half) - 1
    local values = pcall(command, key, unpack(ARGV, i, last))
    if values.err then
      return failed(values, key, expected)
    end
    for j = i, last do
      local problem = check(values[j - i + 1], ARGV[j + half], ARGV[j])
      if problem then
        return problem
      end
    end
  end
end

-- The sum itself cannot be compared: 2^53 + 1 is 2^53 in doubles.
local function score(value, by)
  local now, more = tonumber(value or 0) or 0, tonumber(by)
  local fits = now >= -EXACT and now <= EXACT
  if more >= 0 then
    fits = fits and now <= EXACT - more
  else
    fits = fits and now >= -EXACT - more
  end
  if not fits then
    return 'expected scores that stay within 2^53 with what is added, found one that does not'
  end
end

local guards = {
  INCRBY = function(key, at, n)
    local value = pcall('GET', key)
    if type(value) == 'table' then
      return failed(value, key, 'string')
    end
    for i = at, at + n - 1 do
      local problem = integer(value, ARGV[i])
      if problem then
        return problem
      end
    end
  end,
  HINCRBY = function(key, at, n)
    return each(key, at, n, 'hash', 'HMGET', integer)
  end,
  ZINCRBY = function(key, at, n)
    return each(key, at, n, 'zset', 'ZMSCORE', score)
  end,
  HSET = function(key) return typed(key, 'hash') end,
  SADD = function(key) return typed(key, 'set') end,
  ZADD = function(key) return typed(key, 'zset') end,
}
guards.HDEL, guards.SREM, guards.ZREM = guards.HSET, guards.SADD, guards.ZADD

local function run(command, key, at, n)
  local half = n / 2
  if command == 'HINCRBY' then
    for j = at, at + half - 1 do
      call(command, key, ARGV[j], ARGV[j + half])
    end
  elseif command == 'ZINCRBY' then
    for j = at, at + half - 1 do
      call(command, key, ARGV[j + half], ARGV[j])
    end
  elseif n <= CHUNK then
    call(command, key, unpack(ARGV, at, at + n - 1))
  else
    for j = at, at + n - 1, CHUNK do
      call(command, key, unpack(ARGV, j, min(j + CHUNK, at + n) - 1))
    end
  end
end

-- Plain strings, the most common write: one command for many keys takes a third of the time of one each.
local function set(first, last, at)
  for k = first, last, CHUNK / 2 do
    local words, m = {}, 0
    for l = k, min(k + CHUNK / 2 - 1, last) do
      words[m + 1], words[m + 2] = KEYS[l], ARGV[at + l - first]
      m = m + 2
    end
    call('MSET', unpack(words))
  end
end

-- Parked events: each in the hash, with its place in the order. # I8
local PARKED, ABOUT, ORDER = KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]

local function place(about)
  return match(about, '^[^\n]*')
end

local function forget(field)
  local about = call('HGET', ABOUT, field)
  if about then
    call('ZREM', ORDER, field, place(about))
    call('HDEL', ABOUT, field)
  end
  call('HDEL', PARKED, field)
end

local function keep(field, about, event)
  if call('HSETNX', PARKED, field, event) == 1 then -- one that is there stays as it is # K2
    call('HSET', ABOUT, field, about)
    call('ZADD', ORDER, 0, field, 0, place(about))
  end
end

-- 1. Is this the worker whose turn it is? # I1 I2
local kept = call('HMGET', KEYS[1], ARGV[PARTITION], 'begun', 'ended')
local stored = kept[1]
if kept[2] ~= kept[3] then
  return { 'poisoned', kept[2] or '0', kept[3] or '0' }
end
local position = stored and cjson.decode(stored)
if not position or position.epoch ~= tonumber(ARGV[EPOCH]) or position.next_offset ~= tonumber(ARGV[NEXT])
    or (position.releases or position.drains or 0) ~= tonumber(ARGV[RELEASES]) then
  return { 'conflict', stored or 'no position' }
end

-- 2. Can anything fail? Rights once per command: they are given by command and key pattern. # R1
local allowed = {}
local i, count = FIRST, #ARGV - ARGV[PARKING]
while i <= count do
  local command, mode, n = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local first, keys = BOOKKEEPING + ARGV[i + 3], tonumber(ARGV[i + 4])
  i = i + HEADER
  if not allowed[command] then
    if not redis.acl_check_cmd(command, KEYS[first]) then
      return { 'denied', command, KEYS[first] }
    end
    allowed[command] = true
  end
  if mode ~= RUN then
    local guard = guards[command]
    for k = first, first + keys - 1 do
      local problem = guard(KEYS[k], i + (k - first) * n, n)
      if problem then
        return { 'refused', KEYS[k], problem }
      end
    end
  end
  i = i + keys * n
end
local needed = { { 'HSET', KEYS[1] }, { 'HINCRBY', KEYS[1] } }
if count < #ARGV then
  call('HLEN', PARKED) -- raises an error if something else has overwritten it
  call('HLEN', ABOUT)
  call('ZCARD', ORDER)
  local rights = { HSETNX = PARKED, HGET = ABOUT, HSET = ABOUT, HDEL = PARKED, ZADD = ORDER, ZREM = ORDER }
  for command, key in pairs(rights) do
    needed[#needed + 1] = { command, key }
  end
end
for _, right in ipairs(needed) do
  if not redis.acl_check_cmd(right[1], right[2]) then
    return { 'denied', right[1], right[2] }
  end
end
if ARGV[MODE] == 'check' then
  return { 'ok' }
end

-- 3. Write. From here on nothing may fail; if it does, "ended" stays behind.
local turn = call('HINCRBY', KEYS[1], 'begun', 1)
i = FIRST
while i <= count do
  local command, mode, n = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local first, keys = BOOKKEEPING + ARGV[i + 3], tonumber(ARGV[i + 4])
  i = i + HEADER
  if command == 'MSET' then
    set(first, first + keys - 1, i)
  elseif mode ~= GUARD then
    for k = first, first + keys - 1 do
      run(command, KEYS[k], i + (k - first) * n, n)
    end
  end
  i = i + keys * n
end
if count < #ARGV then
  local kept_from = count + 2 + ARGV[count + 1]
  for j = count + 2, kept_from - 1 do
    forget(ARGV[j])
  end
  for j = kept_from, #ARGV, 3 do
    keep(ARGV[j], ARGV[j + 1], ARGV[j + 2])
  end
end
call('HSET', KEYS[1], ARGV[PARTITION], ARGV[AFTER], 'ended', turn)
return { 'ok' }
