//! What holds scripts: what they find, and that nothing they do stops the server or gets out of it.

use crate::harness::Server;

/// The globals of Redis 7.2, as its last releases have them, and `os` and `server`, as in Valkey 8.
const GLOBALS: &str = "_G _VERSION assert bit cjson cmsgpack collectgarbage coroutine error gcinfo getmetatable ipairs \
                       load loadstring math next os pairs pcall rawequal rawget rawset redis select server \
                       setmetatable string struct table tonumber tostring type unpack xpcall";

#[test]
fn scripts_find_these_globals_and_no_others() {
    let mut server = Server::start(&[]);
    let names = "local names = {} for name in pairs(_G) do \
                     if name ~= 'KEYS' and name ~= 'ARGV' then names[#names + 1] = name end \
                 end table.sort(names) return table.concat(names, ' ')";
    server.check_scripts(&[(names, GLOBALS)]);
    for name in [
        "newproxy", "getfenv", "setfenv", "print", "dofile", "loadfile", "require", "io", "debug",
        "package", "module",
    ] {
        let missing = format!("nonexistent global variable '{name}'");
        for script in [format!("return {name}"), format!("return loadstring('return {name}')()")] {
            let reply = server.text(&["EVAL", &script, "0"]);
            assert!(reply.contains(&missing), "{script}: {reply}");
        }
        let everywhere = format!(
            "for _, t in ipairs({{_G, string, table, math, coroutine, os, getmetatable(_G), getmetatable('')}}) do \
                 if rawget(t, '{name}') then return 'found' end \
             end return 'none'"
        );
        server.check_scripts(&[(&everywhere, "none")]);
    }
}

#[test]
fn no_range_is_too_much_for_unpack() {
    let mut server = Server::start(&[]);
    for range in [
        "0, 2147483647",
        "1, 2147483647",
        "-2147483648, 2147483647",
        "-2147483648, -1",
        "-1, 2147483646",
        "2147483647, 2147483648",
        "-9223372036854775808, 9223372036854775807",
        "9223372036854775800, 9223372036854775807",
        "1, 1e300",
        "-1/0, 1/0",
        "0/0, 0/0",
        "1, 8000",
        "1, 7998",
    ] {
        let reply = server.text(&["EVAL", &format!("return {{unpack({{}}, {range})}}"), "0"]);
        assert!(reply.contains("user_script:1: too many results to unpack"), "{range}: {reply}");
    }
    server.check_scripts(&[
        ("return {unpack({1, 2, 3})}", "[:1 :2 :3]"),
        ("return {unpack({1, 2, 3}, 2)}", "[:2 :3]"),
        ("return {unpack({1, 2, 3}, '2', 2.9)}", "[:2]"),
        ("return {unpack({1, 2, 3}, nil, 2)}", "[:1 :2]"),
        ("return select('#', unpack({}, 1, 7997))", ":7997"),
        ("return select('#', unpack({}, -3, 3))", ":7"),
        ("return select('#', unpack({}, 1, -2147483648))", ":0"),
        ("local t = {} for i = 1, 7999 do t[i] = i end return select('#', unpack(t))", ":7999"),
        (
            "return select(2, pcall(unpack))",
            "bad argument #1 to 'unpack' (table expected, got nil)",
        ),
        (
            "return select(2, pcall(unpack, {}, 'x'))",
            "bad argument #2 to 'unpack' (number expected, got string)",
        ),
    ]);
}

#[test]
fn no_finalizer_runs() {
    let mut server = Server::start(&[]);
    let script = "local meta = {__gc = function() redis.call('SET', 'secret', 'gone') end} \
                  for _ = 1, 100 do setmetatable({}, meta) end \
                  for _ = 1, 3 do collectgarbage() end return redis.call('EXISTS', 'secret')";
    server.check_scripts(&[
        (script, ":0"),
        ("collectgarbage() return redis.call('EXISTS', 'secret')", ":0"),
    ]);
    for what in ["redis.call", "cjson.null", "coroutine.create(function() end)", "true", "1"] {
        let script =
            format!("return {{type(getmetatable({what})), pcall(setmetatable, {what}, {{}})}}");
        let reply = server.text(&["EVAL", &script, "0"]);
        assert!(reply.starts_with("[nil nil"), "{what}: {reply}");
    }
}

