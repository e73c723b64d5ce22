-- Take one request from several buckets (GCRA): from all of them, or from none.
-- KEYS[i] is a bucket; ARGV[2i-1] its requests a window, ARGV[2i] the window in seconds.
-- → {1 if it was taken, then of each: requests left, ms until it is full, ms until one more}
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local buckets, fits = {}, true
for i, name in ipairs(KEYS) do
  local window = tonumber(ARGV[2 * i])
  local step = window / tonumber(ARGV[2 * i - 1])
  local full_at = math.max(tonumber(redis.call('GET', name) or '0'), now)
  full_at = math.min(full_at, now + window)  -- beyond it only if the clock was set back
  buckets[i] = {name = name, window = window, step = step, full_at = full_at}
  if full_at + step - now > window + 1e-6 then fits = false end
end
local answer = {fits and 1 or 0}
for _, b in ipairs(buckets) do
  if fits then
    b.full_at = b.full_at + b.step
    redis.call('SET', b.name, string.format('%.6f', b.full_at),
      'PX', math.ceil((b.full_at - now) * 1000))
  end
  local left = math.floor((b.window - (b.full_at - now)) / b.step + 1e-6)
  local wait = b.full_at + b.step - now - b.window
  answer[#answer + 1] = math.max(0, left)
  answer[#answer + 1] = math.ceil((b.full_at - now) * 1000)
  answer[#answer + 1] = math.max(0, math.ceil(wait * 1000))
end
return answer
