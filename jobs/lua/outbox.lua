-- What ended and whose client wants to be told: one entry a job, its score the time it is due.
local function post(id, t, status)
  local webhook = get(id, 'webhook')
  if not webhook then return end
  for _, event in ipairs(cjson.decode(webhook).events) do
    if event == 'job.' .. status then
      set(id, 'webhook_state', 'pending', 'webhook_due', stamp(t))
      redis.call('ZADD', key('outbox'), stamp(t), id)
      return
    end
  end
  set(id, 'webhook_state', 'unwanted')
end

-- Give a delivery up; it stays in sight until the job is forgotten.
local function bury(id, t, note)
  redis.call('ZREM', key('outbox'), id)
  redis.call('ZADD', key('undelivered'), stamp(t), id)
  redis.call('HDEL', key('job', id), 'webhook_due')
  set(id, 'webhook_state', 'failed', 'webhook_error', note)
end