/// Scripts that never end, or not in years: in Lua, in native functions, between them, in what catches errors, and in
/// the writing of a reply.
const ENDLESS: &[&str] = &[
    "string.match(string.rep('a', 40), string.rep('a?', 40) .. string.rep('a', 40) .. 'b')",
    "string.find(string.rep('a', 30000), '.-.-.-.-b')",
    "string.gsub(string.rep('a', 30000), '.-.-.-b', '')",
    "for _ in string.gmatch(string.rep('a', 30000), '.-.-.-b') do end",
    "string.find(string.rep('a', 1000000), '[' .. string.rep('b', 100000) .. ']-c')",
    "string.find(string.rep('a', 100000), '%f[' .. string.rep('b', 100000) .. ']c')",
    "string.gsub(string.rep('a', 100), 'a', function() while true do end end)",
    "while true do pcall(string.gsub, 'aa', 'a', function() while true do end end) end",
    "while true do string.gsub(string.rep('a', 100000), 'a', tostring) end",
    "while true do pcall(string.rep, 'x', 20000000) end",
    "local s = string.rep('x', 20000000) while true do local a = s .. 'y' end",
    "local s = string.rep('x', 1000000) local t = {} for i = 1, 200 do t[i] = s end \
     while true do table.concat(t) end",
    "table.insert({}, -2147483648, 1)",
    "local t = {} for i = 1, 100000 do t[i] = i % 1000 end while true do table.sort(t) end",
    "local t = {} for i = 1, 100000 do t[i] = i % 1000 end while true do pcall(table.sort, t, rawequal) end",
    "local t = {} for i = 1, 100000 do t[i] = i end while true do table.foreach(t, type) end",
    "while true do pcall(function() while true do end end) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "local f = function() while true do end end while true do coroutine.resume(coroutine.create(f)) end",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "local t = setmetatable({}, {__index = function() while true do end end}) \
     while true do pcall(function() return t.x end) end",
    "local meta = {__lt = function() while true do end end} \
     local a, b = setmetatable({}, meta), setmetatable({}, meta) while true do pcall(table.sort, {a, b, a}) end",
    "local t = {} for i = 1, 1000000 do t[i] = {} end while true do collectgarbage() end",
    "local s = string.rep('\\1', 10000000) while true do pcall(cjson.encode, s) end",
    "local t = {} for i = 1, 100000 do t[i] = i end while true do pcall(cjson.encode, t) end",
    "local s = '[' .. string.rep('1,', 500000) .. '1]' while true do pcall(cjson.decode, s) end",
    "local s = string.rep(' ', 20000000) while true do pcall(cjson.decode, s) end",
    "local t = {} for i = 1, 100000 do t[i] = i end while true do pcall(cmsgpack.pack, t) end",
    "local s = '\\221\\0\\8\\0\\0' .. string.rep('\\1', 524288) while true do pcall(cmsgpack.unpack, s) end",
    "local s = string.rep('x', 10000000) while true do pcall(struct.size, s) end",
    "local s = string.rep('x', 20000000) while true do redis.sha1hex(s) end",
    "local t = {'x'} for i = 1, 60 do t = {t, t} end return t",
    "local t = {map = {x = 1}} for i = 1, 60 do t = {map = {t, t}} end return t",
];

#[test]
fn whatever_a_script_does_it_can_be_ended() {
    let mut server = Server::start(&["--busy-reply-threshold", "20"]);
    for script in ENDLESS {
        let mut running = server.busy(script);
        assert_eq!(server.line("SCRIPT KILL"), "OK", "{script}");
        let line = running.line();
        assert!(
            line.starts_with("-ERR Script killed by user with SCRIPT KILL..."),
            "{script}: {line}"
        );
        server.check(&[("PING", "PONG")]);
    }
}

