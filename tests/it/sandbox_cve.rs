//! The inputs by which Redis's and Valkey's scripts have been broken since 2015, and variants of them: none may end the
//! server, reach what it must not, or leave anything behind for the scripts of others. `docs/sandbox.md` lists them.

use crate::harness::Server;

/// Runs scripts that must fail so.
fn check_errors(server: &mut Server, table: &[(&str, &str)]) {
    for (script, expected) in table {
        let reply = server.text(&["EVAL", script, "0"]);
        assert!(reply.contains(expected), "{script}: {reply}");
        assert!(!reply.contains("traceback"), "{script}: {reply}");
    }
    server.check(&[("PING", "PONG")]);
}

/// CVE-2015-4335: bytecode, which Lua does not check, reads and writes where it likes.
#[test]
fn bytecode_is_not_loaded() {
    let mut server = Server::start(&[]);
    let refused = "bytecode is not loaded";
    server.check_scripts(&[
            ("return (select(2, loadstring('\\27Lua')))", refused),
            ("return (select(2, loadstring(string.dump(function() end))))", refused),
            (
                "local code = '\\27Lua' return (select(2, load(function() local c = code code = '' return c end)))",
                refused,
            ),
            (
                "local code, at = string.dump(function() end), 0 \
                 return (select(2, load(function() at = at + 1 return code:sub(at, at) end)))",
                refused,
            ),
        ],
    );
    check_errors(
        &mut server,
        &[("\u{1b}Lua", "Error compiling script"), ("#!lua\n\u{1b}Lua", "Error compiling script")],
    );
}

/// CVE-2015-8080 and CVE-2020-14147: a number in a format of `struct` that overflows. CVE-2018-11219: one that makes
/// the check of the data's length overflow.
#[test]
fn numbers_in_formats_do_not_overflow() {
    let mut server = Server::start(&[]);
    check_errors(
        &mut server,
        &[
            ("return struct.pack('<I99999999999999999999', 1)", "integral size overflow"),
            ("return struct.pack('i2147483648', 1)", "integral size overflow"),
            ("return struct.pack('i2147483647', 1)", "is larger than limit of 32"),
            ("return struct.pack('!4294967296i', 1)", "integral size overflow"),
            ("return struct.pack('!2147483647i', 1)", "is not a power of 2"),
            ("return struct.unpack('c2147483647', 'x')", "data string too short"),
            ("return struct.unpack('bc0', '\\255')", "data string too short"),
            ("return struct.unpack('c2147483647c2147483647', 'x')", "data string too short"),
            ("return struct.unpack('>I2147483647', 'x')", "is larger than limit"),
            ("return struct.unpack('b', 'x', -1)", "data string too short"),
            ("return struct.unpack('b', 'x', 2^63)", "data string too short"),
            ("return struct.unpack('!1073741824i32', 'x', 2^53)", "data string too short"),
            (
                "return struct.unpack('dc0', '\\0\\0\\0\\0\\0\\0\\240\\127')",
                "data string too short",
            ),
            ("return struct.size('s')", "has no fixed size"),
        ],
    );
}

