-- What each tenant has outstanding: its jobs' remaining units, over all models.
-- open:<tenant>   job id → the units that it counts for
-- outstanding     tenant → their sum
-- A job's share is kept beside the sum, so that counting it twice, or late, does no harm.
local function terms(who)
  local known = redis.call('HGET', key('tenants'), who)
  local ok, found = pcall(cjson.decode, known or '')
  return ok and type(found) == 'table' and found or {}
end

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

-- Look some jobs of some tenant over: a process of a former version ends jobs without a word here.
local function audit(count)
  local who = redis.call('HRANDFIELD', key('outstanding'))
  if not who then return end
  for _, id in ipairs(redis.call('HRANDFIELD', key('open', who), count)) do
    local status = get(id, 'status')
    if status == 'queued' or status == 'running' then
      owe(id, remaining(id))
    elseif status then
      owe(id)
    else
      local left = redis.call('HGET', key('open', who), id)
      redis.call('HDEL', key('open', who), id)
      redis.call('HINCRBYFLOAT', key('outstanding'), who, '-' .. left)
    end
  end
  if redis.call('EXISTS', key('open', who)) == 0 then redis.call('HDEL', key('outstanding'), who) end
end
