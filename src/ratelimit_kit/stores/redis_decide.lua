-- Decide a list of charges: admit all of them or write nothing. The twin of core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV      per charge: algorithm, cost, and
--             tb  capacity, unit, rate
--             sw  limit, window, resolution, granule, and the digits of a stamp and of a count
--             fw  limit, and four ends of calendar windows, ascending: the server's time must
--                 lie between the first and the last, else the answer is '-1 time'
-- Answers   for one token bucket its credits afterwards, or -1 minus its credits when it refuses; else a
--           text of numbers (a client reads it in a fraction of the time of a list): the time, 1 or 0, then
--           per charge what is there after an admission, before a denial
--             tb  credits
--             sw  units left, time until the cost (or one unit) fits, time until all is forgotten
--             fw  end of the window (0 for none) and count
--
-- Many decisions of the same charges over other keys may come in one call, each all or nothing by itself:
-- then ARGV[1] is the number of charges in one, and the text has the time once, and then what each would
-- be answered; a token bucket by itself is one number there too.
--
-- Each charge gives the `text` of its state afterwards ('' to leave it, nil where the cost does not fit),
-- the time `reset` for which that one matters, and what to answer. One charge is written and answered at
-- once; several are written when all fit, and looked at a second time, as `refused`, when one does not.

local many = tonumber(ARGV[1])
local charges = many or #KEYS
local one = #KEYS == 1
local states, changed, answers, written, skip, refused
if not one then
  written = function(number) -- `..` and table.concat keep 14 digits
    return number and (number < 100000000000000 and number or format('%.0f', number))
  end
end
if many then
  states, changed, answers = {}, {}, { now_text }
  for i, state in ipairs(call('MGET', unpack(KEYS))) do
    states[KEYS[i]] = state
  end
  for i = 2, #ARGV do -- read each number once
    ARGV[i] = tonumber(ARGV[i]) or ARGV[i]
  end
end

