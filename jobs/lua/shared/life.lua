-- How a job enters the queue, leaves it, and ends.
-- Its tenant, and its class where it was served for another, get back what it has not used.
local function give_back(id, model)
  local served_as, rank = tonumber(get(id, 'served_as') or ''), rank_of(id)
  if not served_as then return end  -- damaged
  charge(model, rank, tenant(id), -remaining(id))
  if served_as < rank then credit(model, rank, remaining(id)) end
  redis.call('HDEL', key('job', id), 'served_as')
end

-- Take a job out of the queue or away from its worker; its fence is void from here on.
local function take_out(id, t)
  local model, status = model_of(id), get(id, 'status')
  if status == 'queued' then
    redis.call('ZREM', key('pending', model), id)
    fall_out(model, id)
    work(model, 'pending_units', -remaining(id))
  elseif status == 'running' then
    redis.call('ZREM', key('leases'), id)
    redis.call('SREM', key('running', model), id)
    work(model, 'running_units', -remaining(id))
    give_back(id, model)
    set(id, 'running_s', stamp(num(id, 'running_s') + math.max(0, t - num(id, 'claimed_at'))),
      'evaluations_before', get(id, 'evaluations') or '0')
  end
  set(id, 'fence', '')
end

-- fresh is 1 for a new job, 0 for one that was interrupted: it goes before its tenant's others.
local function enqueue(id, t, fresh)
  local model = model_of(id)
  move(id, 'queued')
  set(id, 'queued_at', stamp(t))
  local score = (rank_of(id) * 2 + fresh) * 1e12 + num(id, 'seq')
  redis.call('ZADD', key('pending', model), string.format('%.0f', score), id)
  line_up(id, fresh == 1)
  work(model, 'pending_units', remaining(id))
  owe(id, remaining(id))
  emit(id, 'status')
end

local function drop_checkpoints(id)
  local fields = redis.call('HKEYS', key('job', id))
  for _, f in ipairs(fields) do
    if f:sub(1, 11) == 'checkpoint:' then
      local blob = pointer(id, f)
      if blob then redis.call('DEL', blob) end
      redis.call('HDEL', key('job', id), f)
    end
  end
end

-- The keys of a job's finished pictures.
local function images(id)
  local found = {}
  local fields = redis.call('HKEYS', key('job', id))
  for _, f in ipairs(fields) do
    if f:sub(1, 6) == 'image:' then found[#found + 1] = pointer(id, f) end
  end
  return found
end

local function drop_images(id)
  for _, image in ipairs(images(id)) do redis.call('DEL', image) end
  local size = redis.call('HGET', key('result_sizes'), id)
  if size then
    redis.call('DECRBY', key('result_bytes'), size)
    redis.call('HDEL', key('result_sizes'), id)
  end
  redis.call('ZREM', key('results'), id)
  set(id, 'results_dropped', '1')
end

-- Whether a job's status or model says nothing of the lists in which it stands.
local function damaged(id)
  local status = get(id, 'status')
  local ended = status == 'succeeded' or status == 'failed' or status == 'canceled'
    or status == 'expired'
  return not ended or redis.call('HEXISTS', key('models'), model_of(id)) == 0
end

-- Take a job out of every list of work, whatever its damaged fields say of where it stands.
local function evict(id)
  redis.call('ZREM', key('leases'), id)
  redis.call('ZREM', key('deadlines'), id)
  for _, model in ipairs(redis.call('HKEYS', key('models'))) do
    redis.call('ZREM', key('pending', model), id)
    redis.call('SREM', key('running', model), id)
    fall_out(model, id)
  end
  drop_checkpoints(id)
  owe(id)
end

-- Forget a job that has ended, and everything it left.
local function forget(id)
  drop_images(id)
  local lists = {key('jobs'), own(id)}
  for _, status in ipairs({'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired'}) do
    lists[#lists + 1] = key('jobs', status)
    lists[#lists + 1] = own(id, status)
  end
  for _, list in ipairs(lists) do redis.call('ZREM', list, id) end
  redis.call('ZREM', key('ended'), id)
  redis.call('ZREM', key('undelivered'), id)
  if get(id, 'webhook') then withdraw_delivery(id, tenant(id), now()) end
  local used = get(id, 'idempotency')
  if used and redis.call('HGET', key('idempotency', used), 'id') == id then
    redis.call('DEL', key('idempotency', used))
  end
  redis.call('SREM', key('unreadable'), 'job:' .. id)
  redis.call('DEL', key('job', id), key('events', id), key('previews', id))
end

-- Count how long a job took, in its model's histogram. See jobs/latency.py for the fields.
local function count_latency(id, t, status)
  local seconds, bound = math.max(0, t - num(id, 'created_at')), '+Inf'
  for _, b in ipairs(S.latency_bounds) do
    if seconds <= tonumber(b) then bound = b; break end
  end
  local k = key('latency', model_of(id))
  redis.call('HINCRBY', k, status .. ':le:' .. bound, 1)
  redis.call('HINCRBYFLOAT', k, status .. ':sum', stamp(seconds))
  local trace, flags = (get(id, 'traceparent') or ''):match('^%x%x%-(%x+)%-%x+%-(%x%x)$')
  if trace and tonumber(flags, 16) % 2 == 1 then
    redis.call('HSET', k, status .. ':exemplar:' .. bound,
      trace .. ' ' .. stamp(seconds) .. ' ' .. stamp(t))
  end
end

-- End a job for good.
local function finish(id, t, status, failure)
  take_out(id, t)
  move(id, status)
  set(id, 'finished_at', stamp(t))
  count_latency(id, t, status)
  if failure then
    set(id, 'error', failure)
    redis.call('HINCRBY', key('totals'), 'failed:' .. cjson.decode(failure).code, 1)
  end
  if status ~= 'succeeded' and #images(id) > 0 then drop_images(id) end
  drop_checkpoints(id)
  owe(id)
  redis.call('ZREM', key('deadlines'), id)
  redis.call('ZADD', key('ended'), stamp(t), id)
  redis.call('HINCRBY', key('totals'), status, 1)
  post(id, t, status)
  emit(id, 'result')
end

-- After a while in which nobody could renew, as the store itself was away or its clock jumped, every
-- lease gets a new term: none ran out by its holder's fault. Whoever comes first gives it to all.
local function forgive_silence(t)
  local seen = tonumber(redis.call('GET', key('seen')) or '0')
  redis.call('SET', key('seen'), stamp(t))
  if t - seen <= S.lease_s / 2 then return end
  for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
    redis.call('ZADD', key('leases'), stamp(t + S.lease_s), id)
  end
end
