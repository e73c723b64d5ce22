-- What ended and whose client wants to be told. Tenants are served in turn, so that a long line of
-- one, its receiver dead, is nobody else's wait; and those whose receivers hang have turns of their
-- own, so that calls which take their whole time never hold more than some of a door's places.
-- outbox              job id → when its delivery is due
-- tenant:<t>:outbox   a tenant's entries of it
-- outbox_turns        tenant → when its turn comes: with its first entry, or as it was last served
--                     if that was later; but for those in
-- outbox_slow_turns   the same of the tenants in
-- outbox_slow         tenant → how many quick answers in a row take it back to the turns of all
-- undelivered         job id → when it was given up
local function line_of(who) return key('tenant', who, 'outbox') end

local function turns_of(who)
  local slow = redis.call('HEXISTS', key('outbox_slow'), who) == 1
  return key(slow and 'outbox_slow_turns' or 'outbox_turns')
end

local function leave_turns(who)
  redis.call('ZREM', key('outbox_turns'), who)
  redis.call('ZREM', key('outbox_slow_turns'), who)
end

-- Say when a tenant's turn comes. Where its first entry is due, it keeps the turn that it has.
local function await_turn(who, t)
  local first = redis.call('ZRANGE', line_of(who), 0, 0, 'WITHSCORES')
  if not first[1] then
    leave_turns(who)
    redis.call('HDEL', key('outbox_slow'), who)
  elseif tonumber(first[2]) > t then
    redis.call('ZADD', turns_of(who), first[2], who)
  else
    redis.call('ZADD', turns_of(who), 'LT', stamp(t), who)
  end
end

-- Note how quick a tenant's receiver was; its turn goes with it.
local function note_pace(who, slow)
  local former = turns_of(who)
  local turn = redis.call('ZSCORE', former, who)
  local quick = tonumber(redis.call('HGET', key('outbox_slow'), who) or 0)
  if slow then
    redis.call('HSET', key('outbox_slow'), who, a.quick_in_a_row)
  elseif quick > 1 then
    redis.call('HSET', key('outbox_slow'), who, quick - 1)
  elseif quick == 1 then
    redis.call('HDEL', key('outbox_slow'), who)
  end
  if turn and former ~= turns_of(who) then
    leave_turns(who)
    redis.call('ZADD', turns_of(who), turn, who)
  end
end

-- Have a delivery be due at a time.
local function put_off(id, due, t)
  redis.call('ZADD', key('outbox'), stamp(due), id)
  redis.call('ZADD', line_of(tenant(id)), stamp(due), id)
  await_turn(tenant(id), t)
end

local function withdraw(id, who, t)
  redis.call('ZREM', key('outbox'), id)
  redis.call('ZREM', line_of(who), id)
  await_turn(who, t)
end

local function post(id, t, status)
  local webhook = get(id, 'webhook')
  if not webhook then return end
  for _, event in ipairs(cjson.decode(webhook).events) do
    if event == 'job.' .. status then
      set(id, 'webhook_state', 'pending', 'webhook_due', stamp(t))
      put_off(id, t, t)
      return
    end
  end
  set(id, 'webhook_state', 'unwanted')
end

-- Give a delivery up; it stays in sight until the job is forgotten.
local function bury(id, t, note)
  withdraw(id, tenant(id), t)
  redis.call('ZADD', key('undelivered'), stamp(t), id)
  redis.call('HDEL', key('job', id), 'webhook_due')
  set(id, 'webhook_state', 'failed', 'webhook_error', note)
end
