-- Jobs whose hash is gone though they were never deleted: Redis evicted it, or somebody removed it.
local function exists(id) return redis.call('EXISTS', key('job', id)) == 1 end

-- Take a vanished job out of all that still counts it.
local function drop_vanished(id)
  for _, model in ipairs(redis.call('HKEYS', key('models'))) do
    local queued = redis.call('HGET', key('lined_up', model), id)
    if queued then add_work(model, 'pending_units', -tonumber(queued:match('(%S+)$'))) end
    dequeue_fair(model, id)
    redis.call('ZREM', key('pending', model), id)
    redis.call('SREM', key('running', model), id)
  end
  for _, who in ipairs(redis.call('HKEYS', key('outstanding'))) do charge_share(who, id) end
  for _, list in ipairs({'leases', 'deadlines', 'ended', 'results', 'undelivered', 'outbox', 'jobs',
    'jobs:queued', 'jobs:running', 'jobs:succeeded', 'jobs:failed', 'jobs:canceled',
    'jobs:expired'}) do
    redis.call('ZREM', key(list), id)
  end
  for _, kind in ipairs({'result', 'preview', 'record'}) do uncount(kind, id) end
  redis.call('SREM', key('unreadable'), 'job:' .. id)
  redis.call('DEL', key('events', id), key('previews', id))
  redis.call('HINCRBY', key('totals'), 'lost', 1)
end
