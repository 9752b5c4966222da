-- The time of a decision in tests: the last argument, in microseconds.
--
-- `margin` is added to every time to live: the keys' real age says nothing about a test's clock.

local call = redis.call
local now = tonumber(table.remove(ARGV))
local margin = 3600000
