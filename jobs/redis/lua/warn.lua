-- Record what the worker found that a client should know. → 1, or 0 for a void fence
if not held(a.id, a.fence) then return 0 end
for field, warning in pairs(a.warnings) do set(a.id, field, warning) end
return 1
