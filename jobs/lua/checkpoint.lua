-- Point a job at checkpoints whose blobs were written before. → 1, or 0 for a void fence
if not held(a.id, a.fence) then
  for _, c in ipairs(a.checkpoints) do
    local known = get(a.id, 'checkpoint:' .. c.image)
    -- A call that comes again, its answer lost, must not take away what it had pointed at.
    if known and cjson.decode(known).key == c.key then
      redis.call('PERSIST', c.key)
    else
      redis.call('DEL', c.key)
    end
  end
  return 0
end
for _, c in ipairs(a.checkpoints) do
  local field = 'checkpoint:' .. c.image
  local old = get(a.id, field)
  if old and cjson.decode(old).key ~= c.key then redis.call('DEL', cjson.decode(old).key) end
  set(a.id, field, cjson.encode(c))
  redis.call('PERSIST', c.key)
end
set(a.id, 'deaths', 0)
return 1
