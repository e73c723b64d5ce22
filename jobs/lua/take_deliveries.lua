-- Lease due deliveries to a door, so many at most a tenant. → {{job id, tenant, attempt}, …}
local t = now()
local taken, busy = {}, a.busy
-- Far enough that a tenant with a long line before the others' does not hide them.
local due = redis.call('ZRANGEBYSCORE', key('outbox'), '-inf', stamp(t), 'LIMIT', 0, 2048)
for _, id in ipairs(due) do
  if #taken >= a.limit then break end
  local of = tenant(id)
  if (busy[of] or 0) >= a.limit_of_tenant then
    -- its turn comes when one of its deliveries has ended
  elseif not get(id, 'status') then
    redis.call('ZREM', key('outbox'), id)
  elseif readable(id) then
    local attempt = num(id, 'webhook_attempts') + 1
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
