#!lua flags=no-writes
-- One look at a sink, all of one moment; a replica answers it, too.
--
-- KEYS  1 book  2 positions  3 parked  4 prefixes  5 order, see parking.py
-- ARGV  1 the sink  2... for each event that is asked about its field among the parked ones; the field from which on
--       other attempts of it may stand, itself if there are none; and what the text of each attempt contains
-- Returns the prefix, the book, the positions as HGETALL gives them, and the parked events in the order asked.

local parked = {}
for n = 2, #ARGV, 3 do
  local own, since, bears = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  local found = redis.call('HGET', KEYS[3], own)
  if not found and since < own then
    for _, other in ipairs(redis.call('ZRANGEBYLEX', KEYS[5], '[' .. since, '(' .. own)) do
      local entry = redis.call('HGET', KEYS[3], other)
      if entry and string.find(entry, bears, 1, true) then
        found = entry
        break
      end
    end
  end
  parked[#parked + 1] = found
end
return {
  redis.call('HGET', KEYS[4], ARGV[1]),
  redis.call('GET', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  parked,
}
