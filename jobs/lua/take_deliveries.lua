-- Lease due deliveries to a door, so many at most a tenant. → {{job id, tenant, attempt}, …}
local t = now()
local taken, busy = {}, a.busy
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('outbox'), '-inf', stamp(t), 'LIMIT', 0, 256)) do
  if #taken >= a.limit then break end
  local of, attempt = tenant(id), num(id, 'webhook_attempts') + 1
  if not get(id, 'status') then
    redis.call('ZREM', key('outbox'), id)
  elseif readable(id) and (busy[of] or 0) < a.limit_of_tenant then
    if attempt > a.max_attempts then
      bury(id, t, 'every door that tried died')
    else
      busy[of] = (busy[of] or 0) + 1
      set(id, 'webhook_attempts', attempt, 'webhook_token', a.token)
      redis.call('ZADD', key('outbox'), stamp(t + a.lease_s), id)
      taken[#taken + 1] = {id, of, attempt}
    end
  end
end
return taken
