-- Do what a client asks of a job: 'cancel' it unless it has ended, also 'delete' it, or have it
-- 'finish' at its present step. → 1, 0 if there is no such job, -1 if it has not begun and cannot
-- finish, or {newer, version}
if redis.call('EXISTS', key('job', a.id)) == 0 then return 0 end
if not readable(a.id) then return {'newer', get(a.id, 'schema_version')} end
if a.wish == 'delete' then
  delete(a.id, now())
elseif a.wish == 'cancel' then
  cancel(a.id, now())
else
  local status = get(a.id, 'status')
  if status == 'queued' and num(a.id, 'step') == 0 then return -1 end
  if status == 'queued' or status == 'running' then set(a.id, 'finish_now', 1) end
end
return 1
