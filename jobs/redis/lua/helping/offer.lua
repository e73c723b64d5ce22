-- Offer a job's images to idle workers, 'share' to each. → 1, or 0 for a void fence
if not owns(a.id, a.fence) then return 0 end
set(a.id, 'helped', a.share)
put_images(a.id, 'offered', a.images)
redis.call('SADD', key('offering', get(a.id, 'model')), a.id)
return 1
