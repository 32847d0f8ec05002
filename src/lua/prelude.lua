-- What a script finds, and what it must not touch.
--
-- Tables that all scripts share are shown as empty ones with the real table behind them: reading goes through, writing
-- is refused. This is run once for each state; its environment, the real globals, is seen by nobody else.
local native, libs, constants, for_libraries = ...

local error, type, tostring, select, setmetatable = error, type, tostring, select, setmetatable
local getmetatable, xpcall, pcall, unpack = getmetatable, xpcall, pcall, unpack
local pairs, next, rawget, rawset, tonumber = pairs, next, rawget, rawset, tonumber
local setfenv, loadstring, byte, concat = setfenv, loadstring, string.byte, libs.table.concat
local collectgarbage = collectgarbage

local behind = {} -- The real table of each that is shown.
local shown_metatable = {}

local function refuse()
  error('Attempt to modify a readonly table', 2)
end

local function refuse_if_shown(t)
  if behind[t] then error('Attempt to modify a readonly table', 0) end
end

local function freeze(real)
  local metatable = {__index = real, __newindex = refuse}
  local shown = setmetatable({}, metatable)
  behind[shown] = real
  return shown, metatable
end

local function nonexistent(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end
local complete = {__index = nonexistent}

-- A table that may be iterated: what is shown is empty itself, and nobody is to get hold of the real one.
local function to_iterate(t)
  local real = behind[t]
  if not real then return t end
  local copy = {}
  for k, v in pairs(real) do copy[k] = v end
  return copy
end

local function library(functions, values)
  for name, value in pairs(values or {}) do functions[name] = value end
  return functions
end

-- Builtins.

local globals = {
  assert = assert, error = error, gcinfo = gcinfo, ipairs = ipairs,
  rawequal = rawequal, select = select, tonumber = tonumber, tostring = tostring, type = type, _VERSION = _VERSION,
}
local env, env_metatable = freeze(globals)
globals._G = env
shown_metatable[env] = freeze({__index = env})

setmetatable(globals, complete)

-- What C's functions say of their arguments; their own errors would name this file as the place.
local function check(fine, argument, name, expected, value)
  if fine then return end
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(argument, name, expected, type(value)), 3)
end

function globals.pairs(t)
  if type(t) == 'table' and not behind[t] then return next, t, nil end
  check(type(t) == 'table', 1, 'pairs', 'table', t)
  return pairs(to_iterate(t))
end
function globals.next(t, k)
  if type(t) == 'table' and not behind[t] then return next(t, k) end
  check(type(t) == 'table', 1, 'next', 'table', t)
  return next(to_iterate(t), k)
end
function globals.rawget(t, k)
  check(type(t) == 'table', 1, 'rawget', 'table', t)
  return rawget(behind[t] or t, k)
end
function globals.rawset(t, k, v)
  check(type(t) == 'table', 1, 'rawset', 'table', t)
  refuse_if_shown(t)
  return rawset(t, k, v)
end
function globals.setmetatable(t, meta)
  if type(t) == 'table' and type(meta) == 'table' and not behind[t] then return setmetatable(t, meta) end
  check(type(t) == 'table', 1, 'setmetatable', 'table', t)
  check(meta == nil or type(meta) == 'table', 2, 'setmetatable', 'nil or table', meta)
  refuse_if_shown(t)
  return setmetatable(t, meta)
end
local string_metatable = freeze({__index = freeze(string)})
function globals.getmetatable(t)
  if behind[t] then return shown_metatable[t] end
  if type(t) == 'string' then return string_metatable end
  return getmetatable(t)
end

-- Errors of native functions are objects; a script catches what they stand for. An error that is a table with an `err`
-- is caught as its text by `pcall`; of other tables that field is caught, too, as in Redis.
local function caught(ok, ...)
  if ok then return ok, ... end
  local err = native.caught((...))
  if type(err) ~= 'table' then return false, err end
  local text = err.err
  if type(text) == 'string' or type(text) == 'number' then return false, text end
  return false, err, text
end
function globals.pcall(...) return caught(pcall(...)) end
function globals.xpcall(f, ...)
  if select('#', ...) == 0 then error("bad argument #2 to 'xpcall' (value expected)", 2) end
  local handler = ...
  return xpcall(f, function(err)
    -- Its handler would run where nothing can end it.
    if native.has_ended() then return err end
    return handler(native.caught(err))
  end)
end
local function resumed(ok, ...)
  if ok then return ok, ... end
  return false, native.caught((...))
end
local resume = coroutine.resume
function coroutine.resume(...) return resumed(resume(...)) end

-- Bytecode is not checked by Lua, so that a script could do with it what it likes.
function globals.loadstring(text, name)
  check(type(text) == 'string' or type(text) == 'number', 1, 'loadstring', 'string', text)
  check(name == nil or type(name) == 'string' or type(name) == 'number', 2, 'loadstring', 'string', name)
  if type(text) == 'string' and byte(text, 1) == 27 then return nil, 'bytecode is not loaded' end
  local f, err = loadstring(text, name)
  if not f then return nil, err end
  return setfenv(f, env)
