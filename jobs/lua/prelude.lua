-- What every transition shares. KEYS[1] is the deployment's prefix, ARGV[1] the arguments as JSON.
-- All keys carry one hash tag, so a deployment lives in one slot and a script may reach them all.
local P = KEYS[1]
local a = cjson.decode(ARGV[1])
local S = cjson.decode(ARGV[2])  -- settings: lease_s, max_deaths, suspect_deaths, …

local function key(...) return P .. ':' .. table.concat({...}, ':') end

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1e6
end

local function stamp(t) return string.format('%.6f', t) end

local function get(id, field) return redis.call('HGET', key('job', id), field) or nil end

local function num(id, field) return tonumber(get(id, field) or '0') end

local function set(id, ...) redis.call('HSET', key('job', id), ...) end

local function emit(id, kind, ...)
  redis.call('XADD', key('events', id), 'MAXLEN', '~', S.events_kept, '*',
    'kind', kind, 'attempt', get(id, 'attempts') or '0', ...)
  redis.call('PUBLISH', key('wake'), id)
end

-- What a newer version wrote is left alone: only a process that knows it may claim, end or sweep it.
local function readable(id) return num(id, 'schema_version') <= S.schema_version end

local function remaining(id) return math.max(0, num(id, 'units') - num(id, 'units_done')) end

local function work(model, field, by)
  redis.call('HINCRBYFLOAT', key('work', model), field, string.format('%.6f', by))
end

local function tenant(id) return get(id, 'tenant') end

-- A list of its tenant's jobs: all of them, or those of a status.
local function own(id, ...) return key('tenant', tenant(id), 'jobs', ...) end

local function move(id, status)
  local old, seq = get(id, 'status'), get(id, 'seq')
  redis.call('ZREM', key('jobs', old), id)
  redis.call('ZREM', own(id, old), id)
  redis.call('ZADD', key('jobs', status), seq, id)
  redis.call('ZADD', own(id, status), seq, id)
  set(id, 'status', status)
end

local function held(id, fence)
  return get(id, 'status') == 'running' and get(id, 'fence') == fence
end
