-- Publishes lists, newest wins: called once for some hundred users, or for none, to move the marker alone.
--
-- KEYS[1]      the feed, a stream of pointers
-- KEYS[2]      the marker: how far each partition is published, and how far each worker knows, a hash
-- KEYS[3 ...]  one list key a slate
-- ARGV[1]      time to live of a list, ms
-- ARGV[2]      about how many pointers the feed keeps; 0: these lists have no pointers
-- ARGV[3]      length of what stands before LIST:USER in a list key
-- ARGV[4]      the writer's name in the marker
-- ARGV[5]      its run; 0: it keeps no marker
-- ARGV[6]      number of this call in the run, the writer's next mark
-- ARGV[7]      the greatest mark of the run that was acknowledged when this call was made
-- ARGV[8]      how many pairs follow
-- ARGV[9 ...]  pairs of a partition and the event up to which all its lists are published with this call
-- ARGV[. ...]  one value a slate, in the keys' order: format byte, 24 bytes of version, body
--
-- Returns one character for the marker, then one a slate.
-- Marker: "k" all acknowledged marks are here, and it moves on; "m" some are missing, and it stays as it is, to be read;
-- "l" a later run's; "-" none was asked for.
-- Slate: "n" newer and stored, "o" older, "e" the very version that is there already.
-- Neither "o" nor "e" changes anything, not even the time to live.

local LIMIT = 9007199254740992  -- 2^53: no version reaches it, so such a number is not one of ours

local function version(value)
  local generation, position, revision = struct.unpack('>I8I8I8', value, 2)
  return generation, position, revision
end

-- What is stored is "missing" also when it is another type, another format, or shorter than a version: it loses.
local function compare(key, value)
  local stored = redis.pcall('GETRANGE', key, 0, 24)
  if type(stored) ~= 'string' or #stored < 25 or string.byte(stored) ~= string.byte(value) then return 'n' end
  local g, p, r = version(stored)
  if g >= LIMIT or p >= LIMIT or r >= LIMIT then return 'n' end
  local G, P, R = version(value)
  if G ~= g then return G > g and 'n' or 'o' end
  if P ~= p then return P > p and 'n' or 'o' end
  if R ~= r then return R > r and 'n' or 'o' end
  return 'e'
end

local pairs_end = 8 + 2 * tonumber(ARGV[8])

-- After the lists: whoever finds the mark finds them. Calls under way together may come in any order, and two workers
-- may publish a partition for a moment, so nothing ever goes back. A call that comes behind a later one leaves all as it
-- is: between the two the writer may have seen a loss.
local function move()
  local run, mark, acknowledged = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  if run == 0 then return '-' end
  local run_field, mark_field = 'run:' .. ARGV[4], 'mark:' .. ARGV[4]
  local stored = redis.pcall('HMGET', KEYS[2], run_field, mark_field)
  local at_run = not stored.err and tonumber(stored[1] or '') or -1
  local at_mark = not stored.err and tonumber(stored[2] or '') or -1
  if at_run > run then return 'l' end
  if at_run < run or at_mark < acknowledged then return 'm' end
  if mark <= at_mark then return 'k' end
  local moved = {mark_field, ARGV[6]}
  for i = 9, pairs_end, 2 do
    local seq_field = 'seq:' .. ARGV[i]
    if tonumber(ARGV[i + 1]) > (tonumber(redis.call('HGET', KEYS[2], seq_field) or '') or -1) then
      moved[#moved + 1], moved[#moved + 2] = seq_field, ARGV[i + 1]
    end
  end
  redis.call('HSET', KEYS[2], unpack(moved))
  return 'k'
end

local verdicts = {}
local prefix_length = tonumber(ARGV[3])
for i = 3, #KEYS do
  local value = ARGV[pairs_end + i - 2]
  local verdict = compare(KEYS[i], value)
  if verdict == 'n' then
    -- The pointer first: if one of the two is refused, a pointer too many does no harm, a list without its pointer does.
    if ARGV[2] ~= '0' then
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*',
        'k', string.sub(KEYS[i], prefix_length + 1), 'v', string.sub(value, 2, 25))
    end
    redis.call('SET', KEYS[i], value, 'PX', ARGV[1])
  end
  verdicts[i - 2] = verdict
end
return move() .. table.concat(verdicts)
