#!lua flags=allow-oom
-- Delete keys of the sink while its book is still the one of this rebuild; that must work when memory is full, too.
--
-- KEYS  1 book (JSON)  2 evicted  3... the keys to delete
-- ARGV  1 the revision of the book  2 what "evicted" shall say from now on; nothing: it stays
-- Returns the revision found: another one than expected means that nothing was deleted.

local stored = redis.call('GET', KEYS[1])
local found = stored and cjson.decode(stored).revision or 0
if found ~= tonumber(ARGV[1]) then
  return found
end
for i = 3, #KEYS do
  redis.call('UNLINK', KEYS[i]) -- the memory is given back in the background
end
if ARGV[2] then
  redis.call('SET', KEYS[2], ARGV[2])
end
return found
