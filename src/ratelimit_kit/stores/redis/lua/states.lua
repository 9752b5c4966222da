-- States as packed numbers, the same for both scripts. Each begins with a time in microseconds.
--
-- token bucket     stamp, then the credits
-- fixed window     end of the window, then the count
-- sliding window   stamp and total of the last entry of hits, and `base`, the count before the first
--                  entry (the `header`); then stamp and total of every entry but the last, oldest
--                  first. Of those stamps, and of all counts, only as many bytes are kept as distinguish values
--                  within a window or a limit: they are known modulo `stamp_modulus` and `count_modulus`.
--
-- These scripts run for every decision, so they are written for speed: no function is created (that takes longer
-- than most of the steps), only what every decision calls has a local name, and numbers are packed, because
-- writing one as text takes longer than all the arithmetic of a decision, and reading one takes longer than
-- unpacking a list of them.

local pack, read, ceil = struct.pack, struct.unpack, math.ceil
