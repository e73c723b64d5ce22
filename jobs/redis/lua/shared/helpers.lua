-- Idle workers help with images that a job's worker offers. The job stays that worker's: a helper
-- stores images, and those that it does not finish go back.
-- offering:<model>      jobs with images on offer
-- helpers               'fence id' of each helper → when its lease ends
-- job:<id> helped       how many images a helper takes, once any were offered
--          offered      JSON array of the images on offer
--          returned     of those that helpers have given back
--          helper:<f>   of those that the helper with the fence f has

-- Whether a fence is that of the job's worker.
local function owns(id, fence)
  return get(id, 'status') == 'running' and get(id, 'fence') == fence
end

-- Whether a fence is that of the job's worker or of a helper.
local function held(id, fence)
  if get(id, 'status') ~= 'running' then return false end
  return get(id, 'fence') == fence or redis.call('HEXISTS', key('job', id), 'helper:' .. fence) == 1
end

local function images_in(id, field)
  local ok, found = pcall(cjson.decode, get(id, field) or '')
  return ok and type(found) == 'table' and found or {}
end

local function put_images(id, field, images)
  if #images > 0 then
    set(id, field, cjson.encode(images))
  else
    redis.call('HDEL', key('job', id), field)
  end
end

-- End a helper; images that it has not stored go back to the job's worker.
local function end_help(id, fence)
  local back = images_in(id, 'returned')
  for _, image in ipairs(images_in(id, 'helper:' .. fence)) do
    if not get(id, 'image:' .. image) then back[#back + 1] = image end
  end
  put_images(id, 'returned', back)
  redis.call('HDEL', key('job', id), 'helper:' .. fence)
  redis.call('ZREM', key('helpers'), fence .. ' ' .. id)
end

-- Void all help with a job that leaves its worker.
local function drop_help(id)
  if not get(id, 'helped') then return end
  for _, field in ipairs(fields(id, 'helper:')) do
    redis.call('ZREM', key('helpers'), field:sub(8) .. ' ' .. id)
    redis.call('HDEL', key('job', id), field)
  end
  redis.call('HDEL', key('job', id), 'helped', 'offered', 'returned')
  redis.call('SREM', key('offering', get(id, 'model') or ''), id)
end
