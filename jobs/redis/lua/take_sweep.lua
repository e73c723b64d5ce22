-- Give the right to sweep to a process for a while, unless another holds it. → 1, or 0
-- A right that would last longer than it was given for is void: Redis' clock was set back.
local k = key('sweeper')
local holder, hold_ms = string.match(redis.call('GET', k) or '', '^(%S+) (%d+)$')
if holder and holder ~= a.holder and redis.call('PTTL', k) <= tonumber(hold_ms) then return 0 end
redis.call('SET', k, a.holder .. ' ' .. string.format('%d', a.hold_ms), 'PX', a.hold_ms)
return 1
