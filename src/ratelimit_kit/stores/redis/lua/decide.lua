-- Decide a list of charges: admit all of them or write nothing. The twin of core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV      per charge: the algorithm, and its numbers, packed
--             tb  cost, capacity, unit, rate
--             fw  cost, limit, and four ends of calendar windows, ascending: the server's time must be
--                 between the first and the last, else the reply is a single number: minus the time
--             sw  cost, limit, window, resolution, granule, stamp_modulus, count_modulus, and the bytes of a stamp and
--                 of a count; then, as separate arguments, the formats of the header and of an entry, and the
--                 milliseconds that a log lives, because writing a number as text takes longer than most steps
-- Reply     packed numbers: the time, 1 or 0 (except for a single token bucket), then per charge, after an admission or
--           before a denial,
--             tb  the credits that are spent, or -1 minus the credits on a denial by a single token bucket; how far
--                 the stamp is ahead of the time; and the time after which the bucket is full under the larger number
--                 that has written it, else 0. A single decision with neither replies with the credits alone, as a
--                 number, or after an admission with the state itself (packing takes longer); with one, a 0 follows
--             fw  the end of the window (0 for none), the count, and born
--             sw  the units left, the time until the cost (or one unit) fits, the time until all has expired
--
-- ARGV may begin with 'peek': then nothing is charged, and the reply is that of a denial, with the waits for the costs.
--
-- A call may hold many decisions with the same limits and costs over different keys, each decided independently:
-- then ARGV begins with 'many' and the number of charges per decision, and the reply has the time once, followed
-- by the reply to each decision.
--
-- Each charge yields the state `after` it ('' to leave it unchanged, nil if the cost does not fit), the time
-- `reset` for which that state matters, and the values of the reply. A single charge is written immediately;
-- several are written if all fit, and computed a second time, as `refused`, if one does not.

local many = ARGV[1] == 'many' and ARGV[2] + 0
local charges = many or #KEYS
local one = #KEYS == 1
local at_once = 4000 -- values that one call of Lua's takes without reaching the end of its stack
local peek = ARGV[1] == 'peek'
local states, changed, answers
local refused = peek
if many then
  states, changed, answers = {}, {}, { now }
  for i = 1, #KEYS do -- not by MGET, which takes what is not a string for nothing, and it would be overwritten
    local key = KEYS[i]
    if states[key] == nil then states[key] = call('GET', key) end
  end
end

