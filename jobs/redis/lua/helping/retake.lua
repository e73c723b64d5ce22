-- Take back images that are on offer, or that helpers have given back.
-- → {images that helpers have, images that are stored}, or nil for a void fence
if not owns(a.id, a.fence) then return false end
redis.call('HDEL', key('job', a.id), 'offered', 'returned')
redis.call('SREM', key('offering', get(a.id, 'model')), a.id)
local out, stored = {}, {}
for _, field in ipairs(fields(a.id, 'helper:')) do
  for _, image in ipairs(images_in(a.id, field)) do out[#out + 1] = image end
end
for _, field in ipairs(fields(a.id, 'image:')) do stored[#stored + 1] = tonumber(field:sub(7)) end
return {out, stored}
