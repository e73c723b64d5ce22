-- End a job as canceled unless it has ended. → 1, or 0 when there is no such job
local status = get(a.id, 'status')
if not status then return 0 end
if status == 'queued' or status == 'running' then finish(a.id, now(), 'canceled') end
return 1
