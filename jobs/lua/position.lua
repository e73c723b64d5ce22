-- Say what stands before a waiting job. → {jobs, units}, or nothing when it does not wait
if get(a.id, 'status') ~= 'queued' then return false end
local model, rank, who = get(a.id, 'model'), num(a.id, 'rank'), tenant(a.id)
local place = redis.call('ZSCORE', key('lane', model, rank, who), a.id)
local jobs, units = ahead(model, rank, who, place, false)
return {jobs, stamp(units)}
