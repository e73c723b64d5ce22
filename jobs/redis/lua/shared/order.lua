-- The order of claims: by class, then the tenant with the least virtual time (start-time fair
-- queueing, Goyal et al. 1996), then the tenant's own jobs by due time.
-- pending:<model>             all waiting jobs, by class, interrupted ones first, then by age
-- lanes:<model>:<rank>        tenants with waiting jobs → virtual time: units claimed over weight
-- idle:<model>:<rank>         other tenants → the same, until the class's virtual time passes it
-- lane:<model>:<rank>:<t>     a tenant's waiting jobs: interrupted ones first, then by due time
-- lane_units:<model>:<rank>   tenant → units of its waiting jobs; '*' → those of all tenants
-- lined_up:<model>            waiting job → 'rank tenant units', as it was enqueued
-- virtual:<model>             rank → the class's virtual time: that of the tenant served last
-- credit:<model>              rank → units that higher classes owe the class for passing it by
local FRESH_OFFSET = 4e15  -- microseconds, beyond any due time; their sum is exact in a double
local TIE = 1e-6  -- virtual times that differ by less are equal
local SAMPLED = 32  -- lanes that an estimate looks at

local function precise(x) return string.format('%.17g', x) end

local function virtual_time(model, rank)
  return tonumber(redis.call('HGET', key('virtual', model), rank) or '0')
end

-- Advance a tenant's virtual time by units claimed; negative units are a refund.
local function charge_tenant(model, rank, who, units)
  local lanes, by = key('lanes', model, rank), units / weight(who)
  if redis.call('ZSCORE', lanes, who) then
    redis.call('ZINCRBY', lanes, precise(by), who)
  else
    local own = redis.call('ZSCORE', key('idle', model, rank), who) or virtual_time(model, rank)
    redis.call('ZADD', key('idle', model, rank), precise(tonumber(own) + by), who)
  end
end

local function credit_class(model, rank, units)
  redis.call('HINCRBYFLOAT', key('credit', model), rank, precise(units))
end

local function due_at(id)
  return tonumber(get(id, 'expires_at') or '') or num(id, 'created_at') + S.patience_s
end

-- A tenant's virtual time, or the one it would start at with a job in this class. A tenant that
-- was idle starts at the class's virtual time, unless its job was interrupted.
local function virtual_start(model, rank, who, fresh)
  local class_time = virtual_time(model, rank)
  local own = redis.call('ZSCORE', key('lanes', model, rank), who)
  if own then return tonumber(own) end
  own = tonumber(redis.call('ZSCORE', key('idle', model, rank), who) or class_time)
  return fresh and math.max(own, class_time) or own
end

local function dequeue_fair(model, id)
  local queued = redis.call('HGET', key('lined_up', model), id)
  if not queued then return end
  local rank, who, units = queued:match('^(%d) (%S+) (%S+)$')
  local lane, sums = key('lane', model, rank, who), key('lane_units', model, rank)
  redis.call('HDEL', key('lined_up', model), id)
  redis.call('ZREM', lane, id)
  redis.call('HINCRBYFLOAT', sums, who, '-' .. units)
  redis.call('HINCRBYFLOAT', sums, '*', '-' .. units)
  if redis.call('EXISTS', lane) == 0 then
    local lanes = key('lanes', model, rank)
    local own = redis.call('ZSCORE', lanes, who) or virtual_time(model, rank)
    redis.call('ZADD', key('idle', model, rank), own, who)
    redis.call('ZREM', lanes, who)
    redis.call('HDEL', sums, who)
    if redis.call('EXISTS', lanes) == 0 then
      redis.call('DEL', sums)
      redis.call('HDEL', key('credit', model), rank)  -- an empty class is owed nothing
    end
  end
end

local function enqueue_fair(id, fresh)
  local model, rank, who = model_of(id), rank_of(id), tenant(id)
  local units = stamp(remaining(id))
  dequeue_fair(model, id)
  local lanes, sums = key('lanes', model, rank), key('lane_units', model, rank)
  if not redis.call('ZSCORE', lanes, who) then
    redis.call('ZADD', lanes, precise(virtual_start(model, rank, who, fresh)), who)
    redis.call('ZREM', key('idle', model, rank), who)
  end
  local place = due_at(id) * 1e6 + (fresh and FRESH_OFFSET or 0)
  redis.call('ZADD', key('lane', model, rank, who), string.format('%.0f', place), id)
  redis.call('HINCRBYFLOAT', sums, who, units)
  redis.call('HINCRBYFLOAT', sums, '*', units)
  redis.call('HSET', key('lined_up', model), id, rank .. ' ' .. who .. ' ' .. units)
end

-- Whether a job may share a worker with others.
local function safe(id) return num(id, 'deaths') < S.suspect_deaths end

-- The first member of a sorted set that fits, read in parts.
local function first_that(list, part, fits)
  local from, members = 0, nil
  repeat
    members = redis.call('ZRANGE', list, from, from + part - 1)
    for _, member in ipairs(members) do
      if fits(member) then return member end
    end
    from = from + part
  until #members < part
