-- End and forget some of a tenant's jobs, the oldest first. → how many
local t, dropped = now(), 0
for _, id in ipairs(redis.call('ZRANGE', key('tenant', a.tenant, 'jobs'), 0, a.limit - 1)) do
  local status = get(id, 'status')
  if redis.call('EXISTS', key('job', id)) == 0 then
    redis.call('ZREM', key('tenant', a.tenant, 'jobs'), id)
  elseif readable(id) then
    if status == 'queued' or status == 'running' then finish(id, t, 'canceled') end
    if damaged(id) then evict(id) end
    forget(id)
    redis.call('PUBLISH', key('wake'), id)
    dropped = dropped + 1
  end
end
if redis.call('EXISTS', key('tenant', a.tenant, 'jobs')) == 0 then  -- nor has it a place in line
  for _, model in ipairs(redis.call('HKEYS', key('models'))) do
    for rank = 0, 2 do redis.call('ZREM', key('idle', model, rank), a.tenant) end
  end
end
return dropped
