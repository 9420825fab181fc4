/** The scripts of the Redis store that look at one session, after their common parts (`redis-lua.ts`). */

/**
 * Arguments: which entries ("" none, k keys, p prefix, P page), at which revision or -1, request id, floor of the page; then the
 * keys, or prefix, from, reverse, count, bytes. Gives now, head, metadata, floor, answer, the moment, more, and the entries as
 * key, revision, version.
 */
export const LOOK: string = `
local WHICH, AT, REQUEST = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local known = s ~= nil and (AT < 0 or AT == s.r or (AT >= oldestOf(s) and AT < s.r))
local past = known and AT >= 0 and AT < s.r
local entries, more, moment = {}, 0, false
local e, k = E, K
if past then
  local record = call('HGET', L, num(AT))
  local event = eventOf(record)
  local m = false
  if not event.ended then
    if event.mrev == s.mr then m = s.m else m = call('HGET', V, pack('>d', event.mrev)) end
  end
  moment = { pack('>dd', event.time, event.expire), m }
  for at = 1, #s.ends, 8 do
    local ended = parse('>d', s.ends, at)
    if ended > AT then
      e, k = lifeKey(E, ended), lifeKey(K, ended)
      break
    end
  end
elseif known and AT >= 0 then
  local expire = deadline(s)
  moment = { pack('>dd', s.ut, expire == NEVER and -1 or expire), s.m }
end

-- Finds the versions of some keys and adds them, as far as they go on the page; says whether there is room for another.
local room, count = NEVER, NEVER
local function add(keys)
  local heads = fetch(e, keys)
  local wanted, fields, revisions = {}, {}, {}
  for i, key in ipairs(keys) do
    if heads[i] then
      local revision, expire = parse('>dd', heads[i])
      local ended = NEVER
      if expire == -2 then revision, ended = parse('>d', heads[i], 25), revision end
      while past and revision > AT do
        local version = call('HGET', V, pack('>d', revision) .. key)
        if not version then
          revision = 0
          break
        end
        local before, gap = parse('>dd', version, 17)
        revision, ended = before, gap
      end
      if revision > 0 and ended > (past and AT or s.r) then
        insert(wanted, key)
        insert(revisions, pack('>d', revision))
        insert(fields, pack('>d', revision) .. key)
      end
    end
  end
  for i, version in ipairs(fetch(V, fields)) do
    if not version then return error('a version of an entry is missing') end
    room = room - #wanted[i] - (#version - 32) - 64
    if count == 0 or (room < 0 and #entries > 0) then
      more = 1
      return false
    end
    insert(entries, wanted[i])
    insert(entries, revisions[i])
    insert(entries, version)
    count = count - 1
  end
  return true
end

if known and WHICH == 'k' then
  local keys = {}
  for i = 8, #ARGV do insert(keys, ARGV[i]) end
  add(keys)
elseif known and WHICH ~= '' then
  local prefix, from, reverse = ARGV[8], ARGV[9], ARGV[10] == '1'
  local step = 1000
  if WHICH == 'P' then
    count, room = tonumber(ARGV[11]), tonumber(ARGV[12])
    step = min(64, count + 1)
  end
  local low = prefix == '' and '-' or '[' .. prefix
  local high = prefix == '' and '+' or '(' .. prefix .. '\\255'
  if from ~= '' then
    -- By bytes: Lua's own comparison goes by the server's locale.
    local inside = sub(from, 1, #prefix) == prefix
    local beyond = not inside and from ~= prefix
    if beyond then
      local x, y = 0, 0
      for i = 1, #prefix do
        x, y = string.byte(from, i) or -1, string.byte(prefix, i)
        if x ~= y then break end
      end
      -- From lies before all that begins with the prefix, or after it.
      if reverse and x < y or not reverse and x > y then high, low = '[', '(' end
    elseif reverse then
      high = '(' .. from
    else
      low = '(' .. from
    end
  end
  while true do
    local keys
    if reverse then
      keys = call('ZRANGE', k, high, low, 'BYLEX', 'REV', 'LIMIT', 0, step)
    else
      keys = call('ZRANGE', k, low, high, 'BYLEX', 'LIMIT', 0, step)
    end
    if #keys == 0 or not add(keys) or #keys < step then break end
    if reverse then high = '(' .. keys[#keys] else low = '(' .. keys[#keys] end
  end
end
local base = not s and call('HGET', FLOORS, NS) or '0'
return { num(now), s and s.h or '', s and s.m or false, base, answerOf(REQUEST) or false, moment, more, entries }
`;

/**
 * Arguments: from, to, reverse, count, bytes. Gives head, metadata, floor, and events as revision, record, versions.
 */
export const EVENTS: string = `
local FROM, TO, REVERSE, COUNT, ROOM = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8]),
  tonumber(ARGV[9])
local events = {}
if s then
  local first, last, step = max(FROM, oldestOf(s)), min(TO, s.r), 1
  if REVERSE then first, last, step = last, first, -1 end
  if (last - first) * step >= 0 then
    for r = first, last, step do
      if #events >= 3 * COUNT then break end
      local record = call('HGET', L, num(r))
      local keys, fields = {}, {}
      eachKey(record, eventOf(record), function(key, removed)
        if not removed then insert(fields, pack('>d', r) .. key) end
      end)
      local versions = fetch(V, fields)
      ROOM = ROOM - #record
      for _, version in ipairs(versions) do
        if not version then return error('a version of an entry is missing') end
        ROOM = ROOM - #version
      end
      if ROOM < 0 and #events > 0 then break end
      insert(events, num(r))
      insert(events, record)
      insert(events, versions)
    end
  end
end
local base = not s and call('HGET', FLOORS, NS) or '0'
return { s and s.h or '', s and s.m or false, base, events }
`;
