-- Adds items to a set that is one value, or takes them out (the layout is in schemas/item_sets.py).
--
-- KEYS[1]      the set
-- ARGV[1]      "add" or "remove"
-- ARGV[2]      how many items it may hold
-- ARGV[3]      "oldest": beyond that the oldest give way; "refuse": nothing is changed and -1 returned
-- ARGV[4]      time to live, ms; 0: for ever
-- ARGV[5 ...]  item ids
--
-- Returns the set's version, as a string; "-1" if it is full. Adding what is there and removing what is not changes nothing.

local stored = redis.call('GET', KEYS[1])
local version, items, there = 0, {}, {}
if stored and #stored >= 9 and string.byte(stored) == 1 then
  version = struct.unpack('>I8', stored, 2)
  for item in string.gmatch(string.sub(stored, 10), '[^%z]+') do
    items[#items + 1] = item
    there[item] = true
  end
end

local changed = false
local named = {}
for i = 5, #ARGV do named[ARGV[i]] = true end
if ARGV[1] == 'add' then
  for i = 5, #ARGV do
    if not there[ARGV[i]] then
      items[#items + 1] = ARGV[i]
      there[ARGV[i]] = true
      changed = true
    end
  end
  local most = tonumber(ARGV[2])
  if #items > most then
    if ARGV[3] == 'refuse' then return '-1' end
    local newest = {}
    for i = #items - most + 1, #items do newest[#newest + 1] = items[i] end
    items = newest
  end
else
  local kept = {}
  for _, item in ipairs(items) do
    if named[item] then changed = true else kept[#kept + 1] = item end
  end
  items = kept
end
if not changed then
  if stored and tonumber(ARGV[4]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
  return string.format('%.0f', version)
end

-- The clock keeps versions rising when the key was lost and the set begins anew; below 2^53, so a Lua number holds it.
local now = redis.call('TIME')
version = math.max(version + 1, tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
local value = '\1' .. struct.pack('>I8', version) .. table.concat(items, '\0')
if tonumber(ARGV[4]) > 0 then
  redis.call('SET', KEYS[1], value, 'PX', ARGV[4])
else
  redis.call('SET', KEYS[1], value)
end
return string.format('%.0f', version)
