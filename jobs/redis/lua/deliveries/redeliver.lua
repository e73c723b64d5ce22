-- Deliver a job's webhook again, counting attempts from one. → 1, or 0 without a job or a webhook
local state = get(a.id, 'webhook_state')
if not state or state == 'waiting' then return 0 end
local t = now()
redis.call('ZREM', key('undelivered'), a.id)
schedule_delivery(a.id, t, t)
redis.call('HDEL', key('job', a.id), 'webhook_error', 'webhook_token')
set(a.id, 'webhook_state', 'pending', 'webhook_attempts', '0', 'webhook_due', stamp(t))
return 1
