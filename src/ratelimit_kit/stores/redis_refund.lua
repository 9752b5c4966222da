-- Give costs back. The twin of the `refund` functions in core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV[1]   '' to read the server's clock; tests pass microseconds instead
-- ARGV[2]   '' or the time of the hits that are given back, in microseconds
-- ARGV[3..] per charge: algorithm, cost and five numbers
--             sw  window, -, -, -, -
--             tb  capacity, unit, rate, -, -
--             fw  '' or the end of the calendar window of those hits, -, -, -, -

local stamp = tonumber(ARGV[2])

local refund = {}

function refund.tb(key, cost, at)
  local state = redis.call('GET', key)
  if not state then return end
  local capacity, unit, rate = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local held, last = pair(state)
  held = min(capacity, held + max(0, now - last) * rate) + cost * unit
  if held >= capacity then
    redis.call('DEL', key)
  else
    redis.call('SET', key, join(held, max(now, last)), 'PX', milliseconds(ceil((capacity - held) / rate)))
  end
end

function refund.fw(key, cost, at)
  local state = redis.call('GET', key)
  if not state then return end
  local over, count = pair(state)
  local window = tonumber(ARGV[at])
  if now < over and window and window < over then return end
  if now >= over or count <= cost then
    redis.call('DEL', key)
  else
    redis.call('SET', key, join(over, count - cost), 'PX', milliseconds(over - now))
  end
end

function refund.sw(key, cost, at)
  local log = redis.call('LRANGE', key, 0, -1)
  if #log == 0 then return end
  local last = pair(log[#log])
  local horizon = max(now, last) - tonumber(ARGV[at])
  local _, before = pair(log[1])
  local kept, total, newest = { '0:0' }, 0, nil
  if stamp and stamp <= horizon then cost = 0 end
  for i = 2, #log do
    local time, cumulative = pair(log[i])
    local count = cumulative - before
    before = cumulative
    if time > horizon then
      if not stamp or time >= stamp then
        local taken = min(count, cost)
        cost = cost - taken
        count = count - taken
      end
      if count > 0 then
        total = total + count
        newest = time
        kept[#kept + 1] = join(time, total)
      end
    end
  end
  redis.call('DEL', key)
  if newest then
    redis.call('RPUSH', key, unpack(kept))
    redis.call('PEXPIRE', key, milliseconds(newest - horizon))
  end
end

for i = 1, #KEYS do
  local at = 3 + (i - 1) * STRIDE
  refund[ARGV[at]](KEYS[i], tonumber(ARGV[at + 1]), at + 2)
end
return 1
