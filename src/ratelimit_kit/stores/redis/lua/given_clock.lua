-- The time of a decision in tests: the last argument, in microseconds.
--
-- `margin` (milliseconds) is added to every time to live: Redis expires keys in real time, not by the test's clock.

local call = redis.call
local now = tonumber(table.remove(ARGV))
local margin = 3600000
