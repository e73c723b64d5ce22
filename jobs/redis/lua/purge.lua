-- Cancel and delete some of a tenant's jobs, the oldest first. → how many
local t, deleted, list = now(), 0, key('tenant', a.tenant, 'jobs')
for _, id in ipairs(redis.call('ZRANGE', list, 0, a.limit - 1)) do
  if redis.call('EXISTS', key('job', id)) == 0 then
    redis.call('ZREM', list, id)  -- damaged
  elseif readable(id) then
    delete(id, t)
    deleted = deleted + 1
  end
end
if redis.call('EXISTS', list) == 0 then
  for _, model in ipairs(redis.call('HKEYS', key('models'))) do
    for rank = 0, 2 do redis.call('ZREM', key('idle', model, rank), a.tenant) end
  end
  if redis.call('HGET', key('audit'), 'tenant') == a.tenant then
    redis.call('HDEL', key('audit'), 'tenant', 'cursor')
  end
end
return deleted
