-- Prolong leases. → {ids that are lost, rank of the best waiting job of each model}
local t = now()
redis.call('SET', key('seen'), stamp(t))
local lost, models, best = {}, {}, {}
for _, lease in ipairs(a.leases) do
  if held(lease.id, lease.fence) then
    redis.call('ZADD', key('leases'), stamp(t + S.lease_s), lease.id)
    models[get(lease.id, 'model')] = true
  else
    lost[#lost + 1] = lease.id
  end
end
for model in pairs(models) do
  -- A job that this worker would not be given is no reason to park another one.
  for rank = 0, 2 do
    if first(model, rank, t, safe) then best[#best + 1] = rank; break end
  end
end
return {lost, best}
