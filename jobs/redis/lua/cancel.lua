-- End a job as canceled unless it has ended; with a.delete, also delete it.
-- → 1, 0 if there is no such job, or {newer, version}
if redis.call('EXISTS', key('job', a.id)) == 0 then return 0 end
if not readable(a.id) then return {'newer', get(a.id, 'schema_version')} end
if a.delete then delete(a.id, now()) else cancel(a.id, now()) end
return 1
