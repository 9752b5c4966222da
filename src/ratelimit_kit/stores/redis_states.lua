-- States as text, the same for both scripts. Each begins with a time of 16 digits, in microseconds.
--
-- token bucket     stamp, then the credits
-- fixed window     end of the window, then the count
-- sliding window   stamp and total of the last group of hits, and `base`, the count before the first
--                  group; then stamp and total of every group but the last, the oldest first. Of those
--                  stamps only the last digits are kept, and so of all counts: as many as tell apart
--                  what lies within a window and a limit.
--
-- These scripts run for every decision, so they are written for speed: no function is made (that takes
-- longer than most of the steps), `text + 0` reads a number in half the time of tonumber, and `..` writes
-- one, exactly up to 14 digits.

local call, sub, format = redis.call, string.sub, string.format
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
