#!lua flags=no-writes
-- The sequences that wait, some per call: the order is asked for the first place of a sequence, and then for the first
-- one behind that sequence, so the time depends on the number of sequences and not on that of the events.
--
-- KEYS  1 about (hash)  2 order (sorted set)
-- ARGV  1 where to begin  2 the end, both as ZRANGEBYLEX takes them  3 the most sequences
-- Returns where to go on ("": nowhere), and then for each sequence: about of its first event, number of its events.

local at, found = ARGV[1], { '' }
while #found < 2 * tonumber(ARGV[3]) do
  local place = redis.call('ZRANGEBYLEX', KEYS[2], at, ARGV[2], 'LIMIT', 0, 1)[1]
  if not place then
    return found
  end
  at = '(' .. string.match(place, '^(.*) ') .. '!' -- the character behind the space
  found[#found + 1] = redis.call('HGET', KEYS[1], string.match(place, '^%d+:') .. string.match(place, '%d+$'))
  found[#found + 1] = redis.call('ZLEXCOUNT', KEYS[2], '[' .. place, at)
end
found[1] = at
return found