/// Scripts that want more memory than there is.
const GREEDY: &[&str] = &[
    "return string.rep('x', 100000000)",
    "local s = 'x' while true do s = s .. s end",
    "local t = {} while true do t[#t + 1] = {} end",
    "local t = {} for i = 1, 1e9 do t[i] = 'text' .. i end",
    "local t = {} for i = 1, 1e9 do t['key' .. i] = i end",
    "local s = string.rep('x', 1000000) return string.gsub(s, 'x', string.rep('y', 1000))",
    "local s = string.rep('x', 1000000) return string.gsub(s, 'x', function() return s end)",
    "local s = string.rep('x', 1000000) return string.format(string.rep('%s', 100), s, s, s, s, s, s, s, s, s, s, s, s, \
     s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s)",
    "local s, t = string.rep('x', 1000000), {} for i = 1, 100 do t[i] = s end return table.concat(t)",
    "local s, t = string.rep('x', 1000000), {} for i = 1, 100 do t[i] = s end return t",
    "local t = {string.rep('x', 1000)} for i = 1, 40 do t = {t, t} end return t",
    "local function f(n) return {f(n + 1)} end return f(1)",
    "local f = function() end while true do local g = f f = function() return g end end",
    "local t = {} while true do t[#t + 1] = redis.call('GET', 'large') .. #t end",
    "local t = {} while true do t[#t + 1] = redis.call('LRANGE', 'list', 0, -1) end",
    "return loadstring('return {' .. string.rep('{},', 3000000) .. '}')",
    "return cjson.encode(string.rep('\\1', 5000000))",
    "return cjson.decode('[' .. string.rep('{},', 2000000) .. '1]')",
    "return cjson.decode('\"' .. string.rep('\\\\n', 5000000) .. '\"')",
    "return cmsgpack.unpack('\\221\\0\\16\\0\\0' .. string.rep('\\144', 1048576))",
    "local s = string.rep('x', 8000000) return cmsgpack.pack(s, s, s)",
    "local s = string.rep('x', 8000000) return struct.pack('sss', s, s, s)",
];

#[test]
fn scripts_get_no_more_memory_than_they_may() {
    let mut server = Server::start(&["--lua-memory-limit", "4mb"]);
    let large = "x".repeat(1_000_000);
    server.cmd(&["SET", "large", &large]);
    for _ in 0..100 {
        server.line("RPUSH list a b c d e f g h i j k l m n o p q r s t u v w x y z");
    }
    for script in GREEDY {
        let reply = server.text(&["EVAL", script, "0"]);
        let is_out = ["not enough memory", "stack overflow"].iter().any(|why| reply.contains(why));
        assert!(is_out, "{script}: {reply:.200}");
        // What they took has been given back, and there is room for others.
        server.check_scripts(&[("return #string.rep('x', 1000000)", ":1000000")]);
        assert!(server.info("used_memory_vm_eval") < 4_000_000, "{script}");
    }
    server.check_scripts(&[
        ("return select(2, pcall(string.rep, 'x', 1e8))", "not enough memory"),
        ("return select(2, pcall(string.rep, 'x', 1e10))", "resulting string too large"),
        ("redis.pcall('GET', 'large') return collectgarbage('count') < 4000", ":1"),
    ]);
    server.check(&[("CONFIG SET lua-memory-limit 0", "OK")]);
    server.check_scripts(&[
        ("return #string.rep('x', 50000000)", ":50000000"),
        ("return select(2, pcall(string.rep, 'x', 1e10))", "resulting string too large"),
    ]);
}

