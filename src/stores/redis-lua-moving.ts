/** The scripts of the Redis store that move sessions and rewrite values, after their common parts (`redis-lua.ts`). */

/** What dumps read. */
export const DUMPING: string = `
-- Events as revision, record, metadata, as far as they fit; and the room that is left.
local function dumpEvents(s, from, to, room)
  local events = {}
  for r = max(from, s.o), min(to, s.r) do
    local record = call('HGET', L, num(r))
    local event = eventOf(record)
    insert(events, num(r))
    insert(events, record)
    insert(events, event.mrev == s.mr and s.m or call('HGET', V, pack('>d', event.mrev)))
    room = room - #record - #events[#events]
    if room < 0 then break end
  end
  return events, room
end

-- Versions of the keys of one life, as they were at a revision: key, revision, end or -1, version. The life is the one that a
-- revision ended, or with -1 that of the revision. Begins where another call had no room left; gives where this one had none,
-- "" at the end. Such a place is a key, and before it the version of that key to go on with, and its end.
local function dumpVersions(s, at, oldest, life, from, room)
  local e, k = E, K
  if life >= 0 then
    e, k = lifeKey(E, life), lifeKey(K, life)
  else
    for i = 1, #s.ends, 8 do
      local ended = parse('>d', s.ends, i)
      if ended > at then
        e, k = lifeKey(E, ended), lifeKey(K, ended)
        break
      end
    end
  end
  local found, low = {}, '-'
  -- Also counts versions that came since: they are read too.
  local function chain(key, revision, ended)
    while revision > 0 and (ended < 0 or ended > oldest) do
      local version = call('HGET', V, pack('>d', revision) .. key)
      if not version then return nil end
      if revision <= at then
        insert(found, key)
        insert(found, num(revision))
        insert(found, num(ended > at and -1 or ended))
        insert(found, version)
      end
      room = room - #version - #key
      revision, ended = parse('>dd', version, 17)
      if room < 0 then return pack('>dd', revision, ended) .. key end
    end
    return nil
  end
  if from ~= '' then
    local key = sub(from, 17)
    local place = chain(key, parse('>dd', from))
    if place then return found, place, room end
    low = '(' .. key
  end
  while true do
    local keys = call('ZRANGE', k, low, '+', 'BYLEX', 'LIMIT', 0, 64)
    if #keys == 0 then return found, '', room end
    local heads = fetch(e, keys)
    for i, key in ipairs(keys) do
      low = '(' .. key
      local revision, expire = parse('>dd', heads[i])
      local ended = life
      if expire == -2 then revision, ended = parse('>d', heads[i], 25), revision end
      local place = chain(key, revision, ended)
      if place then return found, place, room end
    end
  end
end
`;

/** Reads all of a session, if it has room. Arguments: bytes. Gives head, metadata, events, versions, answers; `large` if not. */
export const DUMP_WHOLE: string = `
if not s then return false end
local oldest = oldestOf(s)
local events, room = dumpEvents(s, oldest, s.r, tonumber(ARGV[5]))
local lives, versions = { -1 }, {}
for at = 1, #s.ends, 8 do
  local ended = parse('>d', s.ends, at)
  if ended > oldest then insert(lives, ended) end
end
for _, life in ipairs(lives) do
  if room < 0 then return 'large' end
  local found
  found, _, room = dumpVersions(s, s.r, oldest, life, '', room)
  for i = 1, #found do insert(versions, found[i]) end
end
if room < 0 or call('HLEN', Q) > 1000 then return 'large' end
local answers = {}
for _, id in ipairs(call('HKEYS', Q)) do
  local answer = call('HGET', Q, id)
  room = room - #id - #answer
  if room < 0 then return 'large' end
  if parse('>d', answer) + RETENTION > now then
    insert(answers, id)
    insert(answers, answer)
  end
end
return { s.h, s.m, events, versions, answers }
`;

/** Reads some events. Arguments: from, to, bytes. Gives the oldest kept revision, and events. */
export const DUMP_EVENTS: string = `
local s = read()
if not s then return false end
local events = dumpEvents(s, tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
return { num(s.o), events }
`;

