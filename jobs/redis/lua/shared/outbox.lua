-- Ended jobs whose clients want a webhook. Tenants take turns, so a long line of one tenant never
-- delays another's.
-- outbox              job id → when its delivery is due
-- tenant:<t>:outbox   the tenant's entries of it
-- outbox_turns        tenant → its turn: when its first entry is due, or when it was last served if
--                     that is later
-- undelivered         job id → when its delivery was given up
local function line_of(who) return key('tenant', who, 'outbox') end

-- Set a tenant's turn. If its first entry is due, the turn never moves back.
local function await_turn(who, t)
  local first = redis.call('ZRANGE', line_of(who), 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('ZREM', key('outbox_turns'), who)
  elseif tonumber(first[2]) > t then
    redis.call('ZADD', key('outbox_turns'), first[2], who)
  else
    redis.call('ZADD', key('outbox_turns'), 'LT', stamp(t), who)
  end
end

local function schedule_delivery(id, due, t)
  redis.call('ZADD', key('outbox'), stamp(due), id)
  redis.call('ZADD', line_of(tenant(id)), stamp(due), id)
  await_turn(tenant(id), t)
end

local function withdraw_delivery(id, who, t)
  redis.call('ZREM', key('outbox'), id)
  redis.call('ZREM', line_of(who), id)
  await_turn(who, t)
end

local function post(id, t, status)
  if not get(id, 'webhook') then return end
  local events = parsed(get(id, 'webhook')).events
  for _, event in ipairs(type(events) == 'table' and events or {}) do
    if event == 'job.' .. status then
      set(id, 'webhook_state', 'pending', 'webhook_due', stamp(t))
      schedule_delivery(id, t, t)
      return
    end
  end
  set(id, 'webhook_state', 'unwanted')
end

-- Give a delivery up. It stays listed until its job is deleted.
local function dead_letter(id, t, note)
  withdraw_delivery(id, tenant(id), t)
  redis.call('ZADD', key('undelivered'), stamp(t), id)
  redis.call('HDEL', key('job', id), 'webhook_due')
  set(id, 'webhook_state', 'failed', 'webhook_error', note)
end
