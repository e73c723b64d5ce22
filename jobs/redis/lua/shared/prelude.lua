-- Shared by all scripts. KEYS[1] is the deployment's prefix, ARGV[1] the arguments as JSON.
-- All keys carry one hash tag: a deployment lives in one slot, so a script may reach any of them.
local P = KEYS[1]
local a = cjson.decode(ARGV[1])
local S = cjson.decode(ARGV[2])  -- settings: lease_s, max_deaths, suspect_deaths, …

local function key(...) return P .. ':' .. table.concat({...}, ':') end

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1e6
end

-- A key that lives for so long at most, deleted if it would live longer: the clock was set back.
local function brief(k, ms)
  if redis.call('PTTL', k) > ms then redis.call('DEL', k) end
  return k
end

local function stamp(t) return string.format('%.6f', t) end

local function get(id, field) return redis.call('HGET', key('job', id), field) or nil end

-- A field as a finite number; a missing or damaged one counts as 0.
local function num(id, field)
  local n = tonumber(get(id, field) or '0')
  if not n or n ~= n or n == math.huge or n == -math.huge then return 0 end
  return n
end

-- How long a job has been queued; for ever, if the clock was set back meanwhile.
local function waited_s(id, t)
  local seconds = t - num(id, 'queued_at')
  return seconds < 0 and math.huge or seconds
end

-- A JSON object as a table; a missing or damaged one is empty.
local function parsed(text)
  local ok, found = pcall(cjson.decode, text or '')
  return ok and type(found) == 'table' and found or {}
end

-- The key of the blob that a field points to, nil if the field is missing or damaged.
local function pointer(id, field)
  local blob = parsed(get(id, field)).key
  return type(blob) == 'string' and blob or nil
end

local function set(id, ...) redis.call('HSET', key('job', id), ...) end

local function emit(id, kind, ...)
  redis.call('XADD', key('events', id), 'MAXLEN', '~', S.events_kept, '*',
    'kind', kind, 'attempt', get(id, 'attempts') or '0', ...)
  redis.call('PUBLISH', key('wake'), id)
end

-- Whether this version may claim, end or sweep a job. Jobs of a newer version are left to it.
local function readable(id)
  local version = num(id, 'schema_version')
  return version <= S.schema_version or version > 1e6  -- so large a version is damage
end

local function remaining(id) return math.max(0, num(id, 'units') - num(id, 'units_done')) end

local function add_work(model, field, units)
  redis.call('HINCRBYFLOAT', key('work', model), field, string.format('%.6f', units))
end

local function model_of(id) return get(id, 'model') or '' end

local function rank_of(id) return math.max(0, math.min(2, math.floor(num(id, 'rank')))) end

local function tenant(id) return get(id, 'tenant') or 'public' end

-- The list of a tenant's jobs, or of those with a status.
local function tenant_list(id, ...) return key('tenant', tenant(id), 'jobs', ...) end

local function set_status(id, status)
  local old, seq = get(id, 'status') or '', string.format('%.0f', num(id, 'seq'))
  redis.call('ZREM', key('jobs', old), id)
  redis.call('ZREM', tenant_list(id, old), id)
  redis.call('ZADD', key('jobs', status), seq, id)
  redis.call('ZADD', tenant_list(id, status), seq, id)
  set(id, 'status', status)
end

-- What a model's live workers besides one announce, but for those that drain.
local function other_workers(model, besides)
  local found = {}
  for _, worker in ipairs(redis.call('SMEMBERS', key('workers'))) do
    local text = worker ~= besides and redis.call('GET', key('worker', worker))
    local entry = text and parsed(text)
    if entry and entry.model == model and not entry.draining then found[#found + 1] = entry end
  end
  return found
end

-- A job's fields that begin with a prefix.
local function fields(id, prefix)
  local found = {}
  for _, f in ipairs(redis.call('HKEYS', key('job', id))) do
    if f:sub(1, #prefix) == prefix then found[#found + 1] = f end
  end
  return found
end
