-- The time of a decision: the server's own clock, in microseconds, and as text of 16 digits.
--
-- `margin` is added to every time to live, in milliseconds.

local moment = redis.call('TIME')
local now = moment[1] * 1000000 + moment[2]
local now_text = moment[1] .. string.sub('000000' .. moment[2], -6)
local margin = 0
