-- Each tenant's outstanding work: the remaining units of its queued and running jobs, all models.
-- open:<tenant>   job id → its share
-- outstanding     tenant → the sum of its shares
local function terms(who) return parsed(redis.call('HGET', key('tenants'), who)) end

local function positive(value) return type(value) == 'number' and value > 0 and value or nil end

local function weight(who) return positive(terms(who).weight) or S.tenant_weight end

-- Set a job's share of a tenant's work; without units the job no longer counts. → whether it did
local function charge_share(who, id, units)
  local k = key('open', who)
  local before = redis.call('HGET', k, id)
  if units then
    redis.call('HSET', k, id, stamp(units))
  elseif not before then
    return false
  else
    redis.call('HDEL', k, id)
    if redis.call('EXISTS', k) == 0 then
      redis.call('HDEL', key('outstanding'), who)
      return true
    end
  end
  local change = (units or 0) - (tonumber(before or '') or 0)
  redis.call('HINCRBYFLOAT', key('outstanding'), who, stamp(change))
  return true
end

-- Set a job's share. One that no longer counts is looked for everywhere if its tenant has none, as
-- its field may be damaged.
local function charge_quota(id, units)
  if charge_share(tenant(id), id, units) then return end
  for _, who in ipairs(redis.call('HKEYS', key('outstanding'))) do charge_share(who, id) end
end
