-- Write down how a delivery went. → 1, or 0 where it is another door's by now
if get(a.id, 'webhook_token') ~= a.token or get(a.id, 'webhook_state') ~= 'pending' then return 0 end
local t = now()
redis.call('HDEL', key('job', a.id), 'webhook_token')
note_pace(tenant(a.id), a.slow)
redis.call('HINCRBY', key('totals'), 'webhook:' .. a.outcome, 1)
if a.outcome == 'delivered' then
  withdraw(a.id, tenant(a.id), t)
  redis.call('HDEL', key('job', a.id), 'webhook_error', 'webhook_due')
  set(a.id, 'webhook_state', 'delivered', 'webhook_delivered_at', stamp(t))
elseif a.outcome == 'retried' then
  put_off(a.id, t + a.delay_s, t)
  set(a.id, 'webhook_error', a.note, 'webhook_due', stamp(t + a.delay_s))
else
  bury(a.id, t, a.note)
end
return 1
