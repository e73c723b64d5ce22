-- Each tenant's outstanding work: the remaining units of its queued and running jobs, all models.
-- open:<tenant>   job id → its share
-- outstanding     tenant → the sum of its shares
local function terms(who) return parsed(redis.call('HGET', key('tenants'), who)) end

local function positive(value) return type(value) == 'number' and value > 0 and value or nil end

local function weight(who) return positive(terms(who).weight) or S.tenant_weight end

-- Set a job's share; without units the job no longer counts.
local function charge_quota(id, units)
  local who = tenant(id)
  local k = key('open', who)
  local before = tonumber(redis.call('HGET', k, id) or '0')
  if units then
    redis.call('HSET', k, id, stamp(units))
  elseif redis.call('HDEL', k, id) == 1 and redis.call('EXISTS', k) == 0 then
    redis.call('HDEL', key('outstanding'), who)
    return
  end
  redis.call('HINCRBYFLOAT', key('outstanding'), who, stamp((units or 0) - before))
end
