-- Hand the next waiting job of a model to a worker. → the job's hash, or nothing
local t = now()
local waiting = redis.call('ZRANGE', key('pending', a.model), 0, 63)
for _, id in ipairs(waiting) do
  local expires = tonumber(get(id, 'expires_at') or 'inf')
  local alone = num(id, 'deaths') >= S.suspect_deaths
  if expires > t and (not alone or a.idle) then
    take_out(id, t)
    move(id, 'running')
    set(id, 'attempts', num(id, 'attempts') + 1, 'worker', a.worker, 'claimed_at', stamp(t),
      'fence', redis.call('INCR', key('fence')) .. '-' .. a.token)
    redis.call('HSETNX', key('job', id), 'started_at', stamp(t))
    redis.call('ZADD', key('leases'), stamp(t + S.lease_s), id)
    redis.call('SADD', key('running', a.model), id)
    work(a.model, 'running_units', remaining(id))
    emit(id, 'status')
    return redis.call('HGETALL', key('job', id))
  end
end
return false
