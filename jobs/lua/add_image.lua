-- Point a job at a finished picture whose bytes were written before. → 1, or 0 for a void fence
-- A call whose answer was lost comes again, with the bytes under the same key: what the job points
-- at by then is kept, and for good.
local field = 'image:' .. a.image.index
local known, mine = get(a.id, field), held(a.id, a.fence)
if known and cjson.decode(known).key == a.image.key and not get(a.id, 'results_dropped') then
  redis.call('PERSIST', a.image.key)
  return mine and 1 or 0
end
if known or not mine then
  redis.call('DEL', a.image.key)
  return mine and 1 or 0
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
