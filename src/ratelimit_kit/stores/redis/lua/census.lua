-- Write the entry of a serving process, and list the entries of all that serve by the same policy, a line each.
--
-- KEYS[1]   lines of an entry and the time at which it ends, in milliseconds
-- ARGV      the entry (empty: only look), how long it lasts in milliseconds (0: remove it), the most entries

local key, entry, lasts, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local moment = math.floor(now / 1000)
local longest = math.max(lasts, 60000) + 2000

local lines, names, last = {}, {}, moment
local function add(name, ends)
  if #names < most then
    names[#names + 1] = name
    lines[#lines + 1] = name .. ' ' .. string.format('%.0f', ends)
    last = math.max(last, ends)
  end
end

for name, ends in string.gmatch(call('GET', key) or '', '(%S+) (%d+)') do
  ends = tonumber(ends)
  -- After the clock was set back an entry would last too long: whoever lives writes its own again.
  local lives = ends > moment and (lasts == 0 or ends <= moment + longest)
  if lives and name ~= entry then
    add(name, ends)
  end
end
if entry ~= '' then
  if lasts > 0 then
    add(entry, moment + lasts)
  end
  if #names > 0 then
    call('PSETEX', key, last - moment + margin, table.concat(lines, '\n'))
  else
    call('DEL', key)
  end
end
return table.concat(names, '\n')
