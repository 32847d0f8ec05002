-- The local variables of a function on the stack: their names, and the values at the same indices; nothing if there is
-- no such function. Level 0 is the function in which a hook was called that calls this.
local getinfo, getlocal = debug.getinfo, debug.getlocal

return function(level)
  level = level + 2
  if not getinfo(level, 'l') then return end
  local names, values = {}, {}
  for i = 1, 1000 do
    local name, value = getlocal(level, i)
    if not name then break end
    names[i], values[i] = name, value
  end
  return names, values
end
