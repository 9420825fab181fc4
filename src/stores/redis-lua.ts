/**
 * The parts that the scripts of the Redis store are made of, in Lua. Each script gets the same keys, all of one session and its
 * bucket, and begins with the same arguments: the time (`""`: the server's), the namespace, the session's id, the settings.
 *
 * | key | what |
 * | --- | --- |
 * | H | hash: `h` the head's numbers, `m` the metadata of a live session (three numbers, then JSON) |
 * | E | hash: each key with the revision, expiry and size of its entry; of a removed one as long as history needs it |
 * | K | sorted set: the keys of E in order |
 * | V | hash: revision and key, with times and value of each version; revision alone: metadata that was replaced then |
 * | L | hash: each kept revision with its event: the keys that it wrote, and which versions it replaced |
 * | Q, QL | hash and list: answers by request id, and the ids in order of time |
 * | X | sorted set: keys that expire, by deadline |
 * | IDX | of the bucket, in byte order: known (k) and live (i) sessions, and by workflow (w), user (u), label (l) |
 * | DUE | of the bucket: sessions by when to look at them next |
 * | TIMES | of the bucket and namespace: live sessions by the time of their last commit, negated |
 * | FLOORS | of the bucket: each namespace with the highest revision of a forgotten session |
 * | FEED | of the bucket: the stream of its latest commits |
 *
 * The last key of each call never exists. In a cluster a server that hands a slot to another refuses calls of which a key is
 * missing, so no script runs half on one server: either all of the slot is here or nothing runs.
 *
 * What ends a session renames E and K, so its cost does not hang on the session's size; V stays. A commit adds versions and
 * never copies one: history is what was not yet dropped.
 *
 * Times and revisions are doubles, most significant byte first; -1: none; -2 as an expiry: the key is removed.
 */

/** Begins every script. */
export const BASE: string = `
local call, pack, parse, sub = redis.call, struct.pack, struct.unpack, string.sub
local max, min, floor, insert = math.max, math.min, math.floor, table.insert
local H, E, K, V, L, Q, QL, X, IDX, DUE, TIMES, FLOORS, FEED = unpack(KEYS)
local NS, ID = ARGV[2], ARGV[3]
local HISTORY, AGE, RETENTION, MAX_ENTRIES, MAX_BYTES, FEED_LENGTH, CONFIRM = parse('>ddddddd', ARGV[4])
local REF = pack('>I2', #NS) .. NS .. ID
local NEVER = math.huge
local now
if ARGV[1] == '' then
  local t = call('TIME')
  now = t[1] * 1000 + floor(t[2] / 1000)
else
  now = tonumber(ARGV[1])
end

local function num(n) return string.format('%.0f', n) end

local function setMetadata(s, m)
  s.m = m
  if m then s.ct, s.ex, s.it = parse('>ddd', m) end
end

local function headOf(h, m)
  if not h then return nil end
  local s = {}
  s.r, s.born, s.o, s.x, s.mr, s.ut, s.at, s.n, s.by, s.due, s.kx = parse('>ddddddddddd', h)
  s.ends = sub(h, 89)
  s.h = h
  setMetadata(s, m)
  return s
end

local function read()
  local fields = call('HMGET', H, 'h', 'm')
  return headOf(fields[1], fields[2])
end

local function oldestOf(s) return max(s.o, s.r - HISTORY + 1) end

local function deadline(s)
  local at = NEVER
  if s.m then
    if s.ex >= 0 then at = s.ex end
    if s.it >= 0 then at = min(at, s.at + s.it) end
  end
  return at
end

local function isDue(s)
  return s ~= nil and s.m and (deadline(s) <= now or (s.kx >= 0 and s.kx <= now))
end

-- Key E or K of the life of a session that a revision ended.
local function lifeKey(key, revision)
  local at = string.find(key, '}', 1, true)
  return sub(key, 1, at) .. 'E' .. num(revision) .. ':' .. sub(key, at + 1)
end

-- Commands that take many arguments: Lua can pass about 8,000 at once.
local function many(command, key, list)
  for i = 1, #list, 4000 do call(command, key, unpack(list, i, min(i + 3999, #list))) end
end

local function fetch(key, fields)
  if #fields <= 4000 then
    if #fields == 0 then return {} end
    return call('HMGET', key, unpack(fields))
  end
  local all = {}
  for i = 1, #fields, 4000 do
    local some = call('HMGET', key, unpack(fields, i, min(i + 3999, #fields)))
    for j = 1, #some do all[i + j - 1] = some[j] end
  end
  return all
end

-- What an event says: kind, whether it ended the session, time, expiry, the revision of the metadata, where its keys begin.
local function eventOf(record)
  local time, expire, mrev, length, at = parse('>dddI2', record, 3)
  return { kind = sub(record, 1, 1), ended = sub(record, 2, 2) == '1', time = time, expire = expire,
    mrev = mrev, at = at + length }
end

-- Calls visit(key, removed, the revision that it replaced or 0) for each key of an event.
local function eachKey(record, event, visit)
  local at = event.at
  while at <= #record do
    local flag = sub(record, at, at)
    local before, length, next = parse('>dI2', record, at + 1)
    visit(sub(record, next, next + length - 1), flag == '1', before)
    at = next + length
  end
end
`;

