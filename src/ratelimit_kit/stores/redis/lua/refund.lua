-- Refund costs. The twin of the `refund` methods in core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV      per charge: the algorithm, and its numbers, packed; the first three are the cost, 1 if the time of
--           the hits to refund is known (else 0), and that time; then
--             tb  unit, rate
--             fw  the end of the calendar window of those hits
--             sw  window, stamp_modulus, and the bytes of a stamp

local refund, max, min = {}, math.max, math.min

local function set(key, state, reset)
  call('PSETEX', key, max(1, ceil(reset / 1000)) + margin, state)
end

function refund.tb(key, state, numbers)
  local cost, known, hit, unit, rate = read('<ddddd', numbers)
  local stamp, spent, born, writer = read('<dddd', state)
  local time, back = max(now, stamp), cost * unit
  if known == 1 then
    back = hit >= born and hit <= time and max(0, back - (time - hit) * rate) or 0
  end
  spent = spent - back
  if spent <= (time - stamp) * max(rate, writer) then
    call('DEL', key)
  else
    set(key, pack('<dddd', stamp, spent, born, writer), spent / writer + stamp - now)
  end
end

function refund.fw(key, state, numbers)
  local cost, known, hit, window = read('<dddd', numbers)
  local stop, count, born = read('<ddd', state)
  if now >= stop then
    call('DEL', key)
  elseif known == 0 or (hit >= born and hit <= now + skew and window == stop) then
    if count <= cost then
      call('DEL', key)
    else
      set(key, pack('<ddd', stop, count - cost, born), stop - now)
    end
  end
end

function refund.sw(key, state, numbers)
  local cost, known, hit, window, stamp_modulus, stamp_size = read('<dddddd', numbers)
  local width = byte(state, 17)
  local count_format = width == 8 and 'd' or 'I' .. width
  local count_modulus = width == 8 and 2 ^ 53 or 256 ^ width
  local header, entry = '<ddI1' .. count_format .. count_format, '<' .. (stamp_size == 8 and 'd' or 'I' .. stamp_size) .. count_format
  local last, born, _, total, before, from = read(header, state)
  local horizon = max(now, last) - window
  if known == 1 and (hit <= horizon or hit < born) then cost = 0 end
  local entries, kept, newest = {}, 0, nil

  local function keep(stamp, reached)
    local count = (reached - before) % count_modulus
    before = reached
    if stamp > horizon then
      if known == 0 or stamp >= hit then
        local taken = min(count, cost)
        cost, count = cost - taken, count - taken
      end
      if count > 0 then
        kept, newest = kept + count, stamp
        entries[#entries + 1] = pack(entry, stamp % stamp_modulus, kept)
      end
    end
  end

  while from <= #state do
    local stamp, reached
    stamp, reached, from = read(entry, state, from)
    keep(last - (last - stamp) % stamp_modulus, reached)
  end
  keep(last, total)
  if newest then
    entries[#entries] = nil
    set(key, pack(header, newest, born, width, kept, 0) .. table.concat(entries), newest + window - now)
  else
    call('DEL', key)
  end
end

for i = 1, #KEYS do
  local state = call('GET', KEYS[i])
  if state then
    refund[ARGV[2 * i - 1]](KEYS[i], state, ARGV[2 * i])
  end
end
return 1
