-- Give costs back. The twin of the `refund` functions in core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV[1]   '' or the time of the hits that are given back, in microseconds
-- ARGV[2..] per charge: algorithm, cost, and
--             tb  capacity, unit, rate
--             fw  '' or the end of the calendar window of those hits
--             sw  window, and the digits of a stamp and of a count

local hit = tonumber(ARGV[1])
local refund = {}

local function set(key, text, reset)
  call('PSETEX', key, max(1, ceil(reset / 1000)) + margin, text)
end

function refund.tb(key, state, cost, at)
  if state then
    local capacity, unit, rate = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0
    local stamp, held = sub(state, 1, 16) + 0, sub(state, 17) + 0
    held = min(capacity, held + max(0, now - stamp) * rate) + cost * unit
    if held >= capacity then
      call('DEL', key)
    else
      set(key, format('%016.0f%.0f', max(now, stamp), held), ceil((capacity - held) / rate))
    end
  end
  return at + 3
end

function refund.fw(key, state, cost, at)
  if state then
    local over, count = sub(state, 1, 16) + 0, sub(state, 17) + 0
    local window = tonumber(ARGV[at])
    local earlier = now < over and window and window < over
    if not earlier and (now >= over or count <= cost) then
      call('DEL', key)
    elseif not earlier then
      set(key, format('%016.0f%.0f', over, count - cost), over - now)
    end
  end
  return at + 1
end

function refund.sw(key, state, cost, at)
  if not state then return at + 3 end
  local window, digits, places = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0
  local around, turn = 10 ^ digits, 10 ^ places
  local last, total = sub(state, 1, 16) + 0, sub(state, 17, 16 + places) + 0
  local before = sub(state, 17 + places, 16 + 2 * places) + 0
  local horizon = max(now, last) - window
  if hit and hit <= horizon then cost = 0 end
  local groups, kept, newest, from = {}, 0, nil, 17 + 2 * places
  local shape = '%0' .. digits .. '.0f%0' .. places .. '.0f'

  local function group(stamp, reached)
    local count = (reached - before) % turn
    before = reached
    if stamp > horizon then
      if not hit or stamp >= hit then
        local taken = min(count, cost)
        cost, count = cost - taken, count - taken
      end
      if count > 0 then
        kept, newest = kept + count, stamp
        groups[#groups + 1] = format(shape, stamp % around, kept)
      end
    end
  end

  while from <= #state do
    local low = sub(state, from, from + digits - 1)
    group(last - (last - low) % around, sub(state, from + digits, from + digits + places - 1) + 0)
    from = from + digits + places
  end
  group(last, total)
  if newest then
    groups[#groups] = nil
    local head = format('%016.0f%0' .. places .. '.0f%0' .. places .. '.0f', newest, kept, 0)
    set(key, head .. table.concat(groups), newest - horizon)
  else
    call('DEL', key)
  end
  return at + 3
end

local at = 2
for i = 1, #KEYS do
  at = refund[ARGV[at]](KEYS[i], call('GET', KEYS[i]), ARGV[at + 1] + 0, at + 2)
end
return 1
