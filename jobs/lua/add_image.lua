-- Point a job at a finished picture whose bytes were written before. → 1, or 0 for a void fence
-- A call whose answer was lost comes again, with the bytes under the same key: what the job points
-- at by then is kept, and for good. The head is stored as it came, as text: a seed is an int64.
local field = 'image:' .. a.index
local known, mine = get(a.id, field), held(a.id, a.fence)
if known and pointer(a.id, field) == a.key and not get(a.id, 'results_dropped') then
  redis.call('PERSIST', a.key)
  return mine and 1 or 0
end
if known or not mine then
  redis.call('DEL', a.key)
  return mine and 1 or 0
end
set(a.id, field, a.head)
redis.call('PERSIST', a.key)
redis.call('INCRBY', key('result_bytes'), a.size_bytes)
redis.call('HINCRBY', key('result_sizes'), a.id, a.size_bytes)
local saved = pointer(a.id, 'checkpoint:' .. a.index)
if saved then redis.call('DEL', saved) end
redis.call('HDEL', key('job', a.id), 'checkpoint:' .. a.index)
set(a.id, 'deaths', 0)
return 1
