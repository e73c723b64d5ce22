-- Return what is ahead of a waiting job. → {jobs, units}, or nil if it does not wait
if get(a.id, 'status') ~= 'queued' then return false end
local model, rank, who = model_of(a.id), rank_of(a.id), tenant(a.id)
local place = redis.call('ZSCORE', key('lane', model, rank, who), a.id)
if not place then return false end  -- damaged
local jobs, units = ahead(model, rank, who, place, false)
return {jobs, stamp(units)}
