-- How a job enters the queue, leaves it and ends.
-- Refund what a job that leaves its worker has not used.
local function refund_unused(id, model)
  local served_as, rank = tonumber(get(id, 'served_as') or ''), rank_of(id)
  if not served_as then return end  -- damaged
  charge_tenant(model, rank, tenant(id), -remaining(id))
  if served_as < rank then credit_class(model, rank, remaining(id)) end
  redis.call('HDEL', key('job', id), 'served_as')
end

-- Delete a job's previews but for the newest; without 'keep', that one too. → bytes of what is kept
-- The stream is written anew: Redis frees a block of entries only when all of them are deleted.
local function drop_previews(id, keep)
  local list, events = key('previews', id), key('events', id)
  local ids = redis.call('LRANGE', list, 0, -1)
  local newest = keep and table.remove(ids)
  if #ids > 0 then
    for _, old in ipairs(ids) do redis.call('XDEL', events, old) end
    local left = redis.call('XRANGE', events, '-', '+')
    redis.call('DEL', events)
    for _, entry in ipairs(left) do redis.call('XADD', events, entry[1], unpack(entry[2])) end
    redis.call('LTRIM', list, newest and -1 or 1, newest and -1 or 0)
  end
  if not newest then
    redis.call('HDEL', key('job', id), 'preview_step', 'preview_event')
    return 0
  end
  local kept = redis.call('XRANGE', events, newest, newest)[1]
  for i, name in ipairs(kept and kept[2] or {}) do
    if name == 'data' then return #kept[2][i + 1] end
  end
  return 0
end

-- Take a job out of the queue or from its worker. Its fence is void from here on.
local function detach(id, t)
  local model, status = model_of(id), get(id, 'status')
  if status == 'queued' then
    redis.call('ZREM', key('pending', model), id)
    dequeue_fair(model, id)
    add_work(model, 'pending_units', -remaining(id))
  elseif status == 'running' then
    redis.call('ZREM', key('leases'), id)
    redis.call('SREM', key('running', model), id)
    add_work(model, 'running_units', -remaining(id))
    refund_unused(id, model)
    drop_previews(id, true)
    drop_help(id)
    set(id, 'running_s', stamp(num(id, 'running_s') + math.max(0, t - num(id, 'claimed_at'))),
      'evaluations_before', get(id, 'evaluations') or '0')
  end
  set(id, 'fence', '')
end

-- An interrupted job, which is not 'fresh', goes before its tenant's others.
local function wait_in_line(id, fresh)
  local score = (rank_of(id) * 2 + (fresh and 1 or 0)) * 1e12 + num(id, 'seq')
  redis.call('ZADD', key('pending', model_of(id)), string.format('%.0f', score), id)
  enqueue_fair(id, fresh)
end

local function enqueue(id, t, fresh)
  local model = model_of(id)
  set_status(id, 'queued')
  set(id, 'queued_at', stamp(t))
  wait_in_line(id, fresh)
  add_work(model, 'pending_units', remaining(id))
  charge_quota(id, remaining(id))
  emit(id, 'status')
end

local function drop_blob(id, field)
  local blob = pointer(id, field)
  if blob then redis.call('DEL', blob) end
end

local function drop_checkpoint(id, field)
  drop_blob(id, field)
  redis.call('HDEL', key('job', id), field)
end

local function drop_checkpoints(id)
  for _, f in ipairs(fields(id, 'checkpoint:')) do drop_checkpoint(id, f) end
end

-- What jobs hold is counted in <kind>_bytes, and by job id in <kind>_sizes:
-- result    its images
-- preview   the newest preview of an ended job
-- record    what else an ended job holds, roughly as Redis stores it
local function count(kind, id, bytes)
  redis.call('INCRBY', key(kind .. '_bytes'), bytes)
  redis.call('HINCRBY', key(kind .. '_sizes'), id, bytes)
end

local function uncount(kind, id)
  local bytes = redis.call('HGET', key(kind .. '_sizes'), id)
  if not bytes then return end
  redis.call('DECRBY', key(kind .. '_bytes'), bytes)
  redis.call('HDEL', key(kind .. '_sizes'), id)
