-- Forget a job and everything it left. → 1, 0 when there is no such job, or {newer, version}
if redis.call('EXISTS', key('job', a.id)) == 0 then return 0 end
if not readable(a.id) then return {'newer', get(a.id, 'schema_version')} end
local status = get(a.id, 'status')
if status == 'queued' or status == 'running' then finish(a.id, now(), 'canceled') end
if damaged(a.id) then evict(a.id) end
forget(a.id)
redis.call('PUBLISH', key('wake'), a.id)
return 1
