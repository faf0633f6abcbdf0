#!lua flags=no-writes
-- Parked events in log order, from one place in the order on.
--
-- KEYS  1 parked (hash)  2 order (sorted set)
-- ARGV  1 first place  2 last place, both as ZRANGEBYLEX takes them  3 the most events  4 enough bytes
-- Returns 1 if there may be more, else 0, and then the events.
--
-- Read in one step: between two steps the worker could release what the first one found.

local places = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local found, bytes = { #places < tonumber(ARGV[3]) and 0 or 1 }, 0
for _, place in ipairs(places) do
  if bytes > tonumber(ARGV[4]) then
    found[1] = 1
    break
  end
  local event = redis.call('HGET', KEYS[1], string.match(place, '^%d+:') .. string.match(place, '%d+$'))
  bytes = bytes + #event
  found[#found + 1] = event
end
return found
