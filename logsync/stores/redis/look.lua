#!lua flags=no-writes
-- One look at a sink, all of one moment; a replica answers it, too.
--
-- KEYS  1 book  2 positions  3 parked  4 prefixes
-- ARGV  1 the sink  2... the fields of the parked events that are asked about
-- Returns the prefix, the book, the positions as HGETALL gives them, and the parked events in the order asked.

local parked = {}
for n = 2, #ARGV do
  parked[n - 1] = redis.call('HGET', KEYS[3], ARGV[n])
end
return {
  redis.call('HGET', KEYS[4], ARGV[1]),
  redis.call('GET', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  parked,
}
