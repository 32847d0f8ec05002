//! Function libraries over the wire: what loads, what is refused, what functions see, and where libraries go.

use crate::harness::Server;

/// The code of a library `lib`.
fn library(body: &str) -> String {
    format!("#!lua name=lib\n{body}")
}

/// What a command answers that dumps something.
fn payload(server: &mut Server, command: &[&str]) -> Vec<u8> {
    match server.cmd(command) {
        redis::Value::BulkString(payload) => payload,
        other => panic!("{command:?}: {other:?}"),
    }
}

/// Loads libraries one by one, each in place of the one before; compares the replies.
fn check_loads(server: &mut Server, table: &[(&str, &str)]) {
    for (body, reply) in table {
        let got = server.text(&["FUNCTION", "LOAD", "REPLACE", &library(body)]);
        assert_eq!(got, *reply, "{body}");
    }
}

fn registering(error: &str) -> String {
    format!("ERR Error registering functions: ERR {error}")
}

#[test]
fn what_a_library_may_register() {
    let mut server = Server::start(&[]);
    for (body, error) in [
        (
            "redis.register_function()",
            registering("wrong number of arguments to redis.register_function"),
        ),
        (
            "server.register_function()",
            registering("wrong number of arguments to server.register_function"),
        ),
        (
            "redis.register_function(1, 2, 3)",
            registering("wrong number of arguments to redis.register_function"),
        ),
        (
            "redis.register_function('f', 'g')",
            registering("second argument to redis.register_function must be a function"),
        ),
        (
            "redis.register_function({}, function() end)",
            registering("first argument to redis.register_function must be a string"),
        ),
        (
            "redis.register_function('f')",
            registering(
                "calling redis.register_function with a single argument is only applicable to Lua table (representing \
                 named arguments).",
            ),
        ),
        (
            "local f = function() end redis.register_function('f', f) redis.register_function('F', f)",
            registering("Function already exists in the library"),
        ),
        (
            "redis.register_function('a b', function() end)",
            registering(
                "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                 character long",
            ),
        ),
    ] {
        check_loads(&mut server, &[(body, error.as_str())]);
    }
}

#[test]
fn a_function_is_registered_by_named_arguments() {
    let mut server = Server::start(&[]);
    for (body, error) in [
        (
            "redis.register_function{}",
            registering("redis.register_function must get a function name argument"),
        ),
        (
            "redis.register_function{function_name = 'f'}",
            registering("redis.register_function must get a callback argument"),
        ),
        (
            "redis.register_function{callback = 1}",
            registering("callback argument given to redis.register_function must be a function"),
        ),
        (
            "redis.register_function{description = {}}",
            registering("description argument given to redis.register_function must be a string"),
        ),
        (
            "redis.register_function{flags = 'no-writes'}",
            registering(
                "flags argument to redis.register_function must be a table representing function flags",
            ),
        ),
        ("redis.register_function{flags = {'x'}}", registering("unknown flag given")),
        (
            "redis.register_function{x = 1}",
            registering("unknown argument given to redis.register_function"),
        ),
    ] {
        check_loads(&mut server, &[(body, error.as_str())]);
    }
}

