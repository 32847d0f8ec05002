-- What a script finds, and what it must not touch.
--
-- Tables that all scripts share are shown as empty ones with the real table behind them: reading goes through, writing
-- is refused. This is run once for each state; its environment, the real globals, is seen by nobody else.
local native, libs, constants, for_libraries = ...

local error, type, tostring, select, setmetatable = error, type, tostring, select, setmetatable
local getmetatable, xpcall, pcall, unpack = getmetatable, xpcall, pcall, unpack
local pairs, next, rawget, rawset, tonumber = pairs, next, rawget, rawset, tonumber
local setfenv, loadstring, concat, byte = setfenv, loadstring, table.concat, string.byte
local insert = table.insert

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
  assert = assert, collectgarbage = collectgarbage, error = error, gcinfo = gcinfo, ipairs = ipairs,
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
  check(type(t) == 'table', 1, 'pairs', 'table', t)
  return pairs(to_iterate(t))
end
function globals.next(t, k)
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
  return xpcall(f, function(err) return handler(native.caught(err)) end)
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
  if f then setfenv(f, env) end
  return f, err
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

-- C's `unpack` computes in `int`s, which overflow, and takes no more values than this, its arguments among them.
local MOST_UNPACKED = 8000

local function integer(value, argument, default)
  local n = value == nil and default or tonumber(value)
  if n then return n - n % (n < 0 and -1 or 1) end
  error("bad argument #" .. argument .. " to 'unpack' (number expected, got " .. type(value) .. ")", 3)
end
function globals.unpack(t, i, j)
  if type(t) ~= 'table' then
    error("bad argument #1 to 'unpack' (table expected, got " .. type(t) .. ")", 2)
  end
  local first, last = integer(i, 2, 1), integer(j, 3, #t)
  if first > last then return end
  local args = j ~= nil and 3 or i ~= nil and 2 or 1
  if not (last - first < MOST_UNPACKED - args and first >= -2^31 and last < 2^31) then
    error('too many results to unpack', 2)
  end
  if j ~= nil then return unpack(t, first, last) end
  if i ~= nil then return unpack(t, first) end
  return unpack(t)
end

-- Libraries.

function table.insert(t, ...)
  refuse_if_shown(t)
  return insert(t, ...)
end
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

local run
if for_libraries then
  function run(f, keys, args)
    return xpcall(function() return f(keys, args) end, traced)
  end
else
  function run(f, keys, args)
    rawset(globals, 'KEYS', keys)
    rawset(globals, 'ARGV', args)
    return xpcall(f, traced)
  end
end

-- Libraries of functions. While one is loaded it sees nothing but `redis`, and little of that.

local register, control

local function api_to_load(name)
  local api = {REDIS_VERSION = redis.REDIS_VERSION, REDIS_VERSION_NUM = redis.REDIS_VERSION_NUM}
  function api.log(...) return control('log', ...) end
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

-- From now on a library is loaded, whose functions are registered so; no longer, without arguments.
local function bind_library(new_register, new_control)
  register, control = new_register, new_control
  env_metatable.__index = new_register and globals_to_load or globals
end

local function load(f)
  local ok, err = pcall(f)
  if ok then return nil end
  err = native.caught(err)
  if type(err) == 'table' and not behind[err] then return tostring(rawget(err, 'err')) end
  return 'ERR ' .. tostring(err)
end

-- A script has run for long: whether it may go on.
local function interrupt() return (control or native.server.interrupt)('interrupt') end

return {env = env, run = run, bind_library = bind_library, load = load, interrupt = interrupt}
