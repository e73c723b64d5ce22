-- End a job as succeeded or failed under its fence. → 1, or 0 for a void fence
if not held(a.id, a.fence) then return 0 end
if a.status == 'succeeded' then
  local t = now()
  add_work(get(a.id, 'model'), 'running_units', -remaining(a.id))
  set(a.id, 'step', get(a.id, 'total_steps'), 'units_done', get(a.id, 'units'),
    'evaluations', num(a.id, 'evaluations_before') + a.evaluations)
  finish(a.id, t, 'succeeded')
else
  finish(a.id, now(), 'failed', a.error)
end
return 1