/// CVE-2018-11218: data of MessagePack that say that they are larger than they are, or are nested deep; and more
/// arguments and results than Lua's stack has room for.
#[test]
fn messages_are_not_believed() {
    let mut server = Server::start(&[]);
    check_errors(
        &mut server,
        &[
            ("return cmsgpack.unpack('\\219\\255\\255\\255\\255Z')", "Missing bytes in input"),
            ("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes in input"),
            ("return cmsgpack.unpack('\\223\\255\\255\\255\\255')", "Missing bytes in input"),
            ("return cmsgpack.unpack(string.rep('\\145', 1000000))", "stack overflow"),
            ("return cmsgpack.unpack(string.rep('\\129\\1', 1000000))", "stack overflow"),
            ("return cmsgpack.unpack(string.rep('\\129', 1000000))", "stack overflow"),
            (
                "return cmsgpack.unpack(string.rep('\\1', 1000000))",
                "too many return values at once",
            ),
            ("return cmsgpack.unpack(string.rep('\\161x', 1000000))", "stack overflow"),
            ("return cmsgpack.unpack_limit(string.rep('\\1', 20000), 10000, 0)", "too many return"),
            ("return cmsgpack.unpack_one('x', -1)", "Invalid request to unpack"),
            ("return cmsgpack.unpack_one('x', 2)", "Start offset 2 greater than input length 1"),
            ("return cmsgpack.unpack('\\129\\192\\1')", "index is nil"),
        ],
    );
    server.check_scripts(&[
        // Tables that contain themselves are packed to a depth, also as keys.
        ("local t = {} t[1] = t return #cmsgpack.pack(t)", ":17"),
        ("local t = {} t[t] = 1 return #cmsgpack.pack(t)", ":33"),
        ("local t = {} for i = 1, 7000 do t[i] = i end return #cmsgpack.pack(unpack(t))", ":20618"),
    ]);
}

/// CVE-2021-32626: values nested so deep that Lua's stack overflows where it is not looked at: in `cjson`, and in the
/// replies to commands and of scripts. CVE-2022-24834: texts so long that their escaped length overflows.
#[test]
fn depth_and_length_have_ends() {
    let mut server = Server::start(&[]);
    check_errors(
        &mut server,
        &[
            ("local t = {} t[1] = t return cjson.encode(t)", "excessive nesting (1001)"),
            ("local t = {} t.x = t return cjson.encode(t)", "excessive nesting (1001)"),
            (
                "cjson.encode_max_depth(2^31 - 1) local t = {} t[1] = t return cjson.encode(t)",
                "excessive nesting",
            ),
            (
                "cjson.encode_max_depth(2^31 - 1) local t = {} t.x = t return cjson.encode(t)",
                "excessive nesting",
            ),
            (
                "return cjson.decode(string.rep('[', 1000000))",
                "too many nested data structures (1001)",
            ),
            (
                "cjson.decode_max_depth(2^31 - 1) return cjson.decode(string.rep('[', 1000000))",
                "too many nested data structures",
            ),
            (
                "cjson.decode_max_depth(2^31 - 1) return cjson.decode(string.rep('{\"x\":', 1000000))",
                "too many nested data structures",
            ),
        ],
    );
    server.check_scripts(&[
        ("return #cjson.encode(string.rep('\\0', 1000000))", ":6000002"),
        ("return #cmsgpack.pack(string.rep('\\0', 1000000))", ":1000005"),
        ("return #cjson.encode({[string.rep('\\1', 100000)] = 1})", ":600006"),
    ]);
    for nested in ["{t}", "{map = {x = t}}", "{set = {[t] = true}}"] {
        let mut raw = server.raw();
        raw.command(&[
            "EVAL",
            &format!("local t = {{}} for i = 1, 20000 do t = {nested} end return t"),
            "0",
        ]);
        let error = (0..4000).map(|_| raw.line()).find(|line| line.starts_with('-'));
        assert_eq!(error.as_deref(), Some("-ERR reached lua stack limit"), "{nested}");
    }
    server.check(&[("PING", "PONG")]);
}

/// CVE-2024-31449: `bit.tohex` with the smallest number of digits there is.
#[test]
fn the_smallest_number_of_digits_is_one_too_many_to_negate() {
    let mut server = Server::start(&[]);
    server.check_scripts(&[
        ("return bit.tohex(65535, -2147483648)", "0000FFFF"),
        ("return bit.tohex(65535, -2147483647)", "0000FFFF"),
        ("return bit.tohex(65535, 2147483647)", "0000ffff"),
    ]);
}

