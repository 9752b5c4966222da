-- Decide a list of charges: admit all of them or write nothing. The twin of core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV      per charge: the algorithm, and its numbers, packed
--             tb  cost, capacity, unit, rate
--             fw  cost, limit, and four ends of calendar windows, ascending: the server's time must be
--                 between the first and the last, else the reply is a single number: minus the time
--             sw  cost, limit, window, resolution, granule, stamp_modulus, count_modulus and the bytes of an entry;
--                 then, as separate arguments, the formats of the header and of an entry
-- Reply     for a single token bucket its credits afterwards, or -1 minus its credits on a denial; else
--           packed numbers: the time, 1 or 0, then per charge, after an admission or before a denial,
--             tb  the credits
--             fw  the end of the window (0 for none) and the count
--             sw  the units left, the time until the cost (or one unit) fits, the time until all has expired
--
-- A call may hold many decisions with the same limits and costs over different keys, each decided independently:
-- then ARGV begins with 'many' and the number of charges per decision, and the reply has the time once, followed
-- by the reply to each decision; a single token bucket is one number there too.
--
-- Each charge yields the state `after` it ('' to leave it unchanged, nil if the cost does not fit), the time
-- `reset` for which that state matters, and the values of the reply. A single charge is written immediately;
-- several are written if all fit, and computed a second time, as `refused`, if one does not.

local many = ARGV[1] == 'many' and ARGV[2] + 0
local charges = many or #KEYS
local one = #KEYS == 1
local states, changed, answers, refused
if many then
  states, changed, answers = {}, {}, { now }
  for i, state in ipairs(call('MGET', unpack(KEYS))) do
    states[KEYS[i]] = state
  end
end

local skip = 0
while skip < #KEYS do
  local answer, written, resets, fits
  if charges > 1 then
    answer, written, resets, fits = many and {} or { now }, {}, {}, true
    answer[#answer + 1] = refused and 0 or 1
  end
  local at = many and 3 or 1
  for i = 1, charges do
    local state = many and states[KEYS[skip + i]] or not many and call('GET', KEYS[i])
    local kind, numbers = ARGV[at], ARGV[at + 1]
    local after, reset, first_value, second_value, third_value
    at = at + 2

    if kind == 'tb' then
      local cost, capacity, unit, rate = read('<dddd', numbers)
      local held, stamp = capacity, now
      if state then
        stamp, held = read('<dd', state)
        if now > stamp then
          held = held + (now - stamp) * rate
          if held > capacity then held = capacity end
          stamp = now
        end
      end
      local left = held - cost * unit
      if left < 0 or refused or cost == 0 then
        after, first_value = left >= 0 and '' or nil, held
      else
        after, reset, first_value = pack('<dd', stamp, left), (capacity - left) / rate, left
      end

    elseif kind == 'sw' then
      local cost, limit, window, resolution, granule, stamp_modulus, count_modulus, entry_size = read('<dddddddd', numbers)
      local header, entry = ARGV[at], ARGV[at + 1]
      local time, last, total, base, first, horizon = now, nil, 0, 0, now, nil
      local from, size = 1, 0 -- where the first entry begins, and where the entries end
      at = at + 2
      if state then
        last, total, base, from = read(header, state)
        if last > now then time = last end
        horizon = time - window
        if last > horizon then
          first, size = last, #state
          while from <= size do
            local stamp, reached = read(entry, state, from)
            stamp = last - (last - stamp) % stamp_modulus
            if stamp > horizon then
              first = stamp
              break
            end
            base, from = reached, from + entry_size
          end
        else
          state, total, base = nil, 0, 0
        end
      end
      local left = limit - (total - base) % count_modulus
      if cost > left or refused or cost == 0 then
        local wait, wanted = 0, math.max(cost, 1) - left
        if wanted > 0 then
          local low, high = 0, (size + 1 - from) / entry_size -- the first entry that reaches it, by halves
          local middle = 0 -- which it is where many wait
          while low < high do
            local _, reached = read(entry, state, from + middle * entry_size)
            if (reached - base) % count_modulus < wanted then
              low = middle + 1
            else
              high = middle
            end
            middle = math.floor((low + high) / 2)
          end
          from = from + low * entry_size
          wait = (from > size and last or last - (last - read(entry, state, from)) % stamp_modulus) - horizon
        end
        after = cost <= left and '' or nil
        first_value, second_value, third_value = left, wait, state and last - horizon or 0
      else
        local entries = ''
        if state then
          local number = 1 + (size + 1 - from) / entry_size
          if number > 1 then entries = string.sub(state, from) end
          if last ~= time and (number < resolution or math.floor(last / granule) ~= math.floor(time / granule)) then
            entries = entries .. pack(entry, last % stamp_modulus, total)
          elseif number == 1 then
            first = time
          end
        end
        after, reset, left = pack(header, time, (total + cost) % count_modulus, base) .. entries, window, left - cost
        first_value, second_value, third_value = left, left > 0 and 0 or first + window - time, window
      end

    else
      local cost, limit, early, start, over, late = read('<dddddd', numbers)
      local stop, count = 0, 0
      if now < early or now >= late then
        return pack('<d', -now)
      end
      if state then
        stop, count = read('<dd', state)
        if now >= stop then stop, count = 0, 0 end
      end
      if count + cost > limit or refused or cost == 0 then
        after = count + cost <= limit and '' or nil
      else
        if stop == 0 then stop = now < start and start or now < over and over or late end
        count = count + cost
        after, reset = pack('<dd', stop, count), stop - now
      end
      first_value, second_value = stop, count
    end

    if one then
      if after and after ~= '' then
        call('PSETEX', KEYS[1], reset > 0 and ceil(reset / 1000) + margin or 1, after)
      end
      if kind == 'tb' then
        return after and first_value or -1 - first_value
      elseif kind == 'sw' then
        return pack('<ddddd', now, after and 1 or 0, first_value, second_value, third_value)
      end
      return pack('<dddd', now, after and 1 or 0, first_value, second_value)
    end
    if charges == 1 then
      local key, last = KEYS[skip + 1], #answers
      if after and after ~= '' then
        states[key], changed[key] = after, reset
      end
      if kind == 'tb' then
        answers[last + 1] = after and first_value or -1 - first_value
      else
        answers[last + 1], answers[last + 2] = after and 1 or 0, first_value
        answers[last + 3], answers[last + 4] = second_value, third_value
      end
    else
      local last = #answer
      fits = fits and after ~= nil
      written[i], resets[i] = after, reset
      answer[last + 1], answer[last + 2], answer[last + 3] = first_value, second_value, third_value
    end
  end

  if charges > 1 and (fits or refused) then
    for i = 1, fits and charges or 0 do
      local key, after = KEYS[skip + i], written[i]
      if after ~= '' and many then
        states[key], changed[key] = after, resets[i]
      elseif after ~= '' then
        call('PSETEX', key, resets[i] > 0 and ceil(resets[i] / 1000) + margin or 1, after)
      end
    end
    local packed = pack('<' .. string.rep('d', #answer), unpack(answer))
    if not many then
      return packed
    end
    answers[#answers + 1] = packed
  end
  if charges == 1 or fits or refused then
    skip, refused = skip + charges, false
  else
    refused = true
  end
end

for key, reset in pairs(changed) do
  call('PSETEX', key, reset > 0 and ceil(reset / 1000) + margin or 1, states[key])
end
if charges == 1 then
  return pack('<' .. string.rep('d', #answers), unpack(answers))
end
answers[1] = pack('<d', now)
return table.concat(answers)
