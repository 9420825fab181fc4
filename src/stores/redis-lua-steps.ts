/** The scripts of the Redis store that make commits, after their common parts (`redis-lua.ts`). */

/**
 * Arguments: the plan's numbers (kind, what of the metadata, revisions that must hold, time, counts), request id, fingerprint,
 * what to keep ("" or "+" and bytes), metadata; then checks and guards as key and revision, and writes as key, how, value.
 */
export const PLAN: string = `
local s = read()
local EVENT, META = sub(ARGV[5], 1, 1), sub(ARGV[5], 2, 2)
local IF_REVISION, AT_REVISION, AT_METADATA, TIME, CHECKS, GUARDS, WRITES = parse('>ddddI4I4I4', ARGV[5], 3)
local REQUEST, FINGERPRINT, KEPT = ARGV[6], ARGV[7], ARGV[8]

local function plan()
  if s then settle(s) end
  local answer = answerOf(REQUEST)
  if answer then
    -- A write, so that waiting for replicas covers all that was written before it.
    if CONFIRM == 1 then s.dirty = true end
    if sub(answer, 26, 49) ~= FINGERPRINT then return { 'reused' } end
    return { 'replayed', sub(answer, 1, 25), sub(answer, 50) }
  end
  if AT_REVISION >= 0 and AT_REVISION ~= (s and s.r or 0) then return { 'stale' } end
  if AT_METADATA >= 0 and AT_METADATA ~= (s and s.mr or 0) then return { 'stale' } end

  local keys, at = {}, 10
  for i = 1, CHECKS + GUARDS do keys[i] = ARGV[8 + 2 * i] end
  at = 10 + 2 * (CHECKS + GUARDS)
  for i = 0, WRITES - 1 do insert(keys, ARGV[at + 3 * i]) end
  local heads = s and s.m and fetch(E, keys) or {}
  local function revisionAt(i)
    if not heads[i] then return 0 end
    local revision, expire = parse('>dd', heads[i])
    return expire == -2 and 0 or revision
  end
  for i = CHECKS + 1, CHECKS + GUARDS do
    if tonumber(ARGV[9 + 2 * i]) ~= revisionAt(i) then return { 'stale' } end
  end
  local failed = { 'failed' }
  local current = s and s.m and s.r or 0
  if IF_REVISION >= 0 and IF_REVISION ~= current then
    insert(failed, '')
    insert(failed, num(IF_REVISION))
    insert(failed, num(current))
  end
  for i = 1, CHECKS do
    local actual = revisionAt(i)
    if tonumber(ARGV[9 + 2 * i]) ~= actual then
      insert(failed, keys[i])
      insert(failed, ARGV[9 + 2 * i])
      insert(failed, num(actual))
    end
  end
  if #failed > 1 then return failed end

  local time = max(TIME >= 0 and TIME or now, s and s.ut or 0)
  local count, bytes = s and s.n or 0, s and s.by or 0
  local before, beforeBytes = count, bytes
  local writes, effective = {}, false
  for i = 1, WRITES do
    local key, how, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    at = at + 3
    local old = heads[CHECKS + GUARDS + i] or nil
    local _, oldExpire, oldSize
    if old then _, oldExpire, oldSize = parse('>ddd', old) end
    if old and oldExpire ~= -2 then
      count = count - 1
      bytes = bytes - #key - oldSize
      effective = true
    end
    local flag, w = sub(how, 1, 1), { key = key, old = old, expire = -1 }
    if flag == '-' or flag == '!' then
      w.always = flag == '!'
      effective = effective or w.always
    else
      effective = true
      w.value = value
      if flag == '=' then w.expire = tonumber(sub(how, 2)) end
      if flag == '+' then w.expire = time + tonumber(sub(how, 2)) end
      count = count + 1
      bytes = bytes + #key + #value
    end
    writes[i] = w
  end
  if META == 'e' and s and s.m then
    effective, count, bytes = true, 0, 0
  end
  if META == 'm' then effective = true end
  if (count > MAX_ENTRIES and count > before) or (bytes > MAX_BYTES and bytes > beforeBytes) then
    return { 'tooLarge', num(before), num(beforeBytes), num(count), num(bytes) }
  end

  if effective then
    s = s or newHead()
    local meta = nil
    if META == 'e' then
      meta = false
    elseif META == 'm' then
      local created, ttl, expire, idle = parse('>dddd', ARGV[9])
      if created < 0 then created = time end
      if ttl >= 0 then expire = time + ttl end
      meta = pack('>ddd', created, expire, idle) .. sub(ARGV[9], 33)
    elseif not s.m then
      meta = pack('>ddd', time, -1, -1) .. '{}'
    end
    commit(s, EVENT, time, writes, meta, REQUEST)
    -- Now and then, in larger pieces.
    if s.r - s.o >= HISTORY + 16 then drop(s, min(s.r - HISTORY, s.o + 255)) end
  end
  local result = pack('>ddd', now, s and s.m and s.r or 0, s and s.m and s.ut or -1) .. (effective and '1' or '0')
  if REQUEST ~= '' then
    s = s or newHead()
    call('HSET', Q, REQUEST, result .. FINGERPRINT .. KEPT)
    call('RPUSH', QL, REQUEST)
    s.keep = min(s.keep or NEVER, now + RETENTION)
    s.dirty = true
  end
  return { 'done', result }
end

local result = plan()
if s and s.dirty then save(s) end
return result
`;

