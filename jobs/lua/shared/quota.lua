-- What each tenant has outstanding: its jobs' remaining units, over all models.
-- open:<tenant>   job id → the units that it counts for
-- outstanding     tenant → their sum
-- A job's share is kept beside the sum, so that counting it twice, or late, does no harm.
local function terms(who) return parsed(redis.call('HGET', key('tenants'), who)) end

local function positive(value) return type(value) == 'number' and value > 0 and value or nil end

local function weight(who) return positive(terms(who).weight) or S.tenant_weight end

-- Let a job count for so many units from now on, or for nothing any more.
local function owe(id, units)
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