/// CVE-2024-46981: the collector runs, or frees, while something of its own is still in use. Nothing that a script
/// makes has a finalizer, so the collector never runs a script's code.
#[test]
fn the_collector_runs_no_code() {
    let mut server = Server::start(&[]);
    check_errors(
        &mut server,
        &[
            ("newproxy(true)", "nonexistent global variable 'newproxy'"),
            ("return debug.setmetatable", "nonexistent global variable 'debug'"),
        ],
    );
    let finalizer = "setmetatable({}, {__gc = function() redis.call('SET', 'ran', '1') end}) collectgarbage() \
                     collectgarbage() return 'done'";
    server.cmd(&["EVAL", finalizer, "0"]);
    server.cmd(&[
        "EVAL",
        "local c = coroutine.wrap(function() coroutine.yield(1) end) c() c = nil collectgarbage()",
        "0",
    ]);
    server.check(&[
        ("SCRIPT FLUSH SYNC", "OK"),
        ("EVAL return(1) 0", ":1"),
        ("SCRIPT FLUSH ASYNC", "OK"),
        ("EVAL return(1) 0", ":1"),
        ("FUNCTION FLUSH ASYNC", "OK"),
        ("GET ran", "nil"),
    ]);
}

/// CVE-2025-46817: ranges whose length overflows.
#[test]
fn no_range_is_too_long_to_be_counted() {
    let mut server = Server::start(&[]);
    const LIMITS: [&str; 8] = ["-2147483648", "2147483647", "-1", "0", "1", "2^53", "-2^53", "1/0"];
    for from in LIMITS {
        for to in LIMITS {
            let script =
                format!("local n = select('#', unpack({{1}}, {from}, {to})) return n < 8000");
            let reply = server.text(&["EVAL", &script, "0"]);
            assert!(
                reply == ":1" || reply.contains("too many results to unpack"),
                "{script}: {reply}"
            );
        }
    }
    check_errors(
        &mut server,
        &[
            ("return {unpack({}, 0, 2147483647)}", "too many results to unpack"),
            ("return {unpack({}, -2147483648, 2147483647)}", "too many results to unpack"),
            (
                "return table.concat({}, '', 1, 2147483647)",
                "invalid value (nil) at index 1 in table for 'concat'",
            ),
        ],
    );
    server.check_scripts(&[
        ("return #{string.byte('abc', -2147483648, 2147483647)}", ":3"),
        ("return string.sub('abc', -2147483648, 2147483647)", "abc"),
        ("return string.sub('abc', -2^53, 2^53)", "abc"),
    ]);
}

/// CVE-2022-24735 and CVE-2025-46818: what one user's script leaves behind runs in another's.
#[test]
fn nothing_is_left_for_the_scripts_of_others() {
    let mut server = Server::start(&[]);
    for script in [
        "redis.call = function() return 'mine' end",
        "redis.pcall = nil",
        "rawset(redis, 'call', function() end)",
        "string.rep = nil",
        "rawset(string, 'rep', nil)",
        "table.insert(string, 1)",
        "table.insert(_G, 1)",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "x = 1",
        "setmetatable(_G, {})",
        "setmetatable(redis, {__index = {}})",
        "getmetatable(_G).__index = {}",
        "getmetatable(_G).__newindex = nil",
        "getmetatable('').__index = {}",
        "getmetatable('').__add = function() return 1 end",
        "rawset(getmetatable(''), '__index', {})",
        "setmetatable(getmetatable(''), nil)",
        "getmetatable(1).__index = {}",
        "getmetatable(nil).__index = {}",
        "getmetatable(true).__call = print",
        "getmetatable(function() end).__index = {}",
        "getmetatable(cjson.null).__index = {}",
        "cjson.null.x = 1",
        "KEYS.x.y = 1",
        "local t = setmetatable({}, {__index = _G}) t.redis.call = nil",
        "for name in pairs(_G) do _G[name] = nil end",
        "math.random = nil",
        "coroutine.wrap(function() redis.call = nil end)()",
    ] {
        let reply = server.text(&["EVAL", script, "0"]);
        assert!(reply.starts_with("ERR"), "{script}: {reply}");
    }
    server.check_scripts(&[
            ("return redis.call('ECHO', ('ab'):rep(2))", "abab"),
            ("return tostring(rawget(_G, 'x'))", "nil"),
            (
                "return {type(getmetatable(1)), type(getmetatable(nil)), type(getmetatable(cjson.null))}",
                "[nil nil nil]",
            ),
        ],
    );
}

