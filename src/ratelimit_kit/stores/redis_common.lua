-- What both scripts begin with: the clock, pairs of numbers as text, times to live.
--
-- ARGV[1]   '' to read the server's clock; tests pass microseconds instead

local STRIDE = 7
local now = tonumber(ARGV[1])
local margin = 0
if now then
  margin = 3600000 -- the keys' real age says nothing about a test's clock
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local function pair(text)
  local colon = string.find(text, ':', 1, true)
  return tonumber(string.sub(text, 1, colon - 1)), tonumber(string.sub(text, colon + 1))
end

local function join(first, second)
  return string.format('%.0f:%.0f', first, second)
end

local function milliseconds(reset)
  return string.format('%.0f', max(1, ceil(reset / 1000)) + margin)
end
