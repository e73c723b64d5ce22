-- Requeue jobs whose lease ran out, expire those past their deadline, bound results and records.
-- → {requeued ids, their models, expired ids, failed ids, results dropped, records forgotten early,
--   jobs that had vanished}
local AT_ONCE = 200
local t = now()
local requeued, models, expired, failed, dropped, forgotten = {}, {}, {}, {}, 0, 0
local lost = 0

-- The jobs of a sorted set of times up to one.
local function due(list, time)
  local found = {}
  local ids = redis.call('ZRANGEBYSCORE', key(list), '-inf', stamp(time), 'LIMIT', 0, AT_ONCE)
  for _, id in ipairs(ids) do
    if not exists(id) then
      drop_vanished(id)
      lost = lost + 1
    elseif readable(id) then
      found[#found + 1] = id
    end
  end
  return found
end

extend_leases_after_outage(t)
-- After the clock was set back, a dead worker's lease must not last until it has caught up.
local latest = stamp(t + S.lease_s)
for _, list in ipairs({'leases', 'helpers'}) do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key(list), '(' .. latest, '+inf')) do
    redis.call('ZADD', key(list), latest, member)
  end
end
for _, id in ipairs(due('deadlines', t)) do
  finish(id, t, 'expired')
  expired[#expired + 1] = id
end
for _, id in ipairs(due('leases', t)) do
  redis.call('HINCRBY', key('totals'), 'leases_reaped', 1)
  local deaths = num(id, 'deaths') + 1
  set(id, 'deaths', deaths)
  if deaths >= S.max_deaths then
    finish(id, t, 'failed', cjson.encode({code = 'worker_died', detail = 'its worker died ' ..
      deaths .. ' times without a new checkpoint, last ' .. (get(id, 'worker') or '')}))
    failed[#failed + 1] = id
  else
    detach(id, t)
    enqueue(id, t, false)
    requeued[#requeued + 1], models[#models + 1] = id, model_of(id)
  end
end
for _, member in ipairs(
    redis.call('ZRANGEBYSCORE', key('helpers'), '-inf', stamp(t), 'LIMIT', 0, AT_ONCE)) do
  local fence, id = member:match('^(%S+) (.+)$')
  if fence and exists(id) then end_help(id, fence) end
  redis.call('ZREM', key('helpers'), member)
end
for _, id in ipairs(due('results', t - S.result_ttl_s)) do
  drop_results(id)
  dropped = dropped + 1
end
for _ = 1, AT_ONCE do
  if counted('result') + counted('preview') <= S.max_results_bytes then break end
  local oldest = redis.call('ZRANGE', key('results'), 0, 0)
  if not oldest[1] or not readable(oldest[1]) then break end
  drop_results(oldest[1])
  dropped = dropped + 1
end
for _, id in ipairs(due('ended', t - S.record_ttl_s)) do forget(id) end

-- The oldest records go first, but those with a webhook to deliver after the others.
local oldest = counted('record') > S.max_records_bytes and due('ended', t) or {}
for _, owed in ipairs({false, true}) do
  for _, id in ipairs(oldest) do
    if counted('record') <= S.max_records_bytes then break end
    if (get(id, 'webhook_state') == 'pending') == owed then
      forget(id)
      forgotten = forgotten + 1
    end
  end
end
return {requeued, models, expired, failed, dropped, forgotten, lost}
