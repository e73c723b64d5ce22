-- Renew leases. → {ids with a void fence, the rank of a waiting job worth preempting one for or -1,
--   else a tenant that should have a slot, and the job to take it from}
local t = now()
extend_leases_after_outage(t)
local lost, model = {}, nil
for _, lease in ipairs(a.leases) do
  if held(lease.id, lease.fence) then
    if owns(lease.id, lease.fence) then
      redis.call('ZADD', key('leases'), stamp(t + S.lease_s), lease.id)
    else
      redis.call('ZADD', key('helpers'), stamp(t + S.lease_s), lease.fence .. ' ' .. lease.id)
    end
    model = get(lease.id, 'model')
  else
    lost[#lost + 1] = lease.id
  end
end

-- Return the best rank below 'preemptible' with a job that this worker could claim and that has
-- waited for a while. Within a second, at most as many calls return one as such jobs wait.
local function rank_to_preempt_for()
  for rank = 0, a.preemptible - 1 do
    local id = first_of_class(model, rank, t, safe)
    if id then
      if waited_s(id, t) < S.park_after_s then return end
      local k, bound = brief(key('called', model), 1000), '(' .. precise((rank + 1) * 2e12)
      local calls = redis.call('INCR', k)
      if calls == 1 then redis.call('PEXPIRE', k, 1000) end
      return calls <= redis.call('ZCOUNT', key('pending', model), '-inf', bound) and rank or nil
    end
  end
end

-- By tenant, what this worker's jobs hold in the class: slots, jobs that may be given back, and the
-- most units that one of those has left.
local function holdings()
  local by_tenant = {}
  for _, each in ipairs(a.held or {}) do
    local who = tenant(each.job_id)
    local mine = by_tenant[who] or {slots = 0}
    by_tenant[who], mine.slots = mine, mine.slots + each.slots
    local left = remaining(each.job_id)
    if each.preemptible and (not mine.job or each.slots < mine.fewest
        or each.slots == mine.fewest and left > mine.left) then
      mine.job, mine.fewest, mine.left = each.job_id, each.slots, left
    end
  end
  return by_tenant
end

-- Whether a tenant's slot should go to another's waiting job: it would still hold at least as many
-- for its weight, or the other holds none, has not used more units, and its job is the shorter one.
local function should_yield(holder, holding, who, slots, id, rank)
  if (holding.slots - 1) / weight(holder) >= (slots + 1) / weight(who) then return true end
  local lanes, idle = key('lanes', model, rank), key('idle', model, rank)
  local used = redis.call('ZSCORE', lanes, holder) or redis.call('ZSCORE', idle, holder)
  return slots == 0 and remaining(id) < holding.left
    and tonumber(redis.call('ZSCORE', lanes, who)) <= tonumber(used or '0')
end

-- Return a tenant with a job that has waited for a while and should have a slot here, and the job
-- that should give it back: of the tenant with the most slots for its weight.
local function share_to_give()
  local rank, by_tenant, from = a.preemptible, holdings(), nil
  local to = first_that(key('lanes', model, rank), 16, function(who)
    local id = first_of_lane(model, rank, who, t, safe, {})
    if not id or waited_s(id, t) < S.park_after_s then return false end
    local slots, most = by_tenant[who] and by_tenant[who].slots or 0, 0
    for holder, holding in pairs(by_tenant) do
      local density = holding.slots / weight(holder)
      if holder ~= who and holding.job and density > most
        and should_yield(holder, holding, who, slots, id, rank) then
        from, most = holding.job, density
      end
    end
    return from
  end)
  if not to then return end
  local k = brief(key('called', model, to), 1000)
  local calls = redis.call('INCR', k)
  if calls == 1 then redis.call('PEXPIRE', k, 1000) end
  if calls <= redis.call('ZCARD', key('lane', model, rank, to)) then return to, from end
end

if not (model and a.preemptible) then return {lost, -1} end
local rank = rank_to_preempt_for()
if rank then return {lost, rank} end
local to, from = share_to_give()
return {lost, -1, to, from}
