-- Publish a preview, its bytes in ARGV[3]; a job keeps its newest few. → 1, or 0 for a void fence
if not held(a.id, a.fence) then return 0 end
local id = redis.call('XADD', key('events', a.id), '*', 'kind', 'preview',
  'attempt', get(a.id, 'attempts'), 'image', a.image, 'step', a.step, 'of', a.of,
  'content_type', a.content_type, 'data', ARGV[3])
redis.call('RPUSH', key('previews', a.id), id)
if redis.call('LLEN', key('previews', a.id)) > S.previews_kept then
  redis.call('XDEL', key('events', a.id), redis.call('LPOP', key('previews', a.id)))
end
set(a.id, 'preview_step', a.step, 'preview_event', id)
redis.call('PUBLISH', key('wake'), a.id)
return 1
