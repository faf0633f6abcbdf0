#!lua flags=allow-oom
-- Replace the sink's book, if its revision is still the one that the new book was made from. This works also when memory
-- is full: requests to retry and to discard stand in the book, and carrying them out frees memory.
--
-- KEYS  1 book (JSON)  2 positions (hash: partition -> JSON)  3 prefixes (hash: sink -> prefix), of all sinks
-- ARGV  1 expected revision (0: there is no book)  2 the new book  3 the sink  4 its prefix
--       5 "keep" the positions, or "replace" them by the pairs of partition and JSON that follow
-- Returns the revision found: the same as expected means that it was replaced. Or {sink, prefix} of a sink whose
-- keys could not be told from this one's, because one prefix begins with the other; nothing was written then.

local stored = redis.call('GET', KEYS[1])
local found = stored and cjson.decode(stored).revision or 0
if found ~= tonumber(ARGV[1]) then
  return found
end
-- Only a caller that begins or wipes content replaces the positions, and a wipe deletes every key of the prefix.
if ARGV[5] == 'replace' then
  local known, mine = redis.call('HGETALL', KEYS[3]), ARGV[4]
  for i = 1, #known, 2 do
    local other, theirs = known[i], known[i + 1]
    local shorter = math.min(#mine, #theirs)
    if other ~= ARGV[3] and string.sub(mine, 1, shorter) == string.sub(theirs, 1, shorter) then
      return { other, theirs }
    end
  end
  redis.call('HSET', KEYS[3], ARGV[3], mine)
end
-- The positions go first: should this script die here, none is left, and a missing position is never a start (P1).
if ARGV[5] == 'replace' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if field ~= 'begun' and field ~= 'ended' then -- what they tell is over when the content is, and no sooner: wipe.lua
      redis.call('HDEL', KEYS[2], field)
    end
  end
  for i = 6, #ARGV, 2 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return found
