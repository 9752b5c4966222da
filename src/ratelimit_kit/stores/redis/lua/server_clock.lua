-- The time of a decision: the server's own clock, in microseconds.
--
-- `margin` is added to every time to live, in milliseconds.

local call = redis.call
local moment = call('TIME')
local now = moment[1] * 1000000 + moment[2]
local margin = 0