/**
 * Writes the head again as it is: waiting for replicas then covers all that was written before. Argument: a request id whose
 * answer has to be there, or "". Gives 1, or 0: it is not.
 */
export const TOUCH: string = `
if ARGV[5] ~= '' and not call('HGET', Q, ARGV[5]) then return 0 end
local h = call('HGET', H, 'h')
if h then call('HSET', H, 'h', h) end
return 1
`;

/**
 * Returns whether there is more to do, and when to look again or "".
 */
export const MAINTAIN: string = `
local s = read()
if not s then
  call('ZREM', DUE, REF)
  return { 0, '' }
end
settle(s)
local more = 0
local oldest = NEVER
while s.o <= s.r and more == 0 do
  -- A piece of 256 events.
  local last = min(s.r, s.o + 255)
  local fields = {}
  for r = s.o, last do insert(fields, num(r)) end
  local through = s.o - 1
  for i, record in ipairs(fetch(L, fields)) do
    local time = record and eventOf(record).time or -NEVER
    if time + AGE > now and s.r - s.o - i + 1 < HISTORY then
      oldest = time + AGE
      break
    end
    through = s.o + i - 1
  end
  local all = through == last
  drop(s, through)
  if not all then break end
  if s.o <= s.r then more = 1 end
end
local ids = call('LRANGE', QL, 0, 255)
local outdated, passed, waiting = {}, 0, NEVER
for i, answer in ipairs(fetch(Q, ids)) do
  local time = answer and parse('>d', answer) or -NEVER
  if time + RETENTION > now then
    waiting = time + RETENTION
    break
  end
  insert(outdated, ids[i])
  passed = i
end
if passed > 0 then
  many('HDEL', Q, outdated)
  call('LTRIM', QL, passed, -1)
end
if passed == 256 then more = 1 end
if not s.m and s.o > s.r and call('EXISTS', Q) == 0 then
  local base = tonumber(call('HGET', FLOORS, NS) or 0)
  if s.r > base then call('HSET', FLOORS, NS, num(s.r)) end
  if s.committed then save(s) end
  call('UNLINK', H, E, K, V, L, Q, QL, X)
  call('ZREM', IDX, 'k' .. REF)
  call('ZREM', DUE, REF)
  return { 0, '' }
end
s.keep = nil
local due = min(deadline(s), s.kx >= 0 and s.kx or NEVER, oldest, waiting, more == 1 and now or NEVER)
if due == NEVER then
  call('ZREM', DUE, REF)
  s.due = -1
elseif due ~= s.due then
  call('ZADD', DUE, num(due), REF)
  s.due = due
end
save(s)
return { more, s.due >= 0 and num(s.due) or '' }
`;
