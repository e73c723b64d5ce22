-- Point a job at checkpoints whose blobs were written before. → 1, or 0 for a void fence
if not held(a.id, a.fence) then
  for _, c in ipairs(a.checkpoints) do
    -- A call that comes again, its answer lost, must not take away what it had pointed at.
    if pointer(a.id, 'checkpoint:' .. c.image) == c.key then
      redis.call('PERSIST', c.key)
    else
      redis.call('DEL', c.key)
    end
  end
  return 0
end
for _, c in ipairs(a.checkpoints) do
  local field = 'checkpoint:' .. c.image
  local old = pointer(a.id, field)
  if old and old ~= c.key then redis.call('DEL', old) end
  set(a.id, field, c.head)
  redis.call('PERSIST', c.key)
end
set(a.id, 'deaths', 0)
return 1
