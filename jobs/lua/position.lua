-- Say what stands before a waiting job. → {jobs, units}, or nothing when it does not wait
if get(a.id, 'status') ~= 'queued' then return false end
local model, rank = model_of(a.id), rank_of(a.id)
local place = redis.call('ZSCORE', key('lane', model, rank, tenant(a.id)), a.id)
if place then
  local jobs, units = ahead(model, rank, tenant(a.id), place, false)
  return {jobs, stamp(units)}
end
-- A process of a former version queued it a moment ago.
local before = redis.call('ZRANK', key('pending', model), a.id) or 0
local sum = tonumber(redis.call('HGET', key('work', model), 'pending_units') or '0')
return {before, stamp(before * sum / math.max(1, redis.call('ZCARD', key('pending', model))))}