end
function globals.load(reader, name)
  check(type(reader) == 'function', 1, 'load', 'function', reader)
  local parts = {}
  for part in reader do
    if part == '' then break end
    parts[#parts + 1] = part
  end
  return globals.loadstring(concat(parts), name or '=(load)')
end

local function bad_argument(argument, name, expected, value)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(argument, name, expected, type(value)), 4)
end
local function check_type(argument, name, value, expected)
  if type(value) ~= expected then bad_argument(argument, name, expected, value) end
end
local function integer(argument, name, value)
  local n = tonumber(value)
  if not n then bad_argument(argument, name, 'number', value) end
  return n - n % (n < 0 and -1 or 1)
end

-- C's `unpack` computes in `int`s, which overflow, and takes no more values than this, its arguments among them.
local MOST_UNPACKED = 8000

function globals.unpack(t, i, j)
  if i == nil and j == nil and type(t) == 'table' and #t < MOST_UNPACKED then return unpack(t) end
  check_type(1, 'unpack', t, 'table')
  local first = i ~= nil and integer(2, 'unpack', i) or 1
  local last = j ~= nil and integer(3, 'unpack', j) or #t
  if first > last then return end
  local args = j ~= nil and 3 or i ~= nil and 2 or 1
  if not (last - first < MOST_UNPACKED - args and first >= -2^31 and last < 2^31) then
    error('too many results to unpack', 2)
  end
  if j ~= nil then return unpack(t, first, last) end
  if i ~= nil then return unpack(t, first) end
  return unpack(t)
end

-- The collector is there for all scripts: they may run it, but not stop or tune it.
local UNCHANGED = {stop = 0, restart = 0, setpause = 200, setstepmul = 200}
local OBEYED = {collect = true, count = true, step = true}
function globals.collectgarbage(what, n)
  if what == nil then what = 'collect' end
  if UNCHANGED[what] then return UNCHANGED[what] end
  if not OBEYED[what] then
    error("bad argument #1 to 'collectgarbage' (invalid option '" .. tostring(what) .. "')", 2)
  end
  return collectgarbage(what, n)
end

-- Libraries.

-- `table` in Lua: what is long then can be interrupted, and what scripts give is called without C in between.

table.concat = concat

function table.insert(t, ...)
  if behind[t] or type(t) ~= 'table' then
    refuse_if_shown(t)
    check_type(1, 'insert', t, 'table')
  end
  local count, last = select('#', ...), #t + 1
  local place, value = ...
  if count == 1 then
    rawset(t, last, place)
    return
  end
  if count ~= 2 then error("wrong number of arguments to 'insert'", 2) end
  place = integer(2, 'insert', place)
  if not (place >= -2^31 and place < 2^31) then error("bad argument #2 to 'insert' (position out of bounds)", 2) end
  local top = place > last and place or last
  if getmetatable(t) == nil then
    for i = top, place + 1, -1 do t[i] = t[i - 1] end
  else
    for i = top, place + 1, -1 do rawset(t, i, rawget(t, i - 1)) end
  end
  rawset(t, place, value)
end

function table.remove(t, place)
  if type(t) ~= 'table' then check_type(1, 'remove', t, 'table') end
  local last = #t
  place = place ~= nil and integer(2, 'remove', place) or last
  if not (1 <= place and place <= last) then return end
  if getmetatable(t) == nil then
    local removed = t[place]
    for i = place, last - 1 do t[i] = t[i + 1] end
    t[last] = nil
    return removed
  end
  local removed = rawget(t, place)
  for i = place, last - 1 do rawset(t, i, rawget(t, i + 1)) end
  rawset(t, last, nil)
  return removed
end

function table.maxn(t)
  check_type(1, 'maxn', t, 'table')
  local max = 0
  for k in next, t do
    if type(k) == 'number' and k > max then max = k end
  end
  return max
end

function table.foreach(t, f)
  check_type(1, 'foreach', t, 'table')
  check_type(2, 'foreach', f, 'function')
  for k, v in next, t do
    local result = f(k, v)
    if result ~= nil then return result end
  end
end

function table.foreachi(t, f)
  check_type(1, 'foreachi', t, 'table')
  check_type(2, 'foreachi', f, 'function')
  for i = 1, #t do
    local result = f(i, rawget(t, i))
    if result ~= nil then return result end
  end
end

