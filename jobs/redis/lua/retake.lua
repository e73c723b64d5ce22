-- Take back images that no worker has taken, and those that helpers have given back.
-- → {these, those that helpers have}, or nil for a void fence
if not owns(a.id, a.fence) then return false end
local back, out = images_in(a.id, 'offered'), {}
for _, image in ipairs(images_in(a.id, 'returned')) do back[#back + 1] = image end
redis.call('HDEL', key('job', a.id), 'offered', 'returned')
redis.call('SREM', key('offering', get(a.id, 'model')), a.id)
for _, field in ipairs(fields(a.id, 'helper:')) do
  for _, image in ipairs(images_in(a.id, field)) do out[#out + 1] = image end
end
return {back, out}
