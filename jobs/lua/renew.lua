-- Prolong leases. → {lost ids, and the rank of a waiting job that a lower one should be parked for}
local t = now()
forgive_silence(t)
local lost, model = {}, nil
for _, lease in ipairs(a.leases) do
  if held(lease.id, lease.fence) then
    redis.call('ZADD', key('leases'), stamp(t + S.lease_s), lease.id)
    model = get(lease.id, 'model')
  else
    lost[#lost + 1] = lease.id
  end
end

-- The best waiting rank below 'parkable' that no worker with a free place has taken for a while.
-- A job that this worker would not be given is no reason to park another one.
local function called()
  for rank = 0, a.parkable - 1 do
    local id = first(model, rank, t, safe)
    if id then
      if t - num(id, 'queued_at') < S.park_after_s then return end
      local k, bound = key('called', model), '(' .. precise((rank + 1) * 2e12)
      local calls = redis.call('INCR', k)
      if calls == 1 then redis.call('PEXPIRE', k, 1000) end
      return calls <= redis.call('ZCOUNT', key('pending', model), '-inf', bound) and rank or nil
    end
  end
end

return {lost, model and a.parkable and called() or nil}
