-- Record the outcome of a delivery. → 1, or 0 if another door holds it by now
if get(a.id, 'webhook_token') ~= a.token then return 0 end
if get(a.id, 'webhook_state') ~= 'pending' then return 0 end
local t = now()
redis.call('HDEL', key('job', a.id), 'webhook_token')
if a.outcome == 'delivered' then
  withdraw_delivery(a.id, tenant(a.id), t)
  redis.call('HDEL', key('job', a.id), 'webhook_error', 'webhook_due')
  set(a.id, 'webhook_state', 'delivered', 'webhook_delivered_at', stamp(t))
elseif a.outcome == 'retried' then
  schedule_delivery(a.id, t + a.delay_s, t)
  set(a.id, 'webhook_error', a.note, 'webhook_due', stamp(t + a.delay_s))
else
  dead_letter(a.id, t, a.note)
end
return 1