#[test]
fn what_a_library_may_do_while_it_loads() {
    let mut server = Server::start(&[]);
    let unknown = |name: &str| {
        registering(&format!(
            "user_function:2: Script attempted to access nonexistent global variable '{name}'"
        ))
    };
    for (body, error) in [
        ("redis.call('ping')", unknown("call")),
        ("redis.setresp(3)", unknown("setresp")),
        ("math.random()", unknown("math")),
        ("return _G", unknown("_G")),
        ("pcall(error)", unknown("pcall")),
        ("x = 1", registering("user_function:2: Attempt to modify a readonly table")),
        ("redis.call = 1", registering("user_function:2: Attempt to modify a readonly table")),
        (
            "local a; a.b = 1",
            registering("user_function:2: attempt to index local 'a' (a nil value)"),
        ),
        ("redis.log(1)", registering("redis.log() requires two arguments or more.")),
        (
            "bad code",
            "ERR Error compiling function: user_function:2: '=' expected near 'code'".to_string(),
        ),
        ("return 1", "ERR No functions registered".to_string()),
        ("while true do end", registering("FUNCTION LOAD timeout")),
    ] {
        check_loads(&mut server, &[(body, error.as_str())]);
    }
    check_loads(
        &mut server,
        &[(
            "redis.log(redis.LOG_WARNING, 'it loads') redis.register_function('f', function() return 1 end)",
            "lib",
        )],
    );
    assert!(server.log().contains("it loads"));
    server.check(&[
        ("FCALL F 0", ":1"),
        ("FUNCTION LOAD x y", "ERR Unknown option given: x"),
        ("FUNCTION LOAD code", "ERR Missing library metadata"),
    ]);
}

