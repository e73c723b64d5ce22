-- End a job as succeeded or failed under its fence. → 1, or 0 for a void fence
if not held(a.id, a.fence) then return 0 end

-- The least step at which an image was ended before its last, a helper's among them.
local others = tonumber(get(a.id, 'early'))
local early = a.early and others and math.min(a.early, others) or a.early or others

if not owns(a.id, a.fence) then
  set(a.id, 'evaluations_before', num(a.id, 'evaluations_before') + (a.evaluations or 0))
  if early then set(a.id, 'early', early) end
  end_help(a.id, a.fence)
  return 1
end

if a.status == 'succeeded' then
  local t = now()
  add_work(get(a.id, 'model'), 'running_units', -remaining(a.id))
  set(a.id, 'step', get(a.id, 'total_steps'), 'units_done', get(a.id, 'units'),
    'evaluations', num(a.id, 'evaluations_before') + a.evaluations)
  if early then set(a.id, 'finished_early', early) end
  finish(a.id, t, 'succeeded')
elseif a.elsewhere and not get(a.id, 'failed_on')
    and #other_workers(get(a.id, 'model'), get(a.id, 'worker')) > 0 then
  set(a.id, 'failed_on', get(a.id, 'worker'))
  detach(a.id, now())
  enqueue(a.id, now(), 0)
else
  finish(a.id, now(), 'failed', a.error)
end
return 1