end

local function counted(kind) return tonumber(redis.call('GET', key(kind .. '_bytes')) or '0') end

-- Drop the images; the record still lists them.
local function drop_images(id)
  for _, f in ipairs(fields(id, 'image:')) do drop_blob(id, f) end
  uncount('result', id)
  redis.call('ZREM', key('results'), id)
  set(id, 'results_dropped', '1')
end

local function drop_results(id)
  drop_previews(id, false)
  uncount('preview', id)
  drop_images(id)
end

local function count_record(id)
  local bytes = 2000 + 200 * redis.call('XLEN', key('events', id))  -- lists it is in, its events
  for _, part in ipairs(redis.call('HGETALL', key('job', id))) do bytes = bytes + 48 + #part end
  count('record', id, bytes)
end

-- Delete an ended job with everything it left.
local function forget(id)
  drop_images(id)
  uncount('preview', id)
  uncount('record', id)
  local lists = {key('jobs'), key('tenant', tenant(id), 'jobs')}
  local submitted = parsed(get(id, 'spec')).tenant
  if type(submitted) == 'string' and submitted ~= tenant(id) then  -- damaged
    lists[#lists + 1] = key('tenant', submitted, 'jobs')
  end
  for _, list in ipairs(lists) do
    redis.call('ZREM', list, id)
    for _, status in ipairs({'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired'}) do
      redis.call('ZREM', list .. ':' .. status, id)
    end
  end
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

-- Count an ended job in its model's latency histogram. jobs/latency.py explains the fields.
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
  detach(id, t)
  set_status(id, status)
  set(id, 'finished_at', stamp(t))
  count_latency(id, t, status)
  if failure then
    set(id, 'error', failure)
    redis.call('HINCRBY', key('totals'), 'failed:' .. cjson.decode(failure).code, 1)
  end
  if status ~= 'succeeded' and #fields(id, 'image:') > 0 then drop_images(id) end
  local preview_bytes = drop_previews(id, true)
  if preview_bytes > 0 then count('preview', id, preview_bytes) end
  if status == 'succeeded' or preview_bytes > 0 then
    redis.call('ZADD', key('results'), stamp(t), id)
  end
  drop_checkpoints(id)
  charge_quota(id)
  redis.call('ZREM', key('deadlines'), id)
  redis.call('ZADD', key('ended'), stamp(t), id)
  redis.call('HINCRBY', key('totals'), status, 1)
  post(id, t, status)
  emit(id, 'result')
  count_record(id)
end

local function cancel(id, t)
  local status = get(id, 'status')
  if status == 'queued' or status == 'running' then finish(id, t, 'canceled') end
end

-- Cancel a job and delete it, even if damaged fields do not say which lists it is in.
local function delete(id, t)
  if not redis.call('ZSCORE', key('ended'), id) then
    cancel(id, t)
    redis.call('ZREM', key('leases'), id)
    redis.call('ZREM', key('deadlines'), id)
    for _, model in ipairs(redis.call('HKEYS', key('models'))) do
      redis.call('ZREM', key('pending', model), id)
      redis.call('SREM', key('running', model), id)
      dequeue_fair(model, id)
    end
    drop_checkpoints(id)
    if not redis.call('ZSCORE', key('ended'), id) then charge_quota(id) end
  end
  forget(id)
  redis.call('PUBLISH', key('wake'), id)
end

-- Extend all leases if none could be renewed for a while: the store was down or its clock jumped.
local function extend_leases_after_outage(t)
  local seen = tonumber(redis.call('GET', key('seen')) or '0')
  redis.call('SET', key('seen'), stamp(t))
  if t - seen <= S.lease_s / 2 then return end
  for _, list in ipairs({'leases', 'helpers'}) do
    for _, member in ipairs(redis.call('ZRANGE', key(list), 0, -1)) do
      redis.call('ZADD', key(list), stamp(t + S.lease_s), member)
    end
  end
end
