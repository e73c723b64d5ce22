-- Mend what lost keys leave behind, a part of each list at a time.
-- → {how many jobs had vanished, how many were put back}
-- audit   list → where to go on
local PART = 50
local FEW = 500  -- waiting jobs whose units are summed up in each call
local t, lost, put_back, summed = now(), 0, 0, {}

-- Whether a job is there; one that is not is dropped.
local function kept(id)
  if exists(id) then return true end
  drop_vanished(id)
  lost = lost + 1
  return false
end

local function count_share(id, who)
  if redis.call('HEXISTS', key('open', who), id) == 0 then
    if parsed(get(id, 'spec')).tenant ~= who then return end  -- damaged
    charge_quota(id, remaining(id))
  end
  if not summed[who] and redis.call('HEXISTS', key('outstanding'), who) == 0 then
    local units = 0
    for _, share in ipairs(redis.call('HVALS', key('open', who))) do
      units = units + (tonumber(share) or 0)
    end
    redis.call('HSET', key('outstanding'), who, stamp(units))
  end
  summed[who] = true
end

-- Whether claims find a waiting job.
local function in_line(id, model)
  local queued = redis.call('HGET', key('lined_up', model), id)
  local rank, who = (queued or ''):match('^(%d) (%S+) ')
  return rank and redis.call('ZSCORE', key('pending', model), id)
    and redis.call('ZSCORE', key('lane', model, rank, who), id)
    and redis.call('ZSCORE', key('lanes', model, rank), who)
end

-- Put an open job back where claims, sweeps and lists look for it. → whether the job is there
local function mend(id)
  local job = redis.call('HMGET', key('job', id), 'status', 'model', 'tenant')
  local status, model, who = job[1], job[2] or '', job[3] or 'public'
  if not status then return kept(id) end
  if status ~= 'queued' and status ~= 'running' or not readable(id) then return true end
  if redis.call('HEXISTS', key('models'), model) == 0 then return true end  -- damaged, or forgotten
  if not redis.call('ZSCORE', key('jobs', status), id) then set_status(id, status) end
  if status == 'running' then
    local added = redis.call('SADD', key('running', model), id)
      + redis.call('ZADD', key('leases'), 'NX', stamp(t + S.lease_s), id)
    if added > 0 then put_back = put_back + 1 end
  elseif not in_line(id, model) then
    wait_in_line(id, num(id, 'attempts') == 0)
    put_back = put_back + 1
  end
  count_share(id, who)
  return true
end

-- The next part of a list of jobs.
local function audit_list(list)
  local from = tonumber(redis.call('HGET', key('audit'), list) or '0')
  local ids, stay = redis.call('ZRANGE', key(list), from, from + PART - 1), 0
  for _, id in ipairs(ids) do
    if mend(id) then stay = stay + 1 end
  end
  redis.call('HSET', key('audit'), list, #ids < PART and 0 or from + stay)
end

-- Jobs that claims find and nothing else counts: the list of all that wait is gone.
local function audit_lanes(model)
  local counted_jobs = redis.call('ZCARD', key('pending', model))
  if redis.call('HLEN', key('lined_up', model)) > counted_jobs then
    for _, id in ipairs(redis.call('HKEYS', key('lined_up', model))) do
      if not redis.call('ZSCORE', key('pending', model), id) then mend(id) end
    end
  end
  for rank = 0, counted_jobs == 0 and 2 or -1 do
    for _, who in ipairs(redis.call('ZRANGE', key('lanes', model, rank), 0, -1)) do
      local ids = redis.call('ZRANGE', key('lane', model, rank, who), 0, -1)
      for _, id in ipairs(ids) do mend(id) end
    end
  end
end

local function audit_running(model)
  local units = 0
  for _, id in ipairs(redis.call('SMEMBERS', key('running', model))) do
    if kept(id) then
      if not redis.call('ZSCORE', key('leases'), id) then mend(id) end
      units = units + remaining(id)
    end
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
    if mend(page[2][i]) then units = units + (tonumber(page[2][i + 1]) or 0) end
  end
  if whole and units > 0 then redis.call('HSET', key('outstanding'), who, stamp(units)) end
  redis.call('HSET', key('audit'), 'tenant', who, 'cursor', page[1])
end

-- Sum up the units that wait, of each class and tenant.
local function audit_units(model)
  local total, sums = 0, {{}, {}, {}}
  for _, queued in ipairs(redis.call('HVALS', key('lined_up', model))) do
    local rank, who, units = queued:match('^(%d) (%S+) (%S+)$')
    local of_rank = sums[tonumber(rank) + 1]
    units = tonumber(units)
    total = total + units
    of_rank[who], of_rank['*'] = (of_rank[who] or 0) + units, (of_rank['*'] or 0) + units
  end
  redis.call('HSET', key('work', model), 'pending_units', stamp(total))
  for rank, of_rank in ipairs(sums) do
    redis.call('DEL', key('lane_units', model, rank - 1))
    for who, units in pairs(of_rank) do
      redis.call('HSET', key('lane_units', model, rank - 1), who, stamp(units))
    end
  end
end

local models = redis.call('HKEYS', key('models'))
for _, list in ipairs({'jobs', 'jobs:queued', 'jobs:running', 'leases'}) do audit_list(list) end
for _, model in ipairs(models) do
  audit_list('pending:' .. model)
  audit_lanes(model)
  audit_running(model)
end
audit_shares()
for _, model in ipairs(models) do
  if put_back > 0 or redis.call('HLEN', key('lined_up', model)) <= FEW
    or redis.call('HEXISTS', key('work', model), 'pending_units') == 0 then audit_units(model) end
end
return {lost, put_back}
