-- The two functions of Redis's struct library that the scripts use, for servers whose Lua lacks it, such as fakeredis.
--
-- A format is '<' and then, for each number, 'd' (8 bytes, IEEE 754) or 'I' with a number of bytes; all numbers
-- are integers.

local struct = struct or (function()
  local floor = math.floor

  local function bytes(number, size)
    local text = ''
    for _ = 1, size do
      text, number = text .. string.char(number % 256), floor(number / 256)
    end
    return text
  end

  local function number_in(text, from, size)
    local number = 0
    for i = from + size - 1, from, -1 do
      number = number * 256 + string.byte(text, i)
    end
    return number
  end

  local function double(number)
    local exponent, left = 1075, math.abs(number)
    if left == 0 then return bytes(0, 8) end
    while left < 2 ^ 52 do
      left, exponent = left * 2, exponent - 1
    end
    local high = floor(left / 2 ^ 48) % 16 + exponent * 16 + (number < 0 and 32768 or 0)
    return bytes(left % 2 ^ 48, 6) .. bytes(high, 2)
  end

  local function double_in(text, from)
    local low, high = number_in(text, from, 6), number_in(text, from + 6, 2)
    if low == 0 and high == 0 then return 0 end
    local number = (low + (high % 16 + 16) * 2 ^ 48) * 2 ^ (floor(high / 16) % 2048 - 1075)
    return high < 32768 and number or -number
  end

  local function pack(shape, ...)
    local text, given = '', { ... }
    for kind, size in string.gmatch(shape, '([dI])(%d*)') do
      local number = table.remove(given, 1)
      text = text .. (kind == 'd' and double(number) or bytes(number, size + 0))
    end
    return text
  end

  local function read(shape, text, from)
    local found = {}
    from = from or 1
    for kind, size in string.gmatch(shape, '([dI])(%d*)') do
      found[#found + 1] = kind == 'd' and double_in(text, from) or number_in(text, from, size + 0)
      from = from + (kind == 'd' and 8 or size + 0)
    end
    found[#found + 1] = from
    return unpack(found)
  end

  return { pack = pack, unpack = read }
end)()
