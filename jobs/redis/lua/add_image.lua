-- Point a job at a finished image whose bytes are already written. → 1, or 0 for a void fence
-- A retry has the same key, and must not delete the bytes that the job points at. The head stays
-- text: a seed is an int64, but Lua's numbers are doubles.
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
count('result', a.id, a.size_bytes)
drop_checkpoint(a.id, 'checkpoint:' .. a.index)
set(a.id, 'deaths', 0)
return 1
