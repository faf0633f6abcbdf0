#!lua
-- Replace the sink's book, if its revision is still the one that the new book was made from.
--
-- KEYS  1 book (JSON)  2 positions (hash: partition -> JSON)
-- ARGV  1 expected revision (0: there is no book)  2 the new book
--       3 "keep" the positions, or "replace" them by the pairs of partition and JSON that follow
-- Returns the revision found: the same as expected means that it was replaced.

local stored = redis.call('GET', KEYS[1])
local found = stored and cjson.decode(stored).revision or 0
if found ~= tonumber(ARGV[1]) then
  return found
end
-- The positions go first: should this script die here, none is left, and a missing position is never a start (P1).
if ARGV[3] == 'replace' then
  redis.call('DEL', KEYS[2])
  for i = 4, #ARGV, 2 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return found
