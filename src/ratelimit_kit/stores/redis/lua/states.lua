-- States as packed numbers, the same for both scripts. Times are microseconds; `born` is when a state was made from nothing.
--
-- token bucket     stamp, the credits that were spent, born, the lowest rate that has charged it
-- fixed window     end of the window, the count, born
-- sliding window   stamp of the last entry of hits, born, the bytes of a count (1 to 4 or 8), the total of the last entry,
--                  and `base`, the count before the first entry (the `header`); then stamp and total of every entry
--                  but the last, oldest first. Of those stamps, and of all counts, only as many bytes are kept as
--                  distinguish values within a window or a limit: they are known modulo `stamp_modulus` and
--                  `count_modulus`. Limits of several sizes may share a log, which has counts for the largest.
--
-- A state with a stamp that is more than `skew` later than the server's time was written before the clock was set back:
-- later stamps become the server's time, and that is written whatever is decided.
--
-- These scripts run for every decision, so they are written for speed: no function is created (that takes longer
-- than most of the steps), only what every decision calls has a local name, and numbers are packed, because
-- writing one as text takes longer than all the arithmetic of a decision, and reading one takes longer than
-- unpacking a list of them.

local pack, read, ceil, byte = struct.pack, struct.unpack, math.ceil, string.byte
local skew = 2000000
