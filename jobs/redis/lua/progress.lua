-- Record and publish progress of many jobs. → {ids with a void fence, ids that are to end now}
local lost, now_wanted = {}, {}
for _, u in ipairs(a.updates) do
  if held(u.id, u.fence) and get(u.id, 'finish_now') then now_wanted[#now_wanted + 1] = u.id end
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
return {lost, now_wanted}