/** Makes commits; the head is written by \`save\`, once a call. */
export const COMMIT: string = `
local function members(m)
  local list = { 'i' .. REF }
  if #m > 26 then
    local meta, ns = cjson.decode(sub(m, 25)), sub(REF, 1, 2 + #NS)
    if meta.w then insert(list, 'w' .. ns .. pack('>I2', #meta.w) .. meta.w .. ID) end
    if meta.u then insert(list, 'u' .. ns .. pack('>I2', #meta.u) .. meta.u .. ID) end
    for name, text in pairs(meta.l or {}) do
      insert(list, 'l' .. ns .. pack('>I2', #name) .. name .. pack('>I2', #text) .. text .. ID)
    end
  end
  return list
end

local function reindex(before, after)
  if before and after and sub(before, 25) == sub(after, 25) then return end
  if before then call('ZREM', IDX, unpack(members(before))) end
  if after then
    local list = {}
    for _, member in ipairs(members(after)) do
      insert(list, 0)
      insert(list, member)
    end
    call('ZADD', IDX, unpack(list))
  end
end

local function newHead()
  local base = tonumber(call('HGET', FLOORS, NS) or 0)
  return { r = base, born = base, o = base + 1, x = 0, mr = 0, ut = 0, at = 0, n = 0, by = 0, due = -1,
    kx = -1, ends = '', m = false, fresh = true, dirty = true }
end

-- meta: nil: as it was; false: the session ends. writes: key, value (nil: removed), expire, always, old (its E).
local function commit(s, kind, time, writes, meta, requestId)
  local r, before = s.r + 1, s.m
  local mrev, flag = s.mr, '0'
  if meta ~= nil then
    -- Told apart from the versions of keys by having none.
    if before then call('HSET', V, pack('>d', s.mr), before) end
    if meta then mrev = r else flag = '1' end
    s.mr = r
    s.metadataDirty = true
  end
  local record = {}
  if meta == false then
    if call('EXISTS', E) == 1 then
      call('RENAME', E, lifeKey(E, r))
      call('RENAME', K, lifeKey(K, r))
      s.ends = s.ends .. pack('>d', r)
    end
    call('DEL', X)
    s.n, s.by, s.kx = 0, 0, -1
    if kind == 'X' then s.x = r end
  else
    local heads, versions, keys, timed, untimed = {}, {}, {}, {}, {}
    for _, w in ipairs(writes) do
      local key, value, old = w.key, w.value, w.old
      local oldRevision, oldExpire, oldSize
      if old then oldRevision, oldExpire, oldSize = parse('>ddd', old) end
      local was = old and oldExpire ~= -2
      if was and oldExpire >= 0 and (not value or w.expire < 0) then insert(untimed, key) end
      if value then
        local previous, ended = 0, 0
        if was then
          previous, ended = oldRevision, r
          s.by = s.by - oldSize
        else
          s.n = s.n + 1
          s.by = s.by + #key
          if old then previous, ended = parse('>d', old, 25), oldRevision end
        end
        s.by = s.by + #value
        insert(heads, key)
        insert(heads, pack('>ddd', r, w.expire, #value))
        insert(versions, pack('>d', r) .. key)
        insert(versions, pack('>dddd', time, w.expire, previous, ended) .. value)
        if not old then
          insert(keys, 0)
          insert(keys, key)
        end
        if w.expire >= 0 then
          insert(timed, num(w.expire))
          insert(timed, key)
        end
        insert(record, '0' .. pack('>dI2', was and oldRevision or 0, #key) .. key)
      elseif was then
        s.n = s.n - 1
        s.by = s.by - #key - oldSize
        insert(heads, key)
        insert(heads, pack('>dddd', r, -2, 0, oldRevision))
        insert(record, '1' .. pack('>dI2', oldRevision, #key) .. key)
      elseif w.always then
        insert(record, '1' .. pack('>dI2', 0, #key) .. key)
      end
    end
    many('HSET', E, heads)
    many('HSET', V, versions)
    many('ZADD', K, keys)
    many('ZADD', X, timed)
    many('ZREM', X, untimed)
    if #timed > 0 or #untimed > 0 then
      s.kx = tonumber(call('ZRANGE', X, 0, 0, 'WITHSCORES')[2] or -1)
    end
  end
  s.r, s.ut = r, time
  if kind ~= 'X' then s.at = time end
  if meta ~= nil then
    setMetadata(s, meta)
    reindex(before, meta)
  end
  local expire = deadline(s)
  if expire == NEVER then expire = -1 end
  call('HSET', L, num(r), kind .. flag .. pack('>dddI2', time, expire, mrev, #requestId) .. requestId
    .. table.concat(record))
  if s.m then call('ZADD', TIMES, num(-time), ID) else call('ZREM', TIMES, ID) end
  call('XADD', FEED, 'MAXLEN', '~', num(FEED_LENGTH), '0-*', 'c', kind .. pack('>dddI2', r, time, expire, #NS)
    .. NS .. pack('>I2', #ID) .. ID .. (s.m or before))
  s.keep = min(s.keep or NEVER, now + AGE)
  s.dirty, s.committed = true, true
end

-- Does what is due for a session.
local function settle(s)
  if not isDue(s) then return end
  local time = max(now, s.ut)
  if deadline(s) <= now then
    commit(s, 'X', time, {}, false, '')
  else
    local keys = call('ZRANGEBYSCORE', X, '-inf', num(now))
    local heads, writes = fetch(E, keys), {}
    for i, key in ipairs(keys) do writes[i] = { key = key, old = heads[i] } end
    commit(s, 'X', time, writes, nil, '')
  end
end

-- Forgets the events up to a revision and the versions that they replaced.
local function drop(s, last)
  if last < s.o then return end
  local fields = {}
  for r = s.o, last + 1 do insert(fields, num(r)) end
  local records = fetch(L, fields)
  local versions, removed, removedAt, gone = {}, {}, {}, {}
  local events = {}
  for i, record in ipairs(records) do events[i] = record and eventOf(record) end
  for i = 1, last - s.o + 1 do
    local record, event, r = records[i], events[i], s.o + i - 1
    insert(gone, fields[i])
    if record then
      eachKey(record, event, function(key, isRemoved, before)
        if before > 0 then insert(versions, pack('>d', before) .. key) end
        if isRemoved then
          insert(removed, key)
          insert(removedAt, r)
        end
      end)
      local following = r < s.r and events[i + 1] or nil
      if event.mrev ~= s.mr and not (following and following.mrev == event.mrev) then
        insert(versions, pack('>d', event.mrev))
      end
      if event.ended then
        local life = lifeKey(E, r)
        local all = call('HGETALL', life)
        for j = 1, #all, 2 do
          local revision, expire = parse('>dd', all[j + 1])
          if expire ~= -2 then insert(versions, pack('>d', revision) .. all[j]) end
        end
        call('UNLINK', life, lifeKey(K, r))
        local rest = ''
        for at = 1, #s.ends, 8 do
          local mark = sub(s.ends, at, at + 7)
          if mark ~= pack('>d', r) then rest = rest .. mark end
        end
        s.ends = rest
      end
    end
  end
  -- A removed key is noted until the event that removed it goes, unless it was written again since.
  local heads, keys = fetch(E, removed), {}
  for i, key in ipairs(removed) do
    if heads[i] then
      local revision, expire = parse('>dd', heads[i])
      if expire == -2 and revision == removedAt[i] then insert(keys, key) end
    end
  end
  many('HDEL', L, gone)
  many('HDEL', V, versions)
  many('HDEL', E, keys)
  many('ZREM', K, keys)
  s.o = last + 1
  s.dirty = true
end

local function save(s)
  local due = min(deadline(s), s.keep or NEVER, s.kx >= 0 and s.kx or NEVER)
  if due < NEVER and (s.due < 0 or due < s.due) then
    call('ZADD', DUE, num(due), REF)
    s.due = due
  end
  s.h = pack('>ddddddddddd', s.r, s.born, s.o, s.x, s.mr, s.ut, s.at, s.n, s.by, s.due, s.kx) .. s.ends
  if s.metadataDirty and s.m then
    call('HSET', H, 'h', s.h, 'm', s.m)
  else
    call('HSET', H, 'h', s.h)
    if s.metadataDirty then call('HDEL', H, 'm') end
  end
  if s.fresh then call('ZADD', IDX, 0, 'k' .. REF) end
  if s.committed then call('SPUBLISH', sub(H, 1, string.find(H, '}', 1, true)) .. 'hints', REF) end
end
`;

/** The answer of a request id, if it is kept and within the retention. */
export const ANSWERS: string = `
local function answerOf(requestId)
  local answer = requestId ~= '' and call('HGET', Q, requestId)
  if answer and parse('>d', answer) + RETENTION > now then return answer end
  return nil
end
`;
