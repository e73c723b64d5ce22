-- Hand the next waiting job of a model to a worker. → the job's hash, or nothing
local t = now()

-- Whether this worker has to become idle for a suspect job that has waited too long; one does.
local function makes_room(id)
  if t - num(id, 'queued_at') < S.suspect_wait_s then return false end
  local k = key('making_room', a.model)
  local worker = redis.call('GET', k)
  if worker and worker ~= a.worker then return false end
  redis.call('SET', k, a.worker, 'PX', math.floor(S.lease_s * 2000))
  return true
end

local waiting = redis.call('ZRANGE', key('pending', a.model), 0, 63)
for _, id in ipairs(waiting) do
  local expires = tonumber(get(id, 'expires_at') or 'inf')
  if expires > t and readable(id) then
    if a.idle or num(id, 'deaths') < S.suspect_deaths then
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
    if makes_room(id) then return false end
  end
end
return false
