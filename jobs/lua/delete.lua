-- Forget a job and everything it left. → 1, or 0 when there is no such job
local status = get(a.id, 'status')
if not status then return 0 end
if status == 'queued' or status == 'running' then finish(a.id, now(), 'canceled') end
drop_images(a.id)
redis.call('ZREM', key('jobs'), a.id)
redis.call('ZREM', key('jobs', get(a.id, 'status')), a.id)
redis.call('ZREM', key('ended'), a.id)
redis.call('DEL', key('job', a.id), key('events', a.id), key('previews', a.id))
redis.call('PUBLISH', key('wake'), a.id)
return 1
