-- Point a job at checkpoints whose blobs are already written. → 1, or 0 for a void fence
if not held(a.id, a.fence) then
  for _, c in ipairs(a.checkpoints) do
    -- A retry of a call that had succeeded must not delete the blob that the job points at.
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
