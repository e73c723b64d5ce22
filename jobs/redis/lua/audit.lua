-- Mend what lost keys leave behind, a part of each list at a time. → how many jobs had vanished
-- audit   list → where to go on
local PART = 500
local lost, lined_up = 0, {}

-- Whether a job is there; one that is not is dropped.
local function kept(id)
  if exists(id) then return true end
  drop_vanished(id)
  lost = lost + 1
  return false
end

-- Put a waiting job back where claims look for it.
local function line_up(id)
  local model = model_of(id)
  if redis.call('ZSCORE', key('pending', model), id)
    and redis.call('HEXISTS', key('lined_up', model), id) == 1 then return end
  wait_in_line(id, num(id, 'attempts') == 0)
  charge_quota(id, remaining(id))
  lined_up[model] = true
end

local function audit_waiting(list)
  local from = tonumber(redis.call('HGET', key('audit'), list) or '0')
  local ids, stay = redis.call('ZRANGE', key(list), from, from + PART - 1), 0
  for _, id in ipairs(ids) do
    if kept(id) then
      stay = stay + 1
      if get(id, 'status') == 'queued' and readable(id) then line_up(id) end
    end
  end
  redis.call('HSET', key('audit'), list, #ids < PART and 0 or from + stay)
end

local function audit_running(model)
  local units = 0
  for _, id in ipairs(redis.call('SMEMBERS', key('running', model))) do
    if kept(id) then units = units + remaining(id) end
  end
  redis.call('HSET', key('work', model), 'running_units', stamp(units))
end

-- The shares of one tenant, in each call of the next.
local function audit_shares()
  local tenants = redis.call('HKEYS', key('outstanding'))
  table.sort(tenants)
  local at = redis.call('HMGET', key('audit'), 'tenant', 'cursor')
  local who, cursor = at[1], at[2]
  if not cursor or cursor == '0' then
    local after = who or ''
    who, cursor = tenants[1], '0'
    for _, name in ipairs(tenants) do
      if name > after then who = name; break end
    end
  end
  if not who then return end
  local page = redis.call('HSCAN', key('open', who), cursor, 'COUNT', PART)
  local units, whole = 0, cursor == '0' and page[1] == '0'
  for i = 1, #page[2], 2 do
    if kept(page[2][i]) then units = units + (tonumber(page[2][i + 1]) or 0) end
  end
  if whole and units > 0 then redis.call('HSET', key('outstanding'), who, stamp(units)) end
  redis.call('HSET', key('audit'), 'tenant', who, 'cursor', page[1])
end

audit_waiting('jobs:queued')
for _, model in ipairs(redis.call('HKEYS', key('models'))) do
  audit_waiting('pending:' .. model)
  audit_running(model)
  if redis.call('HEXISTS', key('work', model), 'pending_units') == 0 then lined_up[model] = true end
end
for model in pairs(lined_up) do
  local units = 0
  for _, queued in ipairs(redis.call('HVALS', key('lined_up', model))) do
    units = units + tonumber(queued:match('(%S+)$'))
  end
  redis.call('HSET', key('work', model), 'pending_units', stamp(units))
end
audit_shares()
return lost
