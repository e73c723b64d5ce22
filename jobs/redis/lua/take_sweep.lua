-- Give the right to sweep to a process for a while, unless another holds it. → 1, or 0
local holder = redis.call('GET', key('sweeper'))
if holder and holder ~= a.holder then return 0 end
redis.call('SET', key('sweeper'), a.holder, 'PX', a.hold_ms)
return 1