/**
 * Reads some versions. Arguments: the revision, the oldest kept one, the life, where to go on, bytes. Gives versions and where
 * to go on.
 */
export const DUMP_VERSIONS: string = `
local s = read()
if not s then return false end
local found, last = dumpVersions(s, tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9]))
return { found, last }
`;

/** Seconds after which what was put aside and not used is gone. */
const STAGED_SECONDS = 3600;

/**
 * Puts parts of a session aside. Arguments: what the names of the keys begin with; then how (h: of a hash, z: of a sorted set,
 * r: of a list, p: what stands at 17 in a value of a hash), the rest of the key's name, field, value.
 */
export const STAGE: string = `
local used = {}
for i = 6, #ARGV, 4 do
  local how, key, field, value = ARGV[i], ARGV[5] .. ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if how == 'h' then
    call('HSET', key, field, value)
  elseif how == 'z' then
    call('ZADD', key, value, field)
  elseif how == 'r' then
    call('RPUSH', key, field)
  else
    local version = call('HGET', key, field)
    call('HSET', key, field, sub(version, 1, 16) .. value .. sub(version, 33))
  end
  used[key] = true
end
for key in pairs(used) do call('EXPIRE', key, ${STAGED_SECONDS}) end
return 1
`;

/**
 * Puts what was put aside in the place of a session. Arguments: what the names begin with, the head's numbers ("": nothing),
 * metadata or "", how many versions, events and answers were put aside, the first time at which to look again or -1.
 */
export const ADOPT: string = `
local STAGED, HEAD, META, VERSIONS, EVENTS, ANSWERS, DUE_AT = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]),
  tonumber(ARGV[10]), tonumber(ARGV[11])
if call('HLEN', STAGED .. 'v') ~= VERSIONS or call('HLEN', STAGED .. 'l') ~= EVENTS
  or call('HLEN', STAGED .. 'q') ~= ANSWERS then
  return 0
end
local old = read()
if old then
  for at = 1, #old.ends, 8 do
    local ended = parse('>d', old.ends, at)
    call('UNLINK', lifeKey(E, ended), lifeKey(K, ended))
  end
  call('UNLINK', H, E, K, V, L, Q, QL, X)
  if old.m then reindex(old.m, nil) end
  call('ZREM', TIMES, ID)
  call('ZREM', DUE, REF)
  call('ZREM', IDX, 'k' .. REF)
end
if HEAD == '' then return 1 end
local s = headOf(HEAD, META ~= '' and META)
local function take(name, key)
  if call('EXISTS', STAGED .. name) == 1 then
    call('RENAME', STAGED .. name, key)
    call('PERSIST', key)
  end
end
take('e', E)
take('k', K)
take('v', V)
take('l', L)
take('q', Q)
take('r', QL)
take('x', X)
for at = 1, #s.ends, 8 do
  local ended = parse('>d', s.ends, at)
  take('e' .. num(ended), lifeKey(E, ended))
  take('k' .. num(ended), lifeKey(K, ended))
end
if s.m then
  reindex(nil, s.m)
  call('ZADD', TIMES, num(-s.ut), ID)
end
s.keep = DUE_AT >= 0 and DUE_AT or NEVER
s.fresh, s.committed, s.metadataDirty = true, true, true
save(s)
return 1
`;

/** Puts new values in the place of old ones. Arguments: field of V, the version as it was read, the new one. Gives how many. */
export const REWRITE: string = `
local s = read()
local count, heads = 0, {}
for i = 5, #ARGV, 3 do
  local field, before, after = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if s and call('HGET', V, field) == before then
    call('HSET', V, field, after)
    count = count + 1
    local key = sub(field, 9)
    local head = s.m and call('HGET', E, key)
    if head then
      local revision, expire, size = parse('>ddd', head)
      if expire ~= -2 and revision == parse('>d', field) and #after ~= #before then
        call('HSET', E, key, pack('>ddd', revision, expire, #after - 32))
        s.by = s.by + #after - #before
        s.dirty = true
      end
    end
  end
end
if s and s.dirty then save(s) end
return count
`;
