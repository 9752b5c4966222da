-- Write the entry of a serving process, and list the entries of all that serve by the same policy, a line each.
--
-- KEYS[1]   a sorted set: entries by the time at which they end, in milliseconds
-- ARGV      the entry (empty: only look), how long it lasts in milliseconds (0: remove it), the most entries

local key, entry, lasts, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max = math.max
local moment = now / 1000

if entry ~= '' then
  call('ZREMRANGEBYSCORE', key, '-inf', moment)
  if lasts == 0 then
    call('ZREM', key, entry)
  elseif call('ZSCORE', key, entry) or call('ZCARD', key) < most then
    call('ZADD', key, moment + lasts, entry)
    call('PEXPIRE', key, max(lasts, call('PTTL', key)) + margin)
  end
end
return table.concat(call('ZRANGEBYSCORE', key, '(' .. moment, '+inf', 'LIMIT', 0, most), '\n')