-- Lua 5.1's quicksort, step by step, so that orders that are none give the same results. Answers whether the order
-- makes sense. The table is a plain one: nothing that it is asked for calls anybody.
local QUICKSORT = [[
local function quicksort(t, low, high, before)
  while low < high do
    local a, b = t[low], t[high]
    if before(b, a) then
      t[low] = b
      t[high] = a
    end
    if high - low == 1 then break end
    local middle = (low + high - (low + high) % 2) / 2
    local pivot = t[middle]
    a = t[low]
    if before(pivot, a) then
      t[middle] = a
      t[low] = pivot
    else
      b = t[high]
      if before(b, pivot) then
        t[middle] = b
        t[high] = pivot
      end
    end
    if high - low == 2 then break end
    pivot = t[middle]
    t[middle] = t[high - 1]
    t[high - 1] = pivot
    local i, j = low, high - 1
    while true do
      i = i + 1
      a = t[i]
      while before(a, pivot) do
        if i > high then return false end
        i = i + 1
        a = t[i]
      end
      j = j - 1
      b = t[j]
      while before(pivot, b) do
        if j < low then return false end
        j = j - 1
        b = t[j]
      end
      if j < i then break end
      t[i] = b
      t[j] = a
    end
    a = t[high - 1]
    t[high - 1] = t[i]
    t[i] = a
    -- The smaller part first: no more calls are open than the length has bits.
    if i - low < high - i then
      i, j, low = i - 1, low, i + 1
    else
      i, j, high = high, i + 1, i - 1
    end
    if not quicksort(t, j, i, before) then return false end
  end
  return true
end
return quicksort
]]

local quicksort = loadstring(QUICKSORT, '=prelude')()
-- Without an order of the script's own, nothing is called at all to compare.
local quicksort_plainly = loadstring(QUICKSORT:gsub('before%((%w+), (%w+)%)', '%1 < %2'), '=prelude')()

local function sort_plain(t, last, before)
  if before then return quicksort(t, 1, last, before) end
  local ok, is_order = pcall(quicksort_plainly, t, 1, last)
  if ok then return is_order end
  -- Not as an error of this file.
  local text = type(is_order) == 'string' and is_order:match('^prelude:%d+: (.*)$')
  error(text or is_order, 0)
end

function table.sort(t, before)
  check_type(1, 'sort', t, 'table')
  if before ~= nil then check_type(2, 'sort', before, 'function') end
  local last, is_order = #t
  if getmetatable(t) == nil then
    is_order = sort_plain(t, last, before)
  else
    local plain = {}
    for i = 1, last do plain[i] = rawget(t, i) end
    is_order = sort_plain(plain, last, before)
    for i = 1, last do rawset(t, i, plain[i]) end
  end
  if not is_order then error('invalid order function for sorting', 2) end
end

for name, f in pairs(libs.string) do string[name] = f end
for name, f in pairs(libs.math) do math[name] = f end
globals.string, globals.table, globals.math = freeze(string), freeze(table), freeze(math)
globals.coroutine, globals.os = freeze(coroutine), freeze({clock = os.clock})
for _, name in pairs({'bit', 'cjson', 'cmsgpack', 'struct'}) do
  globals[name] = freeze(library(libs[name], constants[name]))
end

-- The server.

local redis = library(libs.redis, constants.redis)
for _, name in pairs({'call', 'pcall', 'log', 'set_repl', 'setresp', 'acl_check_cmd'}) do
  redis[name] = native.server[name]
end
local function is_one_text(...) return select('#', ...) == 1 and type((...)) == 'string' end
function redis.error_reply(...)
  if not is_one_text(...) then return {err = 'ERR wrong number or type of arguments'} end
  return {err = native.error_text((...))}
end
function redis.status_reply(...)
  if not is_one_text(...) then return {err = 'ERR wrong number or type of arguments'} end
  return {ok = (...)}
end
if not for_libraries then
  function redis.replicate_commands() return true end
  redis.breakpoint, redis.debug = native.server.breakpoint, native.server.debug
end
globals.redis = freeze(redis)
globals.server = globals.redis

-- Errors that nobody catches: as a table, with the place in the script.

local function traced(err)
  err = native.caught(err)
  if type(err) ~= 'table' or behind[err] then err = {err = 'ERR ' .. tostring(err)} end
  local source, line = native.where()
  if source then
    rawset(err, 'source', source)
    rawset(err, 'line', line)
  end
  return err
end

-- Libraries of functions. While one is loaded it sees nothing but `redis`, and little of that.

local register, log
local apis = {redis}

local function api_to_load(name)
  local api = {}
  apis[#apis + 1] = api
  function api.log(...) return log(...) end
  for level, value in pairs(redis) do
    if tostring(level):find('^LOG_') then api[level] = value end
  end
  function api.register_function(...)
    if not register then
      error({err = 'ERR ' .. name .. '.register_function can only be called on FUNCTION LOAD command'})
    end
    return register(name, ...)
  end
  return freeze(setmetatable(api, complete))
end

local globals_to_load = setmetatable({redis = api_to_load('redis'), server = api_to_load('server')}, complete)

-- The version that the server announces may change while it runs.
local function show_version(text, number)
  for _, api in ipairs(apis) do api.REDIS_VERSION, api.REDIS_VERSION_NUM = text, number end
end

-- From now on a library is loaded, whose functions are registered so; no longer, without arguments.
local function bind_library(new_register, new_log)
  register, log = new_register, new_log
  env_metatable.__index = new_register and globals_to_load or globals
end

local function load(f)
  local ok, err = pcall(f)
  if ok then return nil end
  err = native.caught(err)
  if type(err) == 'table' and not behind[err] then return tostring(rawget(err, 'err')) end
  return 'ERR ' .. tostring(err)
end

return {env = env, globals = globals, traced = traced, show_version = show_version, bind_library = bind_library, load = load}