local skip = 0
while skip < #KEYS do
  local answer, written, resets, ttls, fits
  if charges > 1 then
    answer, written, resets, ttls, fits = many and {} or { now }, {}, {}, {}, true
    answer[#answer + 1] = refused and 0 or 1
  end
  local at = many and 3 or peek and 2 or 1
  for i = 1, charges do
    local state = many and states[KEYS[skip + i]] or not many and call('GET', KEYS[i])
    local kind, numbers = ARGV[at], ARGV[at + 1]
    local after, reset, ttl, rewound, first_value, second_value, third_value
    at = at + 2

    if kind == 'tb' then
      local cost, capacity, unit, rate = read('<dddd', numbers)
      local spent, stamp, born, ahead, writer, full = 0, now, now, 0, rate, 0
      if state then
        stamp, spent, born, writer = read('<dddd', state)
        if writer > rate then full = ceil(spent / writer) + stamp - now end
        if now > stamp then
          if writer > rate and (now - stamp) * writer >= spent then
            spent = 0
          else
            spent = spent - (now - stamp) * rate
          end
          if spent <= 0 then spent, born, writer = 0, now, rate end
          stamp = now
        elseif stamp - now > skew then
          if born > now then born = now end
          if writer > rate then full = ceil(spent / writer) end
          stamp, rewound, reset = now, pack('<dddd', now, spent, born, writer), writer > 0 and spent / writer or unit
        else
          ahead = stamp - now
        end
      end
      local used = spent + cost * unit
      if used > capacity or refused or cost == 0 then
        after, first_value = (cost == 0 or used <= capacity) and '' or nil, spent
      else
        if writer > rate then writer = rate end
        after, reset, first_value, full = pack('<dddd', stamp, used, born, writer), used / writer + ahead, used, 0
      end
      second_value, third_value = ahead, full > 0 and full or 0

    elseif kind == 'sw' then
      local cost, limit, window, resolution, granule, stamp_modulus, count_modulus, stamp_size, width = read('<ddddddddd', numbers)
      local header, entry, entry_size, life = ARGV[at], ARGV[at + 1], stamp_size + width, ARGV[at + 2]
      local time, born, last, total, base, first, horizon = now, now, nil, 0, 0, now, nil
      local from, size = 1, 0 -- where the first entry begins, and where the entries end
      at = at + 3
      if state then
        local found = byte(state, 17)
        if found ~= width then -- written under a limit of another size: go on with the wider counts
          local count = found == 8 and 'd' or 'I' .. found
          local stamps = '<' .. (stamp_size == 8 and 'd' or 'I' .. stamp_size)
          local wide_header, wide_entry, modulus = '<ddI1' .. count .. count, stamps .. count, found == 8 and 2 ^ 53 or 256 ^ found
          if found > width then
            header, entry, entry_size, width, count_modulus = wide_header, wide_entry, stamp_size + found, found, modulus
          else
            last, born, found, total, base, from = read(wide_header, state)
            local entries = { pack(header, last, born, width, (total - base) % modulus, 0) }
            while from <= #state do
              local stamp, reached
              stamp, reached, from = read(wide_entry, state, from)
              entries[#entries + 1] = pack(entry, stamp, (reached - base) % modulus)
            end
            state = table.concat(entries)
          end
        end
        last, born, found, total, base, from = read(header, state)
        if last - now > skew then
          local to = from
          while to <= #state and last - (last - read(entry, state, to)) % stamp_modulus < now do
            to = to + entry_size
          end
          if born > now then born = now end
          state = pack(header, now, born, width, total, base) .. string.sub(state, from, to - 1)
          last, rewound, reset = now, state, window
        elseif last > now then
          time = last
        end
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
          state, total, base, born = nil, 0, 0, now
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
          local stamp = last
          if from <= size then
            stamp = last - (last - read(entry, state, from)) % stamp_modulus
          end
          wait = (stamp or now) + window - now
        end
        after = (cost == 0 or cost <= left) and '' or nil
        first_value, second_value, third_value = left > 0 and left or 0, wait, state and last + window - now or 0
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
        after, left = pack(header, time, born, width, (total + cost) % count_modulus, base) .. entries, left - cost
        reset = time + window - now
        ttl = reset == window and margin == 0 and life
        first_value, second_value, third_value = left, left > 0 and 0 or first + window - now, reset
      end

    else
      local cost, limit, early, start, over, late = read('<dddddd', numbers)
      local stop, count, born = 0, 0, now
      if now < early or now >= late then
        return pack('<d', -now)
      end
      local ending = now < start and start or now < over and over or late
      if state then
        stop, count, born = read('<ddd', state)
        if born - now > skew then
          if stop > ending then stop = ending end
          born = now
          rewound, reset = pack('<ddd', stop, count, born), stop - now
        elseif now >= stop then
          stop, count, born = 0, 0, now
        end
      end
      if count + cost > limit or refused or cost == 0 then
        after = (cost == 0 or count + cost <= limit) and '' or nil
      else
        if stop == 0 then stop = ending end
        count = count + cost
        after, reset = pack('<ddd', stop, count, born), stop - now
      end
      first_value, second_value, third_value = stop, count, born
    end

    if rewound and (not after or after == '' or charges > 1) then
      local key = KEYS[skip + i]
      if many then
        states[key], changed[key] = rewound, reset
      else
        call('PSETEX', key, reset > 0 and ceil(reset / 1000) + margin or 1, rewound)
      end
    end
    if one then
      if after and after ~= '' then
        call('PSETEX', KEYS[1], ttl or reset > 0 and ceil(reset / 1000) + margin or 1, after)
      end
      if kind == 'tb' then
        if second_value > 0 or third_value > 0 then
          return pack('<ddddd', now, after and first_value or -1 - first_value, second_value, third_value, 0)
        end
        return after and (after ~= '' and after or first_value) or -1 - first_value
      end
      return pack('<ddddd', now, after and 1 or 0, first_value, second_value, third_value)
    end
    if charges == 1 then
      local key, last = KEYS[skip + 1], #answers
      if after and after ~= '' then
        states[key], changed[key] = after, reset
      end
      if kind == 'tb' then
        answers[last + 1] = after and first_value or -1 - first_value
        answers[last + 2], answers[last + 3] = second_value, third_value
      else
        answers[last + 1], answers[last + 2] = after and 1 or 0, first_value
        answers[last + 3], answers[last + 4] = second_value, third_value
      end
    else
      local last = #answer
      fits = fits and after ~= nil
      written[i], resets[i], ttls[i] = after, reset, ttl
      answer[last + 1], answer[last + 2], answer[last + 3] = first_value, second_value, third_value
    end
  end

  if charges > 1 and (fits or refused) then
    for i = 1, fits and charges or 0 do
      local key, after = KEYS[skip + i], written[i]
      if after ~= '' and many then
        states[key], changed[key] = after, resets[i]
      elseif after ~= '' then
        call('PSETEX', key, ttls[i] or resets[i] > 0 and ceil(resets[i] / 1000) + margin or 1, after)
      end
    end
    for from = 1, #answer, at_once do
      local upto = math.min(from + at_once - 1, #answer)
      local packed = pack('<' .. string.rep('d', upto + 1 - from), unpack(answer, from, upto))
      if upto == #answer and from == 1 and not many then
        return packed
      end
      answers = answers or {}
      answers[#answers + 1] = packed
    end
  end
  if charges == 1 or fits or refused then
    skip, refused = skip + charges, false
  else
    refused = true
  end
end

if many then
  for key, reset in pairs(changed) do
    call('PSETEX', key, reset > 0 and ceil(reset / 1000) + margin or 1, states[key])
  end
  if charges == 1 then
    return pack('<' .. string.rep('d', #answers), unpack(answers))
  end
  answers[1] = pack('<d', now)
end
return table.concat(answers)
