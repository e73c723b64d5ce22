-- Record and publish progress of many jobs. → ids with a void fence
local lost = {}
for _, u in ipairs(a.updates) do
  if owns(u.id, u.fence) then
    add_work(get(u.id, 'model'), 'running_units', num(u.id, 'units_done') - u.units_done)
    set(u.id, 'step', u.step, 'units_done', stamp(u.units_done),
      'evaluations', num(u.id, 'evaluations_before') + u.evaluations)
    charge_quota(u.id, remaining(u.id))
    emit(u.id, 'progress', 'step', u.step, 'eta_s', u.eta_s and tostring(u.eta_s) or '')
  elseif not held(u.id, u.fence) then  -- images of helpers count once they are stored
    lost[#lost + 1] = u.id
  end
end
return lost
