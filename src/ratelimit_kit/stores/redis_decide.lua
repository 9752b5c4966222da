-- Decide a list of charges: admit all of them or write nothing. The twin of core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV[1]   '' to read the server's clock; tests pass microseconds instead
-- ARGV[2..] per charge: algorithm, cost and five numbers
--             sw  limit, window, resolution, granule, -
--             tb  capacity, unit, rate, -, -
--             fw  limit, and four ends of calendar windows, ascending: the server's time must
--                 lie between the first and the last, else the answer is {-1, time}
-- Answers   {time, then per charge: fits, remaining, wait, reset}; times in microseconds

local look, charge = {}, {}

-- token bucket: 'credits:stamp'

function look.tb(key, cost, at)
  local capacity, unit, rate = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local held, stamp = capacity, now
  local state = redis.call('GET', key)
  if state then
    held, stamp = pair(state)
    held = min(capacity, held + max(0, now - stamp) * rate)
    stamp = max(now, stamp)
  end
  local missing = max(cost, 1) * unit - held
  return {
    fits = missing <= 0 or cost == 0,
    remaining = floor(held / unit),
    wait = missing > 0 and ceil(missing / rate) or 0,
    reset = ceil((capacity - held) / rate),
    held = held, stamp = stamp, capacity = capacity, unit = unit, rate = rate,
  }
end

function charge.tb(key, cost, seen)
  local unit, rate = seen.unit, seen.rate
  local held = seen.held - cost * unit
  seen.remaining = floor(held / unit)
  seen.wait = held < unit and ceil((unit - held) / rate) or 0
  seen.reset = ceil((seen.capacity - held) / rate)
  redis.call('SET', key, join(held, seen.stamp), 'PX', milliseconds(seen.reset))
end

-- fixed window: 'end:count'

function look.fw(key, cost, at)
  local limit = tonumber(ARGV[at])
  local used, over = 0, nil
  local state = redis.call('GET', key)
  if state then
    local last, count = pair(state)
    if now < last then
      used, over = count, last
    end
  end
  local reset = over and over - now or 0
  local fits_one = max(cost, 1) <= limit - used
  return {
    fits = fits_one or cost == 0,
    remaining = limit - used,
    wait = fits_one and 0 or reset,
    reset = reset,
    over = over, at = at,
  }
end

function charge.fw(key, cost, seen)
  local over = seen.over
  if not over then
    local at = seen.at + 2
    while tonumber(ARGV[at]) <= now do at = at + 1 end
    over = tonumber(ARGV[at])
  end
  seen.remaining = seen.remaining - cost
  seen.reset = over - now
  seen.wait = seen.remaining > 0 and 0 or seen.reset
  local count = tonumber(ARGV[seen.at]) - seen.remaining
  redis.call('SET', key, join(over, count), 'PX', milliseconds(seen.reset))
end

local function knows_calendar(at)
  return tonumber(ARGV[at + 1]) <= now and now < tonumber(ARGV[at + 4])
end

-- sliding window: a list of 'stamp:cumulative'; its head is the last pair that left the window

function look.sw(key, cost, at)
  local limit, window = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local seen = { at = at, limit = limit, window = window, time = now, gone = 0, total = 0, first = now }
  seen.fits, seen.remaining, seen.wait, seen.reset = true, limit, 0, 0
  local tail = redis.call('LINDEX', key, -1)
  if not tail then
    return seen
  end
  local last, total = pair(tail)
  seen.time = max(now, last)
  local horizon = seen.time - window
  if last <= horizon then
    seen.stale = true
    return seen
  end
  local _, base = pair(redis.call('LINDEX', key, 0))
  local index = 1
  local stamp, cumulative = pair(redis.call('LINDEX', key, index))
  while stamp <= horizon do
    base = cumulative
    index = index + 1
    stamp, cumulative = pair(redis.call('LINDEX', key, index))
  end
  seen.last, seen.total, seen.gone, seen.first = last, total, index - 1, stamp
  seen.remaining = limit - (total - base)
  seen.reset = last - horizon
  local wanted = max(cost, 1)
  if wanted > seen.remaining then
    local need = total + wanted - limit
    while cumulative < need do
      index = index + 1
      stamp, cumulative = pair(redis.call('LINDEX', key, index))
    end
    seen.fits = cost == 0
    seen.wait = stamp - horizon
  end
  return seen
end

function charge.sw(key, cost, seen)
  local time = seen.time
  local last = seen.last
  if not last then
    if seen.stale then
      redis.call('DEL', key)
    end
    redis.call('RPUSH', key, '0:0', join(time, cost))
  else
    if seen.gone > 0 then
      redis.call('LTRIM', key, seen.gone, -1)
    end
    local merge = last == time
    if not merge then
      local resolution, granule = tonumber(ARGV[seen.at + 2]), tonumber(ARGV[seen.at + 3])
      merge = seen.limit > resolution
        and floor(last / granule) == floor(time / granule)
        and redis.call('LLEN', key) > resolution
    end
    if merge then
      redis.call('LSET', key, -1, join(time, seen.total + cost))
      if seen.first == last then
        seen.first = time
      end
    else
      redis.call('RPUSH', key, join(time, seen.total + cost))
    end
  end
  seen.remaining = seen.remaining - cost
  seen.wait = seen.remaining > 0 and 0 or seen.first + seen.window - time
  seen.reset = seen.window
  redis.call('PEXPIRE', key, milliseconds(seen.reset))
end

local seen, admitted = {}, true
for i = 1, #KEYS do
  local at = 2 + (i - 1) * STRIDE
  local kind = ARGV[at]
  if kind == 'fw' and not knows_calendar(at + 2) then
    return { -1, now }
  end
  seen[i] = look[kind](KEYS[i], tonumber(ARGV[at + 1]), at + 2)
  admitted = admitted and seen[i].fits
end

local answer = { now }
for i = 1, #KEYS do
  local at = 2 + (i - 1) * STRIDE
  local cost = tonumber(ARGV[at + 1])
  if admitted and cost > 0 then
    charge[ARGV[at]](KEYS[i], cost, seen[i])
  end
  local one, last = seen[i], #answer
  answer[last + 1] = one.fits and 1 or 0
  answer[last + 2] = one.remaining
  answer[last + 3] = one.wait
  answer[last + 4] = one.reset
end
return answer
