-- Lease due deliveries to a door. Each goes to the tenant with the fewest calls in progress there,
-- and among those to the tenant whose turn came first.
-- → {{{job id, tenant, attempt, receiver}, …}, how many were put off as their receiver hangs}
local LOOKS = 32  -- entries of a tenant that one call may put off or pass over
local t = now()
local taken, put_off, busy, calling, resting = {}, 0, a.busy, a.calling, a.resting
local looks, passed, probes = {}, {}, a.probes

-- The host and port that a delivery calls.
local function receiver_of(id)
  local url = tostring(parsed(get(id, 'webhook')).url):lower()
  local scheme, host = url:match('^(%a+)://([^/?#]*)')
  if not host or host:find(':%d+$') then return host or '' end
  return host .. (scheme == 'http' and ':80' or ':443')
end

-- The first of a tenant's deliveries that may be tried now, and its receiver.
local function first_of(who)
  looks[who], passed[who] = looks[who] or 0, passed[who] or 0
  while looks[who] < LOOKS do
    looks[who] = looks[who] + 1
    local found = redis.call('ZRANGEBYSCORE', line_of(who), '-inf', stamp(t),
      'LIMIT', passed[who], 1)
    local id = found[1]
    if not id then return end
    local receiver = readable(id) and receiver_of(id)
    local rest = receiver and resting[who .. ' ' .. receiver]
    if rest == 0 and probes <= 0 then rest = a.lease_s end
    if not receiver then
      passed[who] = passed[who] + 1
    elseif get(id, 'webhook_state') ~= 'pending' then
      withdraw_delivery(id, who, t)  -- damaged
    elseif num(id, 'webhook_attempts') >= a.max_attempts then
      dead_letter(id, t, 'every door that tried died')
    elseif rest and rest > 0 then
      schedule_delivery(id, t + rest, t)
      set(id, 'webhook_due', stamp(t + rest))
      put_off = put_off + 1
    elseif (calling[receiver] or 0) >= a.limit_of_receiver then
      passed[who] = passed[who] + 1
    else
      return id, receiver
    end
  end
end

local function lease(id, who, receiver)
  local attempt, line = num(id, 'webhook_attempts') + 1, who .. ' ' .. receiver
  set(id, 'webhook_attempts', attempt, 'webhook_token', a.token)
  schedule_delivery(id, t + math.max(a.lease_s, 1e-5), t)  -- this call must not find it again
  calling[receiver] = (calling[receiver] or 0) + 1
  if resting[line] then resting[line], probes = a.lease_s, probes - 1 end
  taken[#taken + 1] = {id, who, attempt, receiver}
end

-- Some tenants will be passed over, so look at more of them than there are places.
local looked_at = a.limit + LOOKS
for _ in pairs(busy) do looked_at = looked_at + 1 end
local left, asked = redis.call('ZRANGEBYSCORE', key('outbox_turns'), '-inf', stamp(t),
  'LIMIT', 0, looked_at), {}
for level = 0, a.limit_of_tenant - 1 do
  local more = {}
  for _, who in ipairs(left) do
    if (busy[who] or 0) > level then
      more[#more + 1] = who
    elseif #taken < a.limit then
      asked[who] = true
      local id, receiver = first_of(who)
      if id then
        lease(id, who, receiver)
        busy[who] = level + 1
        more[#more + 1] = who
      end
    end
  end
  left = more
  if #left == 0 or #taken >= a.limit then break end
end
for who in pairs(asked) do
  redis.call('ZREM', key('outbox_turns'), who)
  await_turn(who, t)
end
return {taken, put_off}
