-- Requeue jobs whose lease ran out, end those past their deadline, bound results and records.
-- → {requeued ids, their models, expired ids, failed ids, results dropped}
local t = now()
local requeued, models, expired, failed, dropped = {}, {}, {}, {}, 0

local function reap(id)
  redis.call('HINCRBY', key('totals'), 'leases_reaped', 1)
  local deaths = num(id, 'deaths') + 1
  set(id, 'deaths', deaths)
  if deaths >= S.max_deaths then
    finish(id, t, 'failed', cjson.encode({code = 'worker_died', detail = 'its worker died ' ..
      deaths .. ' times without a new checkpoint, last ' .. (get(id, 'worker') or '')}))
    failed[#failed + 1] = id
  else
    take_out(id, t)
    enqueue(id, t, 0)
    requeued[#requeued + 1], models[#models + 1] = id, get(id, 'model')
  end
end

forgive_silence(t)
-- Where the clock was set back, a dead worker's lease must not last for as long.
local latest = stamp(t + S.lease_s)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '(' .. latest, '+inf')) do
  redis.call('ZADD', key('leases'), latest, id)
end
local late = redis.call('ZRANGEBYSCORE', key('deadlines'), '-inf', stamp(t), 'LIMIT', 0, 200)
for _, id in ipairs(late) do
  if readable(id) then
    finish(id, t, 'expired')
    expired[#expired + 1] = id
  end
end
local dead = redis.call('ZRANGEBYSCORE', key('leases'), '-inf', stamp(t), 'LIMIT', 0, 200)
for _, id in ipairs(dead) do
  if readable(id) then reap(id) end
end
local old = redis.call('ZRANGEBYSCORE', key('results'), '-inf', stamp(t - S.result_ttl_s),
  'LIMIT', 0, 200)
for _, id in ipairs(old) do
  if readable(id) then
    drop_images(id)
    dropped = dropped + 1
  end
end
for _ = 1, 200 do
  if tonumber(redis.call('GET', key('result_bytes')) or '0') <= S.max_results_bytes then break end
  local oldest = redis.call('ZRANGE', key('results'), 0, 0)
  if not oldest[1] or not readable(oldest[1]) then break end
  drop_images(oldest[1])
  dropped = dropped + 1
end
local past = redis.call('ZRANGEBYSCORE', key('ended'), '-inf', stamp(t - S.record_ttl_s),
  'LIMIT', 0, 200)
for _, id in ipairs(past) do
  if readable(id) then forget(id) end
end
return {requeued, models, expired, failed, dropped}
