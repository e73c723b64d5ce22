-- Forget a job and everything it left. → 1, or 0 when there is no such job
local status = get(a.id, 'status')
if not status then return 0 end
if status == 'queued' or status == 'running' then finish(a.id, now(), 'canceled') end
forget(a.id)
redis.call('PUBLISH', key('wake'), a.id)
return 1
