/** The scripts of the Redis store that look at a bucket, after their common parts (`redis-lua.ts`). */

/**
 * Lists a bucket. Arguments: source (an index and its component), id prefix, workflow, user, after and before (exclusive
 * times or ""), labels as JSON, the place to go on after as id and time or -1, how many to find, "t" for the
 * order of times. Gives what it found as id, head,
 * metadata; where to go on, "" at the end; and sessions that are due, in which case the rest does not count.
 */
export const LIST: string = `
local SOURCE, PREFIX, WORKFLOW, USER, BY_TIME = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[15] == 't'
local AFTER, BEFORE, LABELS = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] ~= '' and cjson.decode(ARGV[11])
local FROM, FROM_TIME, COUNT = ARGV[12], tonumber(ARGV[13]), tonumber(ARGV[14])
local here = sub(H, 1, string.find(H, '}', 1, true))
local PARTS = sub(H, #here + 2)
local found, due, examined = {}, {}, 0

local function less(a, b)
  for i = 1, min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function matches(s)
  if (AFTER and s.ut <= AFTER) or (BEFORE and s.ut >= BEFORE) then return false end
  if WORKFLOW == '' and USER == '' and not LABELS then return true end
  local meta = cjson.decode(sub(s.m, 25))
  if WORKFLOW ~= '' and meta.w ~= WORKFLOW then return false end
  if USER ~= '' and meta.u ~= USER then return false end
  for name, text in pairs(LABELS or {}) do
    if not meta.l or meta.l[name] ~= text then return false end
  end
  return true
end

-- Takes a session if it matches; says whether to go on.
local function take(id)
  examined = examined + 1
  local fields = call('HMGET', here .. 'h' .. PARTS .. id, 'h', 'm')
  local s = headOf(fields[1], fields[2])
  if isDue(s) then
    insert(due, id)
  elseif s and s.m and sub(id, 1, #PREFIX) == PREFIX and matches(s) then
    insert(found, id)
    insert(found, fields[1])
    insert(found, fields[2])
  end
  return #found < 3 * COUNT and #due < 100
end

local going, place, placeTime, done = true, FROM, FROM_TIME, false
local low, high = '[' .. SOURCE .. PREFIX, '(' .. SOURCE .. PREFIX .. '\\255'
local candidates = nil
if BY_TIME and (PREFIX ~= '' or sub(SOURCE, 1, 1) ~= 'i') then
  -- Few of many: sorting them is less to look at than finding them among all, by the time.
  local matching = call('ZLEXCOUNT', IDX, low, high)
  if matching * matching <= 16 * COUNT * call('ZCARD', TIMES) then
    candidates = {}
    for _, member in ipairs(call('ZRANGE', IDX, low, high, 'BYLEX')) do
      local id = sub(member, #SOURCE + 1)
      local time = -tonumber(call('ZSCORE', TIMES, id))
      if FROM_TIME < 0 or time < FROM_TIME or (time == FROM_TIME and less(FROM, id)) then
        insert(candidates, { id = id, time = time })
      end
    end
    table.sort(candidates, function(a, b)
      if a.time ~= b.time then return a.time > b.time end
      return less(a.id, b.id)
    end)
  end
end
if candidates then
  for i, candidate in ipairs(candidates) do
    if going then
      place, placeTime = candidate.id, candidate.time
      going = take(place)
      done = i == #candidates
    end
  end
  done = done or #candidates == 0
elseif BY_TIME then
  local start, stop = 0, NEVER
  if AFTER then stop = call('ZCOUNT', TIMES, '-inf', '(' .. num(-AFTER)) - 1 end
  if BEFORE then start = call('ZCOUNT', TIMES, '-inf', num(-BEFORE)) end
  if FROM_TIME >= 0 then
    -- Sessions of one time stand in the order of their ids: the first of them after the place.
    local low = call('ZCOUNT', TIMES, '-inf', '(' .. num(-FROM_TIME))
    local high = low + call('ZCOUNT', TIMES, num(-FROM_TIME), num(-FROM_TIME))
    while low < high do
      local middle = floor((low + high) / 2)
      if less(FROM, call('ZRANGE', TIMES, middle, middle)[1]) then high = middle else low = middle + 1 end
    end
    start = max(start, low)
  end
  done = start > stop
  while going and not done and examined < 400 do
    local last = min(start + min(COUNT, 100) - 1, stop)
    local ids = call('ZRANGE', TIMES, start, last, 'WITHSCORES')
    for i = 1, #ids, 2 do
      if going then
        place, placeTime = ids[i], -tonumber(ids[i + 1])
        going = take(place)
      end
    end
    start = last + 1
    done = going and (#ids == 0 or start > stop)
  end
else
  if FROM_TIME >= 0 and (FROM == PREFIX or less(PREFIX, FROM)) then low = '(' .. SOURCE .. FROM end
  while going and not done and examined < 400 do
    local list = call('ZRANGE', IDX, low, high, 'BYLEX', 'LIMIT', 0, min(COUNT, 100))
    for _, member in ipairs(list) do
      if going then
        low = '(' .. member
        place, placeTime = sub(member, #SOURCE + 1), 0
        going = take(place)
      end
    end
    done = going and #list < min(COUNT, 100)
  end
end
return { found, done and '' or '+' .. place, num(placeTime), due }
`;

/**
 * Arguments: how many. Gives now, the sessions that are due, and when the next one is.
 */
export const DUE_LIST: string = `
local refs = call('ZRANGE', DUE, '-inf', num(now), 'BYSCORE', 'LIMIT', 0, ARGV[5])
local following = call('ZRANGE', DUE, '(' .. num(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2] or ''
return { num(now), refs, following }
`;
