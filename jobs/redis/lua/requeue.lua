-- Give a job back under its fence, ahead of its tenant's others. → 1, or 0 for a void fence
if not held(a.id, a.fence) then return 0 end
if not owns(a.id, a.fence) then
  end_help(a.id, a.fence)
  return 1
end
local t = now()
detach(a.id, t)
enqueue(a.id, t, false)
return 1
