-- Refund costs. The twin of the `refund` methods in core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV      per charge: the algorithm, and its numbers, packed; the first three are the cost, 1 if the time of
--           the hits to refund is known (else 0), and that time; then
--             tb  capacity, unit, rate
--             fw  the end of the calendar window of those hits
--             sw  window, stamp_modulus and count_modulus; then, as separate arguments, the formats of the header
--                 and of an entry

local refund, max, min = {}, math.max, math.min

local function set(key, state, reset)
  call('PSETEX', key, max(1, ceil(reset / 1000)) + margin, state)
end

function refund.tb(key, state, numbers)
  local cost, _, _, capacity, unit, rate = read('<dddddd', numbers)
  local stamp, held = read('<dd', state)
  held = min(capacity, held + max(0, now - stamp) * rate) + cost * unit
  if held >= capacity then
    call('DEL', key)
  else
    set(key, pack('<dd', max(now, stamp), held), ceil((capacity - held) / rate))
  end
end

function refund.fw(key, state, numbers)
  local cost, known, _, window = read('<dddd', numbers)
  local over, count = read('<dd', state)
  local earlier = now < over and known == 1 and window < over
  if not earlier and (now >= over or count <= cost) then
    call('DEL', key)
  elseif not earlier then
    set(key, pack('<dd', over, count - cost), over - now)
  end
end

function refund.sw(key, state, numbers, header, entry)
  local cost, known, hit, window, stamp_modulus, count_modulus = read('<dddddd', numbers)
  local last, total, before, from = read(header, state)
  local horizon = max(now, last) - window
  if known == 1 and hit <= horizon then cost = 0 end
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
    set(key, pack(header, newest, kept, 0) .. table.concat(entries), newest - horizon)
  else
    call('DEL', key)
  end
end

local at = 1
for i = 1, #KEYS do
  local kind, state = ARGV[at], call('GET', KEYS[i])
  if state then
    refund[kind](KEYS[i], state, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  end
  at = at + (kind == 'sw' and 4 or 2)
end
return 1