/// CVE-2022-0543: what reaches beyond the sandbox is not there.
#[test]
fn nothing_leads_out_of_the_sandbox() {
    let mut server = Server::start(&[]);
    for name in [
        "package", "require", "module", "io", "debug", "dofile", "loadfile", "print", "newproxy",
        "getfenv", "setfenv", "jit", "ffi", "arg", "bit32", "utf8",
    ] {
        check_errors(&mut server, &[(&format!("return {name}"), "nonexistent global variable")]);
    }
    server.check_scripts(&[
        (
            "local n = 0 for name in pairs(os) do n = n + 1 end return {n, type(os.clock)}",
            "[:1 function]",
        ),
        ("return tostring(coroutine.running())", "nil"),
    ]);
}

/// CVE-2022-24736: errors of a shape that nobody expects, and scripts that do not even compile.
#[test]
fn errors_of_any_shape_are_answered() {
    let mut server = Server::start(&[]);
    for script in [
        "error()",
        "error(nil)",
        "error({})",
        "error({err = {}})",
        "error(function() end)",
        "error(setmetatable({}, {__index = function() error({}) end}))",
        "error(setmetatable({}, {__tostring = function() error('x') end}))",
        "error(coroutine.create(function() end))",
        "error(cjson.null)",
        "local function f() error(setmetatable({}, {__index = f})) end f()",
        "local t = setmetatable({}, {__index = function(t, k) return t[k] end}) return t.x",
        "return setmetatable({}, {__index = function() error('x') end}).x",
        "return a.b.c",
        "return (nil)()",
        "return #nil",
        "return {} .. {}",
        "return {} < {}",
        "return -{}",
        "xpcall(error, error)()",
        "return coroutine.yield(1)",
        "coroutine.wrap(coroutine.wrap)()",
        "(",
        "return [[",
        "return \"\\",
        "goto x",
        "#!lua",
        "\0",
        "return 1 \0 2",
    ] {
        let reply = server.text(&["EVAL", script, "0"]);
        assert!(reply.starts_with("ERR"), "{script:?}: {reply}");
        assert!(!reply.contains("traceback"), "{script:?}: {reply}");
    }
    server.check(&[("PING", "PONG")]);
}

/// CVE-2025-46819: long brackets without an end. CVE-2025-49844: the collector runs while a chunk is compiled, whose
/// name nothing holds but the compiler.
#[test]
fn the_compiler_holds_what_it_uses() {
    let mut server = Server::start(&[]);
    server.check_scripts(&[
        (
            "local e = ('='):rep(100000) return loadstring('return [' .. e .. '[x]' .. e .. ']')()",
            "x",
        ),
        (
            "local _, err = loadstring('return [' .. ('='):rep(100000)) \
             return err:find('invalid long string', 1, true) ~= nil",
            ":1",
        ),
        (
            "local _, err = loadstring('--[' .. ('='):rep(100000) .. '[') \
             return err:find('unfinished long comment', 1, true) ~= nil",
            ":1",
        ),
        (
            "collectgarbage('setpause', 0) collectgarbage('setstepmul', 1000000) \
             for i = 1, 200 do \
               local name = ('n'):rep(i) .. i \
               local f, err = loadstring(('local a%d = {\"%s\"} '):format(i, name):rep(50) .. 'x(', name) \
               assert(err:find(('n'):rep(math.min(i, 10)), 1, true), err) \
             end return 'held'",
            "held",
        ),
        (
            "local at = 0 local f = load(function() at = at + 1 collectgarbage() \
             return ({'return ', '1', '+', '2'})[at] end, ('name'):rep(100)) return f()",
            ":3",
        ),
    ]);
}
