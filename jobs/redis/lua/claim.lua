-- Hand a model's next waiting job to a worker. → {id, field, value, …}, or nil
local t = now()
local making_room = false

-- How many other workers of the model have no job.
local function idle_workers()
  local idle = 0
  for _, entry in ipairs(other_workers(a.model, a.worker)) do
    if entry.jobs == 0 and entry.loaded ~= false then idle = idle + 1 end
  end
  return tostring(idle)
end

local function job(id)
  local answer = redis.call('HGETALL', key('job', id))
  table.insert(answer, 1, id)
  local images = parsed(get(id, 'spec')).num_images
  if type(images) == 'number' and images > 1 then
    answer[#answer + 1], answer[#answer + 2] = 'idle_workers', idle_workers()
  end
  return answer
end

-- The answer to an earlier try of this claim was lost: return the job that it claimed, if any.
local lease_ms = math.ceil(S.lease_s * 1000)
local latest = brief(key('claimed', a.model, a.worker), lease_ms)
local earlier = redis.call('GET', latest)
local is_claimed = earlier and get(earlier, 'status') == 'running'
if is_claimed and string.sub(get(earlier, 'fence') or '', -#a.token) == a.token then
  redis.call('ZADD', key('leases'), stamp(t + S.lease_s), earlier)
  return job(earlier)
end

-- Whether this worker must become idle for a suspect job that has waited too long. Only one must.
local function makes_room(id)
  if waited_s(id, t) < S.suspect_wait_s then return false end
  local hold_ms = math.floor(S.lease_s * 2000)
  local k = brief(key('making_room', a.model), hold_ms)
  local worker = redis.call('GET', k)
  if worker and worker ~= a.worker then return false end
  redis.call('SET', k, a.worker, 'PX', hold_ms)
  return true
end

-- Whether this worker must leave a job that failed on it to another one.
local function failed_here(id)
  return get(id, 'failed_on') == a.worker and waited_s(id, t) < S.suspect_wait_s
end

local function may(id)
  if failed_here(id) then return false end
  if a.idle or safe(id) then return true end
  making_room = making_room or makes_room(id)
  return false
end

local id, who, rank, served_as = choose(a.model, t, may, a.tenant)
if not id or making_room or served_as >= (a.above or math.huge) then return false end
account_claim(a.model, rank, who, remaining(id), served_as)
detach(id, t)
set_status(id, 'running')
set(id, 'attempts', num(id, 'attempts') + 1, 'worker', a.worker, 'claimed_at', stamp(t),
  'fence', redis.call('INCR', key('fence')) .. '-' .. a.token, 'served_as', served_as,
  'weight', weight(who))
redis.call('HSETNX', key('job', id), 'started_at', stamp(t))
redis.call('ZADD', key('leases'), stamp(t + S.lease_s), id)
redis.call('SADD', key('running', a.model), id)
redis.call('SET', latest, id, 'PX', lease_ms)
add_work(a.model, 'running_units', remaining(id))
emit(id, 'status')
return job(id)
