-- Lease due deliveries to a door: one by one to the tenant of which it has the fewest under way, to
-- those the longest without first, so many at most a tenant, and so many at most in all to tenants
-- whose receivers hang. → {{job id, tenant, attempt}, …}
local LOOKS = 100  -- at entries of a tenant that cannot be tried, in one call
local t = now()
local taken, busy, looks, passed, asked = {}, a.busy, {}, {}, {}

-- The first of a tenant's deliveries that may be tried.
local function first_of(who)
  looks[who], passed[who] = looks[who] or 0, passed[who] or 0
  while looks[who] < LOOKS do
    looks[who] = looks[who] + 1
    local id = redis.call('ZRANGEBYSCORE', line_of(who), '-inf', stamp(t),
      'LIMIT', passed[who], 1)[1]
    if not id then return end
    if not readable(id) then
      passed[who] = passed[who] + 1
    elseif num(id, 'webhook_attempts') >= a.max_attempts then
      bury(id, t, 'every door that tried died')
    else
      return id
    end
  end
end

local function lease(id, who)
  local attempt = num(id, 'webhook_attempts') + 1
  set(id, 'webhook_attempts', attempt, 'webhook_token', a.token)
  put_off(id, t + math.max(a.lease_s, 1e-5), t)  -- this call must not find it again
  taken[#taken + 1] = {id, who, attempt}
end

-- Tenants whose turn has come, enough for as many places where some have deliveries under way.
local function due(turns, places)
  for _ in pairs(busy) do places = places + 1 end
  local found = redis.call('ZRANGEBYSCORE', key(turns), '-inf', stamp(t),
    'WITHSCORES', 'LIMIT', 0, places)
  local tenants = {}
  for i = 1, #found, 2 do tenants[#tenants + 1] = {found[i], tonumber(found[i + 1])} end
  return tenants
end

local slow_places, slow = a.limit_of_slow, {}
for who, count in pairs(busy) do
  if redis.call('HEXISTS', key('outbox_slow'), who) == 1 then slow_places = slow_places - count end
end
local order, left = due('outbox_turns', a.limit), {}
if slow_places > 0 then
  for _, each in ipairs(due('outbox_slow_turns', slow_places)) do
    slow[each[1]] = true
    order[#order + 1] = each
  end
end
table.sort(order, function(x, y) return x[2] < y[2] or x[2] == y[2] and x[1] < y[1] end)
for i, each in ipairs(order) do left[i] = each[1] end

for level = 0, a.limit_of_tenant - 1 do
  local more = {}
  for _, who in ipairs(left) do
    local id
    if (busy[who] or 0) > level then
      more[#more + 1] = who
    elseif #taken < a.limit and (not slow[who] or slow_places > 0) then
      id, asked[who] = first_of(who), true
    end
    if id then
      lease(id, who)
      if slow[who] then slow_places = slow_places - 1 end
      busy[who] = level + 1
      more[#more + 1] = who
    end
  end
  left = more
  if #left == 0 or #taken >= a.limit then break end
end
for who in pairs(asked) do
  leave_turns(who)
  await_turn(who, t)
end
return taken