skip = 0
while skip < #KEYS do
  local answer, texts, resets, at, fits
  if charges > 1 then
    answer, texts, resets, fits = { refused and 0 or 1 }, {}, {}, true
  end
  at = many and 2 or 1
  for i = 1, charges do
    local state = many and states[KEYS[skip + i]] or not many and call('GET', KEYS[i])
    local kind, cost = ARGV[at], ARGV[at + 1] + 0
    local text, reset, first_value, second_value, third_value

    if kind == 'tb' then
      local capacity, unit, rate = ARGV[at + 2] + 0, ARGV[at + 3], ARGV[at + 4]
      local held, stamp = capacity, now
      at = at + 5
      if state then
        stamp, held = sub(state, 1, 16) + 0, sub(state, 17) + 0
        if now > stamp then
          held = held + (now - stamp) * rate
          if held > capacity then held = capacity end
          stamp = now
        end
      end
      local left = held - cost * unit
      if left < 0 or refused or cost == 0 then
        text, first_value = left >= 0 and '' or nil, held
      else
        if stamp == now and left < 100000000000000 then
          text = now_text .. left
        else
          text = format('%016.0f%.0f', stamp, left)
        end
        reset, first_value = ceil((capacity - left) / rate), left
      end

    elseif kind == 'sw' then
      local limit, window, digits, places = ARGV[at + 2] + 0, ARGV[at + 3] + 0, ARGV[at + 6] + 0, ARGV[at + 7] + 0
      local around, turn, wide = 10 ^ digits, 10 ^ places, digits + places
      local time, last, total, base, first, horizon = now, nil, 0, 0, now, nil
      local from, size = 17 + 2 * places, 0 -- where the first group begins, and where the groups end
      if state then
        last, total, base = sub(state, 1, 16) + 0, sub(state, 17, 16 + places) + 0, sub(state, 17 + places, from - 1) + 0
        if last > now then time = last end
        horizon = time - window
        if last > horizon then
          size = #state
          first = from > size and last or last - (last - sub(state, from, from + digits - 1)) % around
          while first <= horizon do
            base = sub(state, from + digits, from + wide - 1) + 0
            from = from + wide
            first = from > size and last or last - (last - sub(state, from, from + digits - 1)) % around
          end
        else
          state, total, base = nil, 0, 0
        end
      end
      local left = limit - (total - base) % turn
      if cost > left or refused or cost == 0 then
        local wait, wanted = 0, max(cost, 1) - left
        if wanted > 0 then
          local low, high = 0, (size + 1 - from) / wide -- the first group that reaches it, by halves
          if high > 0 and (sub(state, from + digits, from + wide - 1) - base) % turn >= wanted then high = 0 end
          while low < high do
            local middle = floor((low + high) / 2)
            local group = from + middle * wide
            if (sub(state, group + digits, group + wide - 1) - base) % turn < wanted then
              low = middle + 1
            else
              high = middle
            end
          end
          from = from + low * wide
          wait = (from > size and last or last - (last - sub(state, from, from + digits - 1)) % around) - horizon
        end
        text = cost <= left and '' or nil
        first_value, second_value, third_value = left, wait, state and last - horizon or 0
      else
        local groups = ''
        if state then
          local number, granule = 1 + (size + 1 - from) / wide, ARGV[at + 5]
          if number > 1 then groups = sub(state, from) end
          if last ~= time and (number < ARGV[at + 4] + 0 or floor(last / granule) ~= floor(time / granule)) then
            groups = groups .. format('%0' .. digits .. '.0f%0' .. places .. '.0f', last % around, total)
          elseif number == 1 then
            first = time
          end
        end
        local counts = sub(turn + (total + cost) % turn .. '', 2) .. sub(turn + base .. '', 2)
        text, reset = (time == now and now_text or format('%016.0f', time)) .. counts .. groups, window
        left = left - cost
        first_value, second_value, third_value = left, left > 0 and 0 or first + window - time, window
      end
      at = at + 8

    else
      local limit, over, count = ARGV[at + 2] + 0, 0, 0
      if ARGV[at + 3] + 0 > now or now >= ARGV[at + 6] + 0 then
        return '-1 ' .. now_text
      end
      if state then
        over, count = sub(state, 1, 16) + 0, sub(state, 17) + 0
        if now >= over then over, count = 0, 0 end
      end
      if count + cost > limit or refused or cost == 0 then
        text = count + cost <= limit and '' or nil
      else
        local next = at + 4
        while over == 0 do
          if ARGV[next] + 0 > now then over = ARGV[next] + 0 end
          next = next + 1
        end
        count = count + cost
        text, reset = format('%016.0f%.0f', over, count), over - now
      end
      first_value, second_value = over, count
      at = at + 7
    end

    if one then
      if text and text ~= '' then
        call('PSETEX', KEYS[1], max(1, ceil(reset / 1000)) + margin, text)
      end
      if kind == 'tb' then
        return text and first_value or -1 - first_value
      end
      local head = now_text .. (text and ' 1 ' or ' 0 ')
      if kind == 'sw' and third_value < 100000000000000 then
        return head .. first_value .. ' ' .. second_value .. ' ' .. third_value
      end
      return format(third_value and '%s%.0f %.0f %.0f' or '%s%.0f %.0f', head, first_value, second_value, third_value)
    end
    if charges == 1 then
      local key, last = KEYS[skip + 1], #answers
      if text and text ~= '' then
        states[key], changed[key] = text, reset
      end
      if kind == 'tb' then
        answers[last + 1] = written(text and first_value or -1 - first_value)
      else
        answers[last + 1], answers[last + 2] = text and 1 or 0, written(first_value)
        answers[last + 3], answers[last + 4] = written(second_value), written(third_value)
      end
    else
      fits = fits and text ~= nil
      texts[i], resets[i] = text, reset
      local last = #answer
      answer[last + 1] = written(first_value)
      answer[last + 2], answer[last + 3] = written(second_value), written(third_value)
    end
  end

  if charges > 1 and (fits or refused) then
    for i = 1, fits and charges or 0 do
      local key, text = KEYS[skip + i], texts[i]
      if text ~= '' and many then
        states[key], changed[key] = text, resets[i]
      elseif text ~= '' then
        call('PSETEX', key, max(1, ceil(resets[i] / 1000)) + margin, text)
      end
    end
    if not many then
      return now_text .. ' ' .. table.concat(answer, ' ')
    end
    answers[#answers + 1] = table.concat(answer, ' ')
  end
  if charges == 1 or fits or refused then
    skip, refused = skip + charges, false
  else
    refused = true
  end
end

for key, reset in pairs(changed) do
  call('PSETEX', key, max(1, ceil(reset / 1000)) + margin, states[key])
end
return table.concat(answers, ' ')
