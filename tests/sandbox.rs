//! What holds scripts: what they find, and that nothing they do stops the server or gets out of it.

pub mod common;

use common::Server;

/// Runs scripts one by one, without keys, and compares what they answer.
fn check_scripts(server: &mut Server, table: &[(&str, &str)]) {
    for (script, reply) in table {
        assert_eq!(server.text(&["EVAL", script, "0"]), *reply, "{script}");
    }
}

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
    check_scripts(&mut server, &[(names, GLOBALS)]);
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
        check_scripts(&mut server, &[(&everywhere, "none")]);
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
    check_scripts(
        &mut server,
        &[
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
        ],
    );
}

#[test]
fn no_finalizer_runs() {
    let mut server = Server::start(&[]);
    let script = "local meta = {__gc = function() redis.call('SET', 'secret', 'gone') end} \
                  for _ = 1, 100 do setmetatable({}, meta) end \
                  for _ = 1, 3 do collectgarbage() end return redis.call('EXISTS', 'secret')";
    check_scripts(
        &mut server,
        &[(script, ":0"), ("collectgarbage() return redis.call('EXISTS', 'secret')", ":0")],
    );
    for what in ["redis.call", "cjson.null", "coroutine.create(function() end)", "true", "1"] {
        let script =
            format!("return {{type(getmetatable({what})), pcall(setmetatable, {what}, {{}})}}");
        let reply = server.text(&["EVAL", &script, "0"]);
        assert!(reply.starts_with("[nil nil"), "{what}: {reply}");
    }
}
