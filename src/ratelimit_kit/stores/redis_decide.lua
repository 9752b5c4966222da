-- Decide a list of charges: admit all of them or write nothing. The twin of core/*.py.
--
-- KEYS[i]   the state of charge i
-- ARGV      per charge: algorithm, cost, and
--             tb  capacity, unit, rate
--             sw  limit, window, resolution, granule, and the digits of a stamp and of a count
--             fw  limit, and four ends of calendar windows, ascending: the server's time must
--                 lie between the first and the last, else the answer is {-1, time}
-- Answers   for one token bucket: its credits afterwards, or -1 minus its credits when it refuses
--           else {time, 1 or 0, then per charge}: what is there after an admission, before a denial
--             tb  credits
--             sw  units left, time until the cost (or one unit) fits, time until all is forgotten
--             fw  end of the window (0 for none) and count
--
-- Each charge gives the `text` of its state afterwards ('' to leave it, nil where the cost does not fit),
-- the time `reset` for which that one matters, and what to answer. One charge is written and answered at
-- once; several are written when all fit, and looked at a second time, as `refused`, when one does not.

local one = #KEYS == 1
local states = not one and call('MGET', unpack(KEYS))
local refused = false

while true do
  local answer, texts, resets, at, fits
  if not one then
    answer, texts, resets, fits = { now, refused and 0 or 1 }, {}, {}, true
  end
  at = 1
  for i = 1, #KEYS do
    local state = states and states[i] or one and call('GET', KEYS[1])
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
          while from <= size and (sub(state, from + digits, from + wide - 1) - base) % turn < wanted do
            from = from + wide
          end
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
        local counts = format('%0' .. places .. '.0f%0' .. places .. '.0f', (total + cost) % turn, base)
        text, reset = (time == now and now_text or format('%016.0f', time)) .. counts .. groups, window
        left = left - cost
        first_value, second_value, third_value = left, left > 0 and 0 or first + window - time, window
      end
      at = at + 8

    else
      local limit, over, count = ARGV[at + 2] + 0, 0, 0
      if ARGV[at + 3] + 0 > now or now >= ARGV[at + 6] + 0 then
        return { -1, now }
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
      return { now, text and 1 or 0, first_value, second_value, third_value }
    end
    fits = fits and text
    texts[i], resets[i] = text, reset
    local last = #answer
    answer[last + 1], answer[last + 2], answer[last + 3] = first_value, second_value, third_value
  end

  if fits then
    for i, text in ipairs(texts) do
      if text ~= '' then
        call('PSETEX', KEYS[i], max(1, ceil(resets[i] / 1000)) + margin, text)
      end
    end
  end
  if fits or refused then
    return answer
  end
  refused = true
end
