-- Renew leases. → {ids with a void fence, and the rank of a waiting job worth preempting one for}
local t = now()
extend_leases_after_outage(t)
local lost, model = {}, nil
for _, lease in ipairs(a.leases) do
  if held(lease.id, lease.fence) then
    redis.call('ZADD', key('leases'), stamp(t + S.lease_s), lease.id)
    model = get(lease.id, 'model')
  else
    lost[#lost + 1] = lease.id
  end
end

-- Return the best rank below 'preemptible' with a job that this worker could claim and that has
-- waited for a while. Within a second, at most as many calls return one as such jobs wait.
local function rank_to_preempt_for()
  for rank = 0, a.preemptible - 1 do
    local id = first_of_class(model, rank, t, safe)
    if id then
      if t - num(id, 'queued_at') < S.park_after_s then return end
      local k, bound = key('called', model), '(' .. precise((rank + 1) * 2e12)
      local calls = redis.call('INCR', k)
      if calls == 1 then redis.call('PEXPIRE', k, 1000) end
      return calls <= redis.call('ZCOUNT', key('pending', model), '-inf', bound) and rank or nil
    end
  end
end

return {lost, model and a.preemptible and rank_to_preempt_for() or nil}
