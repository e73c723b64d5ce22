-- Give an idle worker images of a job that another one offers. → {id, field, value, …}, or nil
local t, busy = now(), {}
for _, id in ipairs(a.busy) do busy[id] = true end

local function job(id, fence, images)
  local answer = redis.call('HGETALL', key('job', id))
  for _, part in ipairs({'helper_fence', fence, 'helper_images', cjson.encode(images)}) do
    answer[#answer + 1] = part
  end
  table.insert(answer, 1, id)
  return answer
end

-- The answer to an earlier try was lost: return what it gave, if anything.
local lease_ms = math.ceil(S.lease_s * 1000)
local latest = brief(key('helping', a.model, a.worker), lease_ms)
local earlier, helped = string.match(redis.call('GET', latest) or '', '^(%S+) (.+)$')
if earlier and string.sub(earlier, -#a.token) == a.token and held(helped, earlier) then
  return job(helped, earlier, images_in(helped, 'helper:' .. earlier))
end

local function take(id, images)
  local mine, left = {}, {}
  for i, image in ipairs(images) do
    local to = i <= math.min(a.most, num(id, 'helped')) and mine or left
    to[#to + 1] = image
  end
  put_images(id, 'offered', left)
  if #left == 0 then redis.call('SREM', key('offering', a.model), id) end
  local fence = redis.call('INCR', key('fence')) .. '-' .. a.token
  put_images(id, 'helper:' .. fence, mine)
  redis.call('ZADD', key('helpers'), stamp(t + S.lease_s), fence .. ' ' .. id)
  redis.call('SET', latest, fence .. ' ' .. id, 'PX', lease_ms)
  return job(id, fence, mine)
end

for _, id in ipairs(redis.call('SMEMBERS', key('offering', a.model))) do
  local images = images_in(id, 'offered')
  if get(id, 'status') ~= 'running' or #images == 0 then
    redis.call('SREM', key('offering', a.model), id)
  elseif get(id, 'worker') ~= a.worker and not busy[id] then
    return take(id, images)
  end
end
return false