#[test]
fn a_failure_to_load_leaves_what_was_there() {
    let mut server = Server::start(&[]);
    check_loads(
        &mut server,
        &[("redis.register_function('f', function() return math.floor(1.5) end)", "lib")],
    );
    let other = "#!lua name=other\nredis.register_function('g', function() return 2 end)";
    assert_eq!(server.text(&["FUNCTION", "LOAD", other]), "other");
    assert_eq!(server.text(&["FUNCTION", "LOAD", other]), "ERR Library 'other' already exists");
    check_loads(
        &mut server,
        &[
            ("redis.register_function('g', function() end)", "ERR Function g already exists"),
            ("while true do end", "ERR Error registering functions: ERR FUNCTION LOAD timeout"),
            (
                "redis.register_function('f', function() end) x = 1",
                "ERR Error registering functions: ERR user_function:2: Attempt to modify a readonly table",
            ),
        ],
    );
    server.check(&[
        ("FCALL f 0", ":1"),
        ("FCALL g 0", ":2"),
        (
            "FUNCTION STATS",
            "[running_script nil engines [LUA [libraries_count :2 functions_count :2]]]",
        ),
        ("FUNCTION DELETE other", "OK"),
        ("FUNCTION DELETE other", "ERR Library not found"),
        ("FCALL g 0", "ERR Function not found"),
        (
            "FUNCTION LIST",
            "[[library_name lib engine LUA functions [[name f description nil flags []]]]]",
        ),
        ("FUNCTION LIST LIBRARYNAME x*", "[]"),
        ("FUNCTION LIST LIBRARYNAME", "ERR library name argument was not given"),
        ("FUNCTION LIST x", "ERR Unknown argument x"),
        ("FLUSHALL", "OK"),
        ("FCALL f 0", ":1"),
        ("FUNCTION FLUSH x", "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
        ("FUNCTION FLUSH", "OK"),
        ("FCALL f 0", "ERR Function not found"),
        ("FUNCTION LIST", "[]"),
    ]);
}

#[test]
fn functions_run() {
    let mut server = Server::start(&[]);
    let body = "
        local function set(keys, args) return redis.call('set', keys[1], args[1]) end
        redis.register_function('set', set)
        redis.register_function('globals', function() return KEYS end)
        redis.register_function('index', function(keys) return keys[9].x end)
        redis.register_function('unknown', function() return redis.call('foo') end)
        redis.register_function('register', function() redis.register_function('f', set) end)
        redis.register_function('api', function()
          return {tostring(redis.breakpoint), redis.REPL_ALL, type(math.pi), redis.sha1hex('')}
        end)
        local lib = redis
        redis.register_function('late', function() lib.register_function('f', set) end)
        redis.register_function('spoil', function() lib.x = 1 end)
        redis.register_function{function_name='reads', callback=function(keys) return redis.call('get', keys[1]) end,
          flags={'no-writes'}, description='reads a key'}
        redis.register_function{function_name='writes', callback=set, flags={'no-writes'}}
        redis.register_function('tail', function() return redis.setresp(4) end)
    ";
    check_loads(&mut server, &[(body, "lib")]);
    server.check(&[
        ("FCALL set 1 k v", "OK"),
        ("FCALL_RO reads 1 k", "v"),
        ("FCALL reads 1 k", "v"),
        ("FCALL set 0", "ERR Lua redis lib command arguments must be strings or integers script: set, on @user_function:3."),
        ("FCALL set x", "ERR Bad number of keys provided"),
        ("FCALL set -1", "ERR Number of keys can't be negative"),
        ("FCALL set 2 k", "ERR Number of keys can't be greater than number of args"),
        ("FCALL nosuch 0", "ERR Function not found"),
        ("FCALL_RO set 1 k v", "ERR Can not execute a script with write flag using *_ro command."),
        (
            "FCALL writes 1 k v",
            "ERR Write commands are not allowed from read-only scripts. script: writes, on @user_function:3.",
        ),
        (
            "FCALL globals 0",
            "ERR user_function:5: Script attempted to access nonexistent global variable 'KEYS' script: globals, on \
             @user_function:5.",
        ),
        (
            "FCALL index 0",
            "ERR user_function:6: attempt to index field '?' (a nil value) script: index, on @user_function:6.",
        ),
        ("FCALL unknown 0", "ERR Unknown Redis command called from script script: unknown, on @user_function:7."),
        (
            "FCALL register 0",
            "ERR user_function:8: attempt to call field 'register_function' (a nil value) script: register, on \
             @user_function:8.",
        ),
        ("FCALL api 0", "[nil :3 number da39a3ee5e6b4b0d3255bfef95601890afd80709]"),
        (
            "FCALL late 0",
            "ERR redis.register_function can only be called on FUNCTION LOAD command script: late, on \
             @user_function:13.",
        ),
        (
            "FCALL spoil 0",
            "ERR user_function:14: Attempt to modify a readonly table script: spoil, on @user_function:14.",
        ),
        ("FCALL tail 0", "ERR RESP version must be 2 or 3. script: tail, on @user_function:18."),
        ("COMMAND GETKEYS FCALL set 1 k v", "[k]"),
        ("FUNCTION KILL", "NOTBUSY No scripts in execution right now."),
    ]);
}

#[test]
fn a_dump_restores_libraries() {
    let mut server = Server::start(&[]);
    check_loads(&mut server, &[("redis.register_function('f', function() return 1 end)", "lib")]);
    let dump = payload(&mut server, &["FUNCTION", "DUMP"]);
    let restore = |server: &mut Server, policy: &str| {
        server.text(&[&b"FUNCTION"[..], b"RESTORE", &dump[..], policy.as_bytes()])
    };
    assert_eq!(restore(&mut server, "APPEND"), "ERR Library lib already exists");
    check_loads(&mut server, &[("redis.register_function('f', function() return 2 end)", "lib")]);
    assert_eq!(restore(&mut server, "REPLACE"), "OK");
    server.check(&[("FCALL f 0", ":1"), ("FUNCTION DELETE lib", "OK")]);
    let other = "#!lua name=other\nredis.register_function('f', function() return 3 end)";
    server.text(&["FUNCTION", "LOAD", other]);
    for policy in ["APPEND", "REPLACE"] {
        assert_eq!(restore(&mut server, policy), "ERR Function f already exists");
        server.check(&[("FCALL f 0", ":3"), ("FUNCTION LIST LIBRARYNAME lib", "[]")]);
    }
    assert_eq!(restore(&mut server, "FLUSH"), "OK");
    server.check(&[
        ("FCALL f 0", ":1"),
        ("FUNCTION LIST LIBRARYNAME other", "[]"),
        ("FUNCTION RESTORE x", "ERR DUMP payload version or checksum are wrong"),
        (
            "FUNCTION RESTORE x y",
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ),
        ("SET k v", "OK"),
    ]);
    let value = payload(&mut server, &["DUMP", "k"]);
    let restored = server.text(&[&b"FUNCTION"[..], b"RESTORE", &value[..]]);
    assert_eq!(restored, "ERR given type is not a function");
}

#[test]
fn libraries_are_persisted_and_propagated() {
    for preamble in ["yes", "no"] {
        let options = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        let mut server = Server::start(&options);
        let mut stream = server.replication_stream();
        check_loads(
            &mut server,
            &[("redis.register_function('f', function() return 1 end)", "lib")],
        );
        server.check(&[
            ("DEBUG LOADAOF", "OK"),
            ("FCALL f 0", ":1"),
            ("BGREWRITEAOF", "Background append only file rewriting started"),
        ]);
        server.wait_info("aof_rewrite_in_progress", "0");
        server.check(&[
            ("DEBUG LOADAOF", "OK"),
            ("FCALL f 0", ":1"),
            ("DEBUG RELOAD", "OK"),
            ("FCALL f 0", ":1"),
            ("DEBUG RELOAD NOFLUSH MERGE", "OK"),
            ("FUNCTION FLUSH", "OK"),
        ]);
        assert_eq!(stream.next().join(" "), "SELECT 0");
        let line = stream.next().join(" ");
        assert!(line.starts_with("FUNCTION LOAD REPLACE #!lua name=lib"), "{line}");
        assert_eq!(stream.next().join(" "), "FUNCTION FLUSH");
    }
}

/// The binding to Lua refers to values by a stack that has room for 8,000: functions must not live there.
#[test]
fn there_may_be_any_number_of_functions() {
    const LIBRARIES: usize = 9_000;
    let mut server = Server::start(&["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]);
    let mut raw = server.raw();
    for n in 0..LIBRARIES {
        let code = format!(
            "#!lua name=lib{n}\nredis.register_function{{function_name = 'f{n}', flags = {{'no-writes'}}, \
             callback = function() return {n} end}}"
        );
        raw.command(&["FUNCTION", "LOAD", &code]);
    }
    for n in 0..LIBRARIES {
        let name = format!("lib{n}");
        raw.expect(format!("${}\r\n{name}\r\n", name.len()));
    }
    server.check(&[("FCALL f0 0", ":0"), ("FCALL f8999 0", ":8999"), ("DEBUG LOADAOF", "OK")]);
    let mut replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", server.port)]);
    replica.wait_info("master_link_status", "up");
    for server in [&mut server, &mut replica] {
        assert_eq!(server.info("number_of_functions"), LIBRARIES as i64);
        server.check(&[("FCALL_RO f8999 0", ":8999")]);
    }
    let dump = payload(&mut server, &["FUNCTION", "DUMP"]);
    assert_eq!(server.text(&[&b"FUNCTION"[..], b"RESTORE", &dump, b"REPLACE"]), "OK");
    server.check(&[("FCALL f8999 0", ":8999"), ("FUNCTION FLUSH ASYNC", "OK")]);
    assert_eq!(server.info("used_memory_vm_functions"), 0);
}

#[test]
fn what_is_deleted_is_not_kept() {
    let mut server = Server::start(&[]);
    let code = |name: &str| {
        let functions = (0..100)
            .map(|n| format!("redis.register_function('{name}{n}', function() return {n} end)\n"));
        format!("#!lua name={name}\n{}", functions.collect::<String>())
    };
    let load = |server: &mut Server, name: &str| {
        assert_eq!(server.text(&["FUNCTION", "LOAD", "REPLACE", &code(name)]), name);
    };
    load(&mut server, "a");
    let mut lua_memory = Vec::new();
    for _ in 0..20 {
        load(&mut server, "b");
        load(&mut server, "b");
        server.check(&[("FUNCTION DELETE b", "OK"), ("FCALL a99 0", ":99")]);
        lua_memory.push(server.info("used_memory_vm_functions"));
    }
    let most = |memory: &[i64]| memory.iter().copied().max().unwrap_or_default();
    assert!(most(&lua_memory[3..]) < 2 * most(&lua_memory[..3]), "{lua_memory:?}");
}
