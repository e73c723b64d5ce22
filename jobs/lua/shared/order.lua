-- The order in which a model's jobs are claimed: class, then the tenant furthest behind by units
-- over weight (start-time fair queueing, Goyal et al. 1996), then its own jobs by when they are due.
-- pending:<model>             every waiting job, by class, interruption and age
-- lanes:<model>:<rank>        tenants with waiting jobs → virtual time: units claimed over weight
-- idle:<model>:<rank>         tenants without → the same, until the class's own has passed it
-- lane:<model>:<rank>:<t>     a tenant's waiting jobs: interrupted ones first, then by due time
-- lane_units:<model>:<rank>   their units by tenant, and of all tenants under '*'
-- lined_up:<model>            job id → 'rank tenant units' of every job that stands in a lane
-- virtual:<model>             rank → the class's virtual time: that of the last tenant served
-- credit:<model>              rank → units that higher classes owe it for passing it by
local FRESH = 4e15  -- microseconds: beyond any due time, and exact in a double beside one
local EVEN = 1e-6  -- turns that differ by less come at once
local SAMPLED = 32  -- lanes looked at to say how much stands before a job

local function precise(x) return string.format('%.17g', x) end

local function virtual(model, rank)
  return tonumber(redis.call('HGET', key('virtual', model), rank) or '0')
end

-- Add to a tenant's virtual time what it was given, or take back what it has not used.
local function charge(model, rank, who, units)
  local lanes, by = key('lanes', model, rank), units / weight(who)
  if redis.call('ZSCORE', lanes, who) then
    redis.call('ZINCRBY', lanes, precise(by), who)
  else
    local own = redis.call('ZSCORE', key('idle', model, rank), who) or virtual(model, rank)
    redis.call('ZADD', key('idle', model, rank), precise(tonumber(own) + by), who)
  end
end

-- Let a class be owed some units more or less.
local function credit(model, rank, units)
  redis.call('HINCRBYFLOAT', key('credit', model), rank, precise(units))
end

local function due(id)
  return tonumber(get(id, 'expires_at') or '') or num(id, 'created_at') + S.patience_s
end

-- Where a tenant's virtual time stands, or would stand if it had a job of this class waiting.
local function standing(model, rank, who, fresh)
  local now_at = virtual(model, rank)
  local own = redis.call('ZSCORE', key('lanes', model, rank), who)
  if own then return tonumber(own) end
  own = tonumber(redis.call('ZSCORE', key('idle', model, rank), who) or now_at)
  return fresh and math.max(own, now_at) or own  -- idling earns nothing; an interruption costs nothing
end

local function fall_out(model, id)
  local stood = redis.call('HGET', key('lined_up', model), id)
  if not stood then return end
  local rank, who, units = stood:match('^(%d) (%S+) (%S+)$')
  local lane, sums = key('lane', model, rank, who), key('lane_units', model, rank)
  redis.call('HDEL', key('lined_up', model), id)
  redis.call('ZREM', lane, id)
  redis.call('HINCRBYFLOAT', sums, who, '-' .. units)
  redis.call('HINCRBYFLOAT', sums, '*', '-' .. units)
  if redis.call('EXISTS', lane) == 0 then
    local lanes = key('lanes', model, rank)
    redis.call('ZADD', key('idle', model, rank), redis.call('ZSCORE', lanes, who), who)
    redis.call('ZREM', lanes, who)
    redis.call('HDEL', sums, who)
    if redis.call('EXISTS', lanes) == 0 then
      redis.call('DEL', sums)
      redis.call('HDEL', key('credit', model), rank)  -- who does not wait is owed nothing
    end
  end
end

local function line_up(id, fresh)
  local model, rank, who = model_of(id), rank_of(id), tenant(id)
  local units = stamp(remaining(id))
  fall_out(model, id)
  local lanes, sums = key('lanes', model, rank), key('lane_units', model, rank)
  if not redis.call('ZSCORE', lanes, who) then
    redis.call('ZADD', lanes, precise(standing(model, rank, who, fresh)), who)
    redis.call('ZREM', key('idle', model, rank), who)
  end
  local place = due(id) * 1e6 + (fresh and FRESH or 0)
  redis.call('ZADD', key('lane', model, rank, who), string.format('%.0f', place), id)
  redis.call('HINCRBYFLOAT', sums, who, units)
  redis.call('HINCRBYFLOAT', sums, '*', units)
  redis.call('HSET', key('lined_up', model), id, rank .. ' ' .. who .. ' ' .. units)
end

-- Whether a job may run beside others.
local function safe(id) return num(id, 'deaths') < S.suspect_deaths end

-- The next job of a class that passes 'may', and its tenant; nothing when none does.
local function first(model, rank, t, may)
  for _, who in ipairs(redis.call('ZRANGE', key('lanes', model, rank), 0, 15)) do
    for _, id in ipairs(redis.call('ZRANGE', key('lane', model, rank, who), 0, 31)) do
      if get(id, 'status') ~= 'queued' then
        fall_out(model, id)  -- damaged
      elseif (tonumber(get(id, 'expires_at') or '') or math.huge) > t and readable(id) and may(id) then
        return id, who
      end
    end
  end
end

-- The next job, its tenant, its class, and the class that it is served as: a class that is owed
-- as much as its next job takes goes before those above it.
local function choose(model, t, may)
  local id, who, rank
  for r = 0, 2 do
    local owed = tonumber(redis.call('HGET', key('credit', model), r) or '0')
    if not id or owed > 0 then
      local other, whose = first(model, r, t, may)
      if other and not id then
        id, who, rank = other, whose, r
      elseif other and remaining(other) <= owed then
        return other, whose, r, rank
      elseif not other and owed > 0 then
        redis.call('HDEL', key('credit', model), r)  -- nothing there that could be served
      end
    end
  end
  return id, who, rank, rank
end

-- Account for a claim, before the job leaves the queue.
local function serve(model, rank, who, units, served_as)
  local lanes = key('lanes', model, rank)
  local at = math.max(virtual(model, rank), tonumber(redis.call('ZSCORE', lanes, who)))
  redis.call('HSET', key('virtual', model), rank, precise(at))
  redis.call('ZREMRANGEBYSCORE', key('idle', model, rank), '-inf', precise(at))
  charge(model, rank, who, units)
  if served_as < rank then credit(model, rank, -units) end
  for r = served_as + 1, 2 do
    if r ~= rank and redis.call('EXISTS', key('lanes', model, r)) == 1 then
      credit(model, r, units * S.class_share)
    end
  end
end

-- What stands before a place in a tenant's lane. → jobs, units. Other tenants are served up to the
-- virtual time at which it is the tenant's turn; of many, evenly spaced ones stand for all.
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
  local turn = standing(model, rank, who, fresh) + own / weight(who)
  local behind = redis.call('ZCOUNT', lanes, '-inf', precise(turn + EVEN))
  local looks = math.min(behind, SAMPLED)
  for i = 0, looks - 1 do
    local at = math.floor(i * behind / looks)
    local other = redis.call('ZRANGE', lanes, at, at, 'WITHSCORES')
    local name, gap = other[1], turn - tonumber(other[2])
    if name ~= who then
      local n, u = lane(name)
      local mean = math.max(u / math.max(1, n), 1e-9)
      local turns = gap * weight(name) / mean
      -- as ties are broken
      turns = name < who and math.floor(turns + EVEN) + 1 or math.ceil(turns - EVEN)
      local served = math.min(n, turns)
      jobs, units = jobs + served * behind / looks, units + served * mean * behind / looks
    end
  end
  return math.floor(jobs + before + 0.5), units + own
end
