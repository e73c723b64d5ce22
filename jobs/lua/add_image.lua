-- Point a job at a finished picture whose bytes were written before. → 1, or 0 for a void fence
if not held(a.id, a.fence) then
  redis.call('DEL', a.image.key)
  return 0
end
local field = 'image:' .. a.image.index
if get(a.id, field) then
  if cjson.decode(get(a.id, field)).key ~= a.image.key then redis.call('DEL', a.image.key) end
  return 1
end
set(a.id, field, cjson.encode(a.image))
redis.call('PERSIST', a.image.key)
redis.call('INCRBY', key('result_bytes'), a.image.size_bytes)
redis.call('HINCRBY', key('result_sizes'), a.id, a.image.size_bytes)
local saved = get(a.id, 'checkpoint:' .. a.image.index)
if saved then
  redis.call('DEL', cjson.decode(saved).key)
  redis.call('HDEL', key('job', a.id), 'checkpoint:' .. a.image.index)
end
set(a.id, 'deaths', 0)
return 1