#[test]
fn at_whatever_place_memory_ends_the_server_goes_on() {
    let mut server = Server::start(&[]);
    server.line("RPUSH list a b c d e f g h i j");
    let script = "local t = {} \
        for i = 1, 100 do t[i] = {i, 'text ' .. i, redis.call('LRANGE', 'list', 0, -1)} end \
        table.sort(t, function(a, b) return a[1] > b[1] end) \
        t[1] = string.gsub(string.rep('abc', 100), 'b', function(b) return b .. b end) \
        pcall(redis.call, 'NO') pcall(error, {err = 'x'}) coroutine.wrap(function() t[2] = 2 end)() \
        for _, word in ipairs(t) do string.format('%s %s', tostring(word), cjson.encode({1})) end return t";
    let mut outcomes = [0, 0];
    for step in 0..100 {
        let limit = 60_000 + step * 3_001;
        server.cmd(&["CONFIG", "SET", "lua-memory-limit", &limit.to_string()]);
        let reply = server.text(&["EVAL", script, "0"]);
        let is_out = reply.contains("not enough memory");
        assert!(is_out || reply.starts_with('['), "{limit}: {reply:.200}");
        outcomes[usize::from(is_out)] += 1;
    }
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
    server.check(&[("CONFIG SET lua-memory-limit 0", "OK")]);
    assert!(server.text(&["EVAL", script, "0"]).starts_with('['));
}

/// Scripts, and sources, as deep as they like.
const DEEP: &[&str] = &[
    "local function f() return (pcall(f)) end return f()",
    "local function f() local ok, err = pcall(f) return err end return type(f())",
    "local function f() return 1 + f() end return f()",
    "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.x",
    "local t = setmetatable({}, {}) getmetatable(t).__lt = function(a, b) return a < b end return t < t",
    "local t = setmetatable({}, {}) getmetatable(t).__tostring = tostring return tostring(t)",
    "local function f() return (string.gsub('a', 'a', f)) end return f()",
    "local function f() return coroutine.wrap(f)() end return f()",
    "local function f() return (coroutine.resume(coroutine.create(f))) end return f()",
    "local function f() table.sort({1, 2, 3}, f) end return f()",
    "local function f() return (xpcall(f, f)) end return f()",
    "local function f() return loadstring('return ...')(f()) end return f()",
    "local t = {} for i = 1, 100000 do t = {t} end return t",
    "local t = {} for i = 1, 100000 do t = {t} end return pcall(cjson.encode, t)",
    "return pcall(cjson.decode, string.rep('[', 100000))",
    "return pcall(cmsgpack.unpack, string.rep(string.char(0x91), 100000))",
    "return string.match(string.rep('a', 300000), string.rep('a?', 300000))",
    "return string.gsub(string.rep('a', 300000), string.rep('a?', 300000), '')",
    "return string.find(string.rep('a', 300000), string.rep('a-', 300000) .. 'b')",
    "for _ in string.gmatch(string.rep('a', 300000), string.rep('a*', 300000)) do end",
    "return string.match(string.rep('(', 300000), string.rep('%(', 300000))",
];

#[test]
fn nothing_is_too_deep_for_a_small_stack() {
    let mut server = Server::start_with_stack(256, &["--lua-memory-limit", "64mb"]);
    for script in DEEP {
        // Replies of a thousand levels are too much for the client.
        let mut raw = server.raw();
        raw.command(&["EVAL", script, "0"]);
        raw.line();
        server.check(&[("PING", "PONG")]);
    }
    for (open, close) in [
        ("(", ")"),
        ("{", "}"),
        ("- ", ""),
        ("not ", ""),
        ("function() return ", " end"),
        ("1 .. ", ""),
    ] {
        let script = format!("return {}1{}", open.repeat(10_000), close.repeat(10_000));
        let reply = server.text(&["EVAL", &script, "0"]);
        assert!(reply.contains("chunk has too many syntax levels"), "{open}: {reply:.200}");
    }
    for script in &DEEP[16..19] {
        let reply = server.text(&["EVAL", script, "0"]);
        assert!(reply.contains("pattern too complex"), "{script}: {reply:.200}");
    }
}