end

-- Take a job that does not wait out of a lane, even if nothing else says that it is there.
local function leave_lane(model, rank, who, id)
  dequeue_fair(model, id)
  local lane = key('lane', model, rank, who)
  if redis.call('ZREM', lane, id) == 1 and redis.call('EXISTS', lane) == 0 then
    redis.call('ZREM', key('lanes', model, rank), who)
  end
end

-- The next job in a tenant's lane for which 'may' is true, nil if there is none; 'damaged' are those
-- that do not wait.
local function first_of_lane(model, rank, who, t, may, damaged)
  return first_that(key('lane', model, rank, who), 32, function(id)
    if get(id, 'status') ~= 'queued' then
      damaged[#damaged + 1] = {who, id}
      return false
    end
    local expires_at = tonumber(get(id, 'expires_at') or '') or math.huge
    return expires_at > t and readable(id) and may(id)
  end)
end

-- The next job of a class, or of one tenant in it, for which 'may' is true, and its tenant; nil if
-- there is none.
local function first_of_class(model, rank, t, may, only)
  local found, damaged, whose = nil, {}, only
  local function look(who)
    found = first_of_lane(model, rank, who, t, may, damaged)
    return found
  end
  if only then look(only) else whose = first_that(key('lanes', model, rank), 16, look) end
  for _, each in ipairs(damaged) do leave_lane(model, rank, each[1], each[2]) end
  return found, whose
end

-- The next job, its tenant, its class, and the class it is served as: a class that is owed as many
-- units as its next job takes goes before those above it. With 'only', one tenant's next job.
local function choose(model, t, may, only)
  local id, who, rank
  for r = 0, only and 2 or -1 do
    id = first_of_class(model, r, t, may, only)
    if id then return id, only, r, r end
  end
  if only then return end
  for r = 0, 2 do
    local owed = tonumber(redis.call('HGET', key('credit', model), r) or '0')
    if not id or owed > 0 then
      local other, whose = first_of_class(model, r, t, may)
      if other and not id then
        id, who, rank = other, whose, r
      elseif other and remaining(other) <= owed then
        return other, whose, r, rank
      elseif not other and owed > 0 then
        redis.call('HDEL', key('credit', model), r)
      end
    end
  end
  return id, who, rank, rank
end

-- Account for a claim, before its job leaves the queue.
local function account_claim(model, rank, who, units, served_as)
  local start = tonumber(redis.call('ZSCORE', key('lanes', model, rank), who) or '0')
  local at = precise(math.max(virtual_time(model, rank), start))
  redis.call('HSET', key('virtual', model), rank, at)
  redis.call('ZREMRANGEBYSCORE', key('idle', model, rank), '-inf', at)
  charge_tenant(model, rank, who, units)
  if served_as < rank then credit_class(model, rank, -units) end
  for r = served_as + 1, 2 do
    if r ~= rank and redis.call('EXISTS', key('lanes', model, r)) == 1 then
      credit_class(model, r, units * S.class_share)
    end
  end
end

-- The jobs and units before a place in a tenant's lane. Other tenants are served up to the virtual
-- time at which this tenant's turn comes; if they are many, evenly spaced ones stand for all.
local function ahead(model, rank, who, place, fresh)
  local jobs, units = 0, 0
  for r = 0, rank - 1 do
    units = units + tonumber(redis.call('HGET', key('lane_units', model, r), '*') or '0')
  end
  jobs = redis.call('ZCOUNT', key('pending', model), '-inf', '(' .. precise(rank * 2e12))
  local lanes, sums = key('lanes', model, rank), key('lane_units', model, rank)
  local function lane(name)
    local count = redis.call('ZCARD', key('lane', model, rank, name))
    return count, math.max(0, tonumber(redis.call('HGET', sums, name) or '0'))
  end
  local count, sum = lane(who)
  local before = redis.call('ZCOUNT', key('lane', model, rank, who), '-inf', '(' .. place)
  local own = before * sum / math.max(1, count)
  local turn = virtual_start(model, rank, who, fresh) + own / weight(who)
  local behind = redis.call('ZCOUNT', lanes, '-inf', precise(turn + TIE))
  local looks = math.min(behind, SAMPLED)
  for i = 0, looks - 1 do
    local at = math.floor(i * behind / looks)
    local other = redis.call('ZRANGE', lanes, at, at, 'WITHSCORES')
    local name, gap = other[1], turn - tonumber(other[2])
    if name ~= who then
      local n, u = lane(name)
      local mean = math.max(u / math.max(1, n), 1e-9)
      local turns = gap * weight(name) / mean
      -- Ties go by name, as in a sorted set.
      turns = name < who and math.floor(turns + TIE) + 1 or math.ceil(turns - TIE)
      local served = math.min(n, turns)
      jobs, units = jobs + served * behind / looks, units + served * mean * behind / looks
    end
  end
  return math.floor(jobs + before + 0.5), units + own
end
