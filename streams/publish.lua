-- Publishes lists, newest wins: called once for some hundred users, or for none, to move the marker alone.
--
-- KEYS[1]      the feed, a stream of pointers
-- KEYS[2]      the marker: how far one worker has published, a hash of run, mark and seq
-- KEYS[3 ...]  one list key a slate
-- ARGV[1]      time to live of a list, ms
-- ARGV[2]      about how many pointers the feed keeps; 0: these lists have no pointers
-- ARGV[3]      length of what stands before LIST:USER in a list key
-- ARGV[4]      the writer's run; 0: it keeps no marker
-- ARGV[5]      number of this call in the run, the marker's next mark
-- ARGV[6]      the greatest mark of the run that was acknowledged when this call was made
-- ARGV[7]      the marker's next seq
-- ARGV[8 ...]  one value a slate, in the keys' order: format byte, 24 bytes of version, body
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

-- After the lists: whoever finds the mark finds them. Calls under way together may come in any order, so it never goes back.
local function move()
  local run, mark, acknowledged = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  if run == 0 then return '-' end
  local stored = redis.pcall('HMGET', KEYS[2], 'run', 'mark')
  local at_run = not stored.err and tonumber(stored[1] or '') or -1
  local at_mark = not stored.err and tonumber(stored[2] or '') or -1
  if at_run > run then return 'l' end
  if at_run < run or at_mark < acknowledged then return 'm' end
  if mark > at_mark then redis.call('HSET', KEYS[2], 'mark', ARGV[5], 'seq', ARGV[7]) end
  return 'k'
end

local verdicts = {}
local prefix_length = tonumber(ARGV[3])
for i = 3, #KEYS do
  local value = ARGV[i + 5]
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
