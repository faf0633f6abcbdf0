#!lua flags=allow-oom
-- Delete keys of the sink while its book is still the one of this rebuild; that must work when memory is full, too.
--
-- KEYS  1 book (JSON)  2 positions (hash)  3 evicted  4... the keys to delete
-- ARGV  1 the revision of the book  2 in the last step, what "evicted" shall say from now on
-- Returns the revision found: another one than expected means that nothing was deleted.

local stored = redis.call('GET', KEYS[1])
local found = stored and cjson.decode(stored).revision or 0
if found ~= tonumber(ARGV[1]) then
  return found
end
for i = 4, #KEYS do
  redis.call('UNLINK', KEYS[i]) -- the memory is given back in the background
end
if ARGV[2] then
  redis.call('SET', KEYS[3], ARGV[2])
  -- A script that died is forgotten with the content. Counted up all the same: half a plan that runs besides at a later
  -- start of Redis (apply.lua) is then one too many, and the keys that it makes are not taken for content.
  redis.call('HSET', KEYS[2], 'ended', redis.call('HINCRBY', KEYS[2], 'begun', 1))
end
return found
