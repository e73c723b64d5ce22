-- Store a new job as queued. → {outcome, …}: the job's id, or the units or seconds of a refusal
-- Return an existing job; the client library retries a call whose answer was lost. WAITAOF and WAIT
-- cover only this connection's writes, so a durable call writes to the job.
local function existing(outcome, id)
  if a.durable then set(id, 'confirmed_at', stamp(now())) end
  return {outcome, id}
end
if redis.call('EXISTS', key('job', a.id)) == 1 then return existing('created', a.id) end
if a.idempotency then
  local known = redis.call('HMGET', key('idempotency', a.idempotency.key), 'fingerprint', 'id')
  if known[1] then
    if known[1] ~= a.idempotency.fingerprint then return {'conflict', known[2]} end
    if redis.call('EXISTS', key('job', known[2])) == 1 then
      return existing('replayed', known[2])
    end
  end
end
local load = redis.call('HMGET', key('work', a.model), 'pending_units', 'running_units')
local outstanding = tonumber(load[1] or '0') + tonumber(load[2] or '0')
if outstanding + a.units > S.max_backlog_units and outstanding > 0 then
  return {'full', stamp(outstanding)}
end
local own_quota = terms(a.tenant).max_units
local quota = type(own_quota) == 'number' and own_quota or S.tenant_max_units
local open = tonumber(redis.call('HGET', key('outstanding'), a.tenant) or '0')
if quota > 0 and open + a.units > quota then
  local others = redis.call('HLEN', key('outstanding')) - (open > 0 and 1 or 0)
  local w = weight(a.tenant)
  return {'quota', stamp(quota), stamp(open), stamp(w / (w + others * S.tenant_weight))}
end
-- A tenant without a quota of its own may queue a part of what others leave free, so that there is
-- always room for one more. Without keys all are one tenant, which may have all of it.
local queued = 0
for rank = 0, 2 do
  local units = redis.call('HGET', key('lane_units', a.model, rank), a.tenant)
  queued = queued + tonumber(units or '0')
end
local part = S.tenant_backlog_share * (S.max_backlog_units - (outstanding - queued))
if not own_quota and a.tenant ~= 'public' and queued > 0 and queued + a.units > part then
  return {'share', stamp(math.max(0, part)), stamp(queued)}
end
local t = now()
if a.deadline_s and a.speed then
  local place = string.format('%.0f', (t + a.deadline_s) * 1e6 + FRESH_OFFSET)
  local _, before = ahead(a.model, a.rank, a.tenant, place, true)
  local earliest = before / a.speed.all + a.units / a.speed.one
  if earliest > a.deadline_s then return {'late', stamp(earliest)} end
end
local seq = redis.call('INCR', key('seq'))
set(a.id, 'schema_version', a.schema_version, 'id', a.id, 'model', a.model,
  'tenant', a.tenant, 'spec', a.spec, 'rank', a.rank, 'units', stamp(a.units), 'units_done', '0',
  'total_steps', a.total_steps, 'created_at', stamp(t), 'seq', seq, 'status', 'queued',
  'fence', '', 'attempts', '0')
if a.traceparent then set(a.id, 'traceparent', a.traceparent) end
if a.webhook then set(a.id, 'webhook', a.webhook, 'webhook_state', 'waiting') end
for field, warning in pairs(a.warnings or {}) do set(a.id, field, warning) end
if a.deadline_s then
  set(a.id, 'expires_at', stamp(t + a.deadline_s))
  redis.call('ZADD', key('deadlines'), stamp(t + a.deadline_s), a.id)
end
redis.call('ZADD', key('jobs'), seq, a.id)
redis.call('ZADD', tenant_list(a.id), seq, a.id)
if a.idempotency then
  local k = key('idempotency', a.idempotency.key)
  redis.call('HSET', k, 'fingerprint', a.idempotency.fingerprint, 'id', a.id)
  redis.call('PEXPIRE', k, math.floor(S.idempotency_ttl_s * 1000))
  set(a.id, 'idempotency', a.idempotency.key)
end
redis.call('HINCRBY', key('totals'), 'created', 1)
enqueue(a.id, t, true)
return {'created', a.id}
