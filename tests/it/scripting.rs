//! Scripts over the wire: what they return, what they may call, how they fail, and what is propagated of them.

use crate::harness::Server;

/// Runs scripts that fail; their errors must begin so.
fn check_errors(server: &mut Server, table: &[(&str, &str)]) {
    for (script, beginning) in table {
        let reply = server.text(&["EVAL", script, "0"]);
        assert!(reply.starts_with(beginning), "{script}\n{reply}\n{beginning}");
    }
}

#[test]
fn values_become_replies() {
    let mut server = Server::start(&[]);
    server.check_scripts(&[
        ("return 1", ":1"),
        ("return -3.99", ":-3"),
        ("return 'text'", "text"),
        ("return true", ":1"),
        ("return false", "nil"),
        ("return nil", "nil"),
        ("return {1, 'a', {2, {}}, nil, 3}", "[:1 a [:2 []]]"),
        ("return {ok = 'fine'}", "fine"),
        ("return {err = 'MY error'}", "MY error"),
        ("return redis.status_reply('fine')", "fine"),
        ("return redis.error_reply('error')", "ERR error"),
        ("return redis.error_reply('MY error')", "MY error"),
        ("return redis.error_reply('-MY error')", "MY error"),
        ("return {double = 1.5}", "1.5"),
        ("return {map = {a = 1}}", "[a :1]"),
        ("return redis.sha1hex('')", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("return redis.REDIS_VERSION_NUM", ":459268"),
        ("return server.call('PING')", "PONG"),
        ("return type(function() end)", "function"),
        ("return _G", "[]"),
    ]);
    // Deep tables are refused where they are too deep, and the reply stays well-formed.
    server.text(&["EVAL", "local t = {} for _ = 1, 100000 do t = {t} end return #t", "0"]);
    server.check(&[("PING", "PONG")]);
}

#[test]
fn replies_become_values() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("SET s text", "OK"),
        ("RPUSH l a b", ":2"),
        ("HSET h f v", ":1"),
        ("ZADD z 1.5 m", ":1"),
        ("SADD set e", ":1"),
    ]);
    server.check_scripts(&[
        ("return redis.call('get', 's')", "text"),
        ("return redis.call('GET', 'missing') == false and 1", ":1"),
        ("return #redis.call('lrange', 'l', 0, -1)", ":2"),
        ("return redis.call('set', 's', 'x').ok", "OK"),
        ("return type(redis.call('strlen', 's'))", "number"),
        ("return redis.pcall('incr', 's').err", "ERR value is not an integer or out of range"),
        ("return redis.call('hgetall', 'h')", "[f v]"),
        ("redis.setresp(3) return redis.call('hgetall', 'h').map.f", "v"),
        ("redis.setresp(3) return redis.call('zscore', 'z', 'm').double * 2", ":3"),
        ("redis.setresp(3) return redis.call('smembers', 'set').set.e and 1", ":1"),
        ("redis.setresp(3) return redis.call('get', 'missing') == nil and 1", ":1"),
        ("return redis.call('set', 'n', 3.5) and redis.call('get', 'n')", "3.5"),
        ("return redis.call('set', 'n', 1e15) and redis.call('get', 'n')", "1000000000000000"),
    ]);
    let mut wire = server.raw();
    wire.hello3();
    for (script, reply) in [
        ("return {map={a=1}}", "%1\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", "~1\r\n$1\r\na\r\n"),
        ("return {double=1.5}", ",1.5\r\n"),
        ("return true", ":1\r\n"),
        ("return false", "_\r\n"),
        ("redis.setresp(3);return true", "#t\r\n"),
        ("return {big_number='12'}", "(12\r\n"),
        ("return {verbatim_string={string='hi',format='txt'}}", "=6\r\ntxt:hi\r\n"),
    ] {
        wire.send(format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len()));
        wire.expect(reply);
    }
}

#[test]
fn errors_tell_where_they_were_raised() {
    let mut server = Server::start(&[]);
    server.line("SET k text");
    check_errors(
        &mut server,
        &[
            (
                "\nreturn redis.call('incr', 'k')",
                "ERR value is not an integer or out of range script: ",
            ),
            ("redis.call('nosuch')", "ERR Unknown Redis command called from script script: "),
            (
                "redis.call('get')",
                "ERR Wrong number of args calling Redis command from script script: ",
            ),
            ("redis.call('pexpire', 'k', 1, '')", "ERR Unsupported option  script: "),
            ("redis.call('multi')", "ERR This Redis command is not allowed from script script: "),
            ("redis.call()", "ERR Please specify at least one argument for this redis lib call"),
            ("redis.call({})", "ERR Lua redis lib command arguments must be strings or integers"),
            ("error('x')", "ERR user_script:1: x script: "),
            ("error({err = 'MY error'})", "MY error script: "),
            (
                "return a",
                "ERR user_script:1: Script attempted to access nonexistent global variable 'a' script: ",
            ),
            ("x (", "ERR Error compiling script (new function): user_script:1: "),
            ("local function f() return 1 + f() end f()", "ERR user_script:1: stack overflow"),
            ("redis.log(1)", "ERR redis.log() requires two arguments or more."),
            ("redis.setresp(4)", "ERR RESP version must be 2 or 3."),
            ("redis.set_repl(9)", "ERR Invalid replication flags."),
            (
                "cjson.decode('[1,')",
                "ERR user_script:1: Expected value but found T_END at character 4",
            ),
            (
                "cjson.encode()",
                "ERR user_script:1: bad argument #1 to 'encode' (expected 1 argument)",
            ),
            ("#!lua flags=no\nreturn 1", "ERR Unexpected flag in script shebang: no"),
            ("#!lua name=x\nreturn 1", "ERR Unknown lua shebang option: name=x"),
            ("#!python\nreturn 1", "ERR Unexpected engine in script shebang: #!python"),
            ("#!lua", "ERR Invalid script shebang"),
        ],
    );
    let reply = server.text(&["EVAL", "\n\nerror('x')", "0"]);
    assert!(reply.ends_with(", on @user_script:3."), "{reply}");
}

#[test]
fn what_is_caught_is_as_it_was_raised() {
    Server::start(&[]).check_scripts(&[
        (
            "return {pcall(redis.call, 'nosuch')}",
            "[nil ERR Unknown Redis command called from script]",
        ),
        ("return {pcall(error, {err = 'MY error'})}", "[nil MY error]"),
        ("return {pcall(error, {1})}", "[nil [:1]]"),
        (
            "return {xpcall(function() redis.call('x') end, function(e) return e.err end)}",
            "[nil ERR Unknown Redis command called from script]",
        ),
        (
            "return select(2, pcall(cjson.encode, function() end))",
            "Cannot serialise function: type not supported",
        ),
    ]);
}

#[test]
fn a_script_says_how_many_keys_it_has() {
    let mut server = Server::start(&[]);
    let numbers = [
        (&["EVAL", "return 1", "x"][..], "ERR value is not an integer or out of range"),
        (&["EVAL", "return 1", "1"], "ERR Number of keys can't be greater than number of args"),
        (&["EVAL", "return 1", "-1"], "ERR Number of keys can't be negative"),
        (&["EVALSHA", "x", "0"], "NOSCRIPT No matching script. Please use EVAL."),
    ];
    for (command, error) in numbers {
        assert_eq!(server.text(command), error);
    }
}

#[test]
fn a_script_can_not_touch_what_others_see() {
    let mut server = Server::start(&[]);
    for script in [
        "a = 1",
        "redis = 1",
        "redis.call = 1",
        "string.len = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "rawset(redis, 'x', 1)",
        "setmetatable(_G, {})",
        "setmetatable(redis, {})",
        "getmetatable(_G).__index = 1",
        "getmetatable(_G).__index.x = 1",
        "getmetatable('').__index = 1",
        "getmetatable('').__index.len = 1",
        "table.insert(redis, 1)",
        "KEYS = 1",
    ] {
        let reply = server.text(&["EVAL", script, "0"]);
        assert!(reply.contains("Attempt to modify a readonly table"), "{script}: {reply}");
    }
    server.check_scripts(&[
        ("local r = {} for k in pairs(os) do r[#r + 1] = k end return r", "[clock]"),
        ("return loadstring('return _G')() == _G", ":1"),
        ("return loadstring(string.dump(function() end)) == nil", ":1"),
        ("return load(function() return nil end) ~= nil", ":1"),
        ("return getmetatable(redis) == nil", ":1"),
        ("return rawget(_G, 'redis') == redis", ":1"),
        ("local _, t = pairs(redis) t.call = nil return redis.call('PING')", "PONG"),
        ("local t = {} table.insert(t, 1) table.insert(t, 1, 2) return t", "[:2 :1]"),
    ]);
}

#[test]
fn libraries() {
    let mut server = Server::start(&[]);
    server.check_scripts(&[
            (
                r#"return cjson.encode({1, 'a"\n/', {x = 1.5}, true, cjson.null})"#,
                r#"[1,"a\"\n\/",{"x":1.5},true,null]"#,
            ),
            ("return cjson.encode({})", "{}"),
            ("return cjson.encode({[1] = 1, [3] = 3})", "[1,null,3]"),
            ("return cjson.encode(1e14)", "1e+14"),
            (
                r#"return cjson.decode('[1, -2.5e1, "\\u00e9\\ud83d\\ude00", {"a": [true, null]}]')[3]"#,
                "é😀",
            ),
            (r#"return cjson.decode(' {"a" : {"b" : [ 7 ] } } ').a.b[1]"#, ":7"),
            ("return cjson.decode('null') == cjson.null and 1", ":1"),
            ("return pcall(cjson.decode, '[1,]')", "nil"),
            ("return pcall(cjson.decode, string.rep('[', 1001))", "nil"),
            ("return pcall(cjson.encode, {[100] = 1})", "nil"),
            (
                "return cmsgpack.unpack(cmsgpack.pack({1, -1, 300, 70000, 2 ^ 40, 'text', {}, true}))",
                "[:1 :-1 :300 :70000 :1099511627776 text [] :1]",
            ),
            ("return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 0)}", "[:2 :1 :2]"),
            ("return {cmsgpack.unpack_one(cmsgpack.pack(1, 2), 1)}", "[:-1 :2]"),
            ("return pcall(cmsgpack.unpack, '\\221\\255\\255\\255\\255')", "nil"),
            ("return pcall(cmsgpack.unpack, string.rep('\\145', 100000))", "nil"),
            (
                "return {struct.unpack('>I2hbs', struct.pack('>I2hbs', 65535, -2, -1, 'abc'))}",
                "[:65535 :-2 :-1 abc :10]",
            ),
            ("return {struct.unpack('<!4bi4', struct.pack('<!4bi4', 1, 2))}", "[:1 :2 :9]"),
            ("return struct.size('!8bd')", ":16"),
            ("return pcall(struct.unpack, 'c0', 'x')", "nil"),
            ("return pcall(struct.pack, 'i99', 1)", "nil"),
            (
                "return {bit.band(12, 10), bit.bor(12, 10), bit.bxor(12, 10), bit.bnot(0)}",
                "[:8 :14 :6 :-1]",
            ),
            (
                "return {bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-8, 1), bit.rol(-1, 4)}",
                "[:-2147483648 :15 :-4 :-1]",
            ),
            (
                "return {bit.tohex(255, 4), bit.tohex(255, -4), bit.bswap(1)}",
                "[00ff 00FF :16777216]",
            ),
            (
                "math.randomseed(7) local a = math.random() math.randomseed(7) return a == math.random()",
                ":1",
            ),
            ("local n = math.random(3) return n >= 1 and n <= 3", ":1"),
        ],
    );
}

#[test]
fn known_scripts() {
    let mut server = Server::start(&[]);
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert_eq!(server.text(&["SCRIPT", "LOAD", "return 1"]), sha);
    server.check(&[
        (&format!("EVALSHA {sha} 0"), ":1"),
        (&format!("EVALSHA_RO {} 0", sha.to_uppercase()), ":1"),
        (&format!("SCRIPT EXISTS {sha} {} x", sha.to_uppercase()), "[:1 :1 :0]"),
        ("SCRIPT FLUSH NOW", "ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
        ("SCRIPT FLUSH ASYNC", "OK"),
        (&format!("EVALSHA {sha} 0"), "NOSCRIPT No matching script. Please use EVAL."),
        ("SCRIPT KILL", "NOTBUSY No scripts in execution right now."),
    ]);
    server.text(&["SCRIPT", "LOAD", "return 1"]);
    for i in 0..510 {
        server.text(&["EVAL", &format!("return {}", i + 2), "0"]);
    }
    // Those of EVAL make room for each other, those of SCRIPT LOAD stay.
    assert_eq!(server.info("number_of_cached_scripts"), 501);
    server.check(&[(&format!("EVALSHA {sha} 0"), ":1")]);
}

/// Only a switch for tests lets scripts call `EVAL`. The outer script then goes on where it was.
#[test]
fn a_script_in_a_script() {
    let mut server = Server::start(&["--enable-debug-command", "yes"]);
    assert_eq!(server.text(&["DEBUG", "SET-DISABLE-DENY-SCRIPTS", "1"]), "OK");
    server.check_scripts(&[(
        "local inner = redis.call('eval', 'return redis.call(\\'incr\\', KEYS[1])', 1, 'k') \
         return {inner, redis.call('get', 'k')}",
        "[:1 1]",
    )]);
}

#[test]
fn what_a_script_may_do() {
    let mut server = Server::start(&[]);
    let refused = "ERR Write commands are not allowed from read-only scripts.";
    for command in [
        &["EVAL_RO", "return redis.call('set', 'k', 1)", "0"][..],
        &["EVAL", "#!lua flags=no-writes\nreturn redis.call('set', 'k', 1)", "0"],
        &["EVAL_RO", "return redis.call('publish', 'c', 1)", "0"],
    ] {
        assert!(server.text(command).starts_with(refused));
    }
    let script = "return redis.call('set', KEYS[1], ARGV[1])";
    assert_eq!(server.text(&["EVAL", script, "1", "k", "v"]), "OK");
    assert_eq!(
        server.text(&["EVAL_RO", "#!lua\nreturn 1", "0"]),
        "ERR Can not execute a script with write flag using *_ro command."
    );
    // Nothing blocks, and the database is the caller's again afterwards.
    server.check_scripts(&[
        ("return redis.call('blpop', 'nokey', 0)", "nil"),
        ("redis.call('select', 3) return redis.call('set', 'there', 1)", "OK"),
        ("return redis.call('exists', 'there')", ":0"),
    ]);
    server.check(&[("EXISTS there", ":0"), ("CONFIG SET maxmemory 1", "OK")]);
    check_errors(
        &mut server,
        &[
            (
                "return redis.call('set', 'k', 1)",
                "OOM command not allowed when used memory > 'maxmemory'. script: ",
            ),
            ("#!lua\nreturn 1", "OOM "),
        ],
    );
    server.check_scripts(&[
        ("return redis.call('get', 'k')", "v"),
        ("#!lua flags=no-writes\nreturn redis.call('get', 'k')", "v"),
        ("#!lua flags=allow-oom\nreturn redis.call('set', 'k', 'w')", "OK"),
    ]);
    server.check(&[
        ("CONFIG SET maxmemory 0", "OK"),
        ("ACL SETUSER u on nopass +eval +get ~k", "OK"),
        ("AUTH u x", "OK"),
    ]);
    check_errors(
        &mut server,
        &[
            (
                "return redis.call('set', 'k', 1)",
                "ERR ACL failure in script: User u has no permissions to run the 'set' command",
            ),
            (
                "return redis.call('get', 'j')",
                "ERR ACL failure in script: No permissions to access a key",
            ),
        ],
    );
    server.check_scripts(&[
        ("return redis.call('get', 'k')", "w"),
        (
            "return {redis.acl_check_cmd('get', 'k'), redis.acl_check_cmd('set', 'k', 1)}",
            "[:1 nil]",
        ),
    ]);
}

#[test]
fn effects_are_propagated_as_one_unit() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let mut stream = server.replication_stream();
    server.check_scripts(&[
            ("return redis.call('set', 'a', 1)", "OK"),
            (
                "redis.call('set', 'a', 2) redis.call('get', 'a') redis.call('incr', 'b') return 1",
                ":1",
            ),
            ("return redis.call('get', 'a')", "2"),
            (
                "redis.set_repl(redis.REPL_NONE) redis.call('set', 'c', 1) redis.set_repl(redis.REPL_AOF) \
              redis.call('set', 'd', 1) redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'e', 1)",
                "nil",
            ),
            ("redis.call('select', 2) redis.call('set', 'f', 1)", "nil"),
        ],
    );
    let mut wire = server.raw();
    wire.send(
        "MULTI\r\nSET g 1\r\nEVAL \"return redis.call('incr','g')\" 0\r\nEXEC\r\nSET end 1\r\n",
    );
    wire.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n+OK\r\n");
    stream.expect(&[
        "SELECT 0",
        "set a 1",
        "MULTI",
        "set a 2",
        "incr b",
        "EXEC",
        "set e 1",
        "SELECT 2",
        "set f 1",
        "MULTI",
        "SELECT 0",
        "SET g 1",
        "incr g",
        "EXEC",
        "SET end 1",
    ]);
    server.check(&[("DEBUG LOADAOF", "OK"), ("MGET a b c d e g", "[2 1 nil 1 nil 2]")]);
}

#[test]
fn those_who_wait_are_served_behind_the_script() {
    let mut server = Server::start(&[]);
    let mut waiting = server.blocked("BLPOP l 0");
    server.check_scripts(&[(
            "redis.call('rpush', 'l', 'a') redis.call('rpush', 'l', 'b') return redis.call('llen', 'l')",
            ":2",
        )],
    );
    waiting.expect("*2\r\n$1\r\nl\r\n$1\r\na\r\n");
    let mut watching = server.raw();
    watching.send("WATCH k\r\nMULTI\r\nPING\r\n");
    watching.expect("+OK\r\n+OK\r\n+QUEUED\r\n");
    server.check_scripts(&[("return redis.call('set', 'k', 1)", "OK")]);
    watching.send("EXEC\r\n");
    watching.expect("*-1\r\n");
}

#[test]
fn a_monitor_sees_what_scripts_call() {
    let mut server = Server::start(&[]);
    server.line("PING");
    let mut monitor = server.raw();
    monitor.send("MONITOR\r\n");
    monitor.expect("+OK\r\n");
    server.check_scripts(&[("return redis.call('set', 'k', 1)", "OK")]);
    assert!(monitor.line().contains("\"EVAL\""));
    assert!(monitor.line().contains("lua] \"set\" \"k\" \"1\""));
}

#[test]
fn a_script_or_transaction_is_one_moment() {
    let mut server = Server::start(&["--busy-reply-threshold", "20"]);
    // Rate limiters name what they count by the microsecond.
    let micros = "return redis.call('time')[2] % 1000";
    let all: Vec<String> = (0..100).map(|_| server.text(&["EVAL", micros, "0"])).collect();
    assert!(all.iter().any(|part| part != "0"), "{all:?}");
    let mut raw = server.raw();
    raw.send("MULTI\r\nTIME\r\nTIME\r\nEXEC\r\n");
    raw.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n");
    let mut time = || (0..5).map(|_| raw.line()).collect::<Vec<String>>();
    assert_eq!(time(), time());
    // When others have been served it is a later one, so that who waits for it is not there for ever.
    let wait = "local function now() local t = redis.call('time') return t[1] * 1000000 + t[2] end \
                local start = now() while now() < start + 1000 do end return 'later'";
    assert_eq!(server.text(&["EVAL", wait, "0"]), "later");
}

#[test]
fn others_are_answered_while_a_script_runs_and_may_end_it() {
    const BUSY: &str =
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    let mut server = Server::start(&["--busy-reply-threshold", "20", "--save", ""]);
    for script in [
        "while true do end",
        "local function f() while true do end end while true do pcall(f) end",
        "while true do pcall(error) end",
        "local function f() while true do end end coroutine.wrap(f)()",
        "redis.call('get', 'k') while true do redis.pcall('get', 'k') end",
    ] {
        let mut running = server.busy(script);
        let mut other = server.raw();
        other.send("GET k\r\nMULTI\r\nGET k\r\nEXEC\r\n");
        other.expect(format!(
            "-{BUSY}\r\n+OK\r\n-{BUSY}\r\n-EXECABORT Transaction discarded because of: {BUSY}\r\n"
        ));
        // What the client has sent behind the script waits for its end.
        running.send("ECHO behind\r\n");
        server.check(&[
            ("FUNCTION KILL", BUSY),
            ("FUNCTION STATS", BUSY),
            ("SHUTDOWN", BUSY),
            ("SCRIPT KILL", "OK"),
        ]);
        let line = running.line();
        assert!(line.starts_with("-ERR Script killed by user with SCRIPT KILL..."), "{line}");
        running.expect("$6\r\nbehind\r\n");
        server.check(&[
            ("PING", "PONG"),
            ("SCRIPT KILL", "NOTBUSY No scripts in execution right now."),
        ]);
    }
    let code = "#!lua name=l\nredis.register_function('f', function() while true do end end)";
    server.text(&["FUNCTION", "LOAD", code]);
    let mut running = server.raw();
    running.send("FCALL f 0\r\n");
    server.wait_for("PING", |reply| reply.starts_with("BUSY "));
    let stats = server.line("FUNCTION STATS");
    assert!(
        stats.starts_with("[running_script [name f command [FCALL f 0] duration_ms :"),
        "{stats}"
    );
    server.check(&[
        (
            "SCRIPT KILL",
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
        ),
        ("FUNCTION KILL", "OK"),
    ]);
    assert!(running.line().ends_with("script: f, on @user_function:2."));
}

#[test]
fn a_busy_script_that_has_written_is_not_ended() {
    let options =
        ["--busy-reply-threshold", "20", "--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(&options);
    let mut waiting = server.blocked("BLPOP l 0");
    let mut stream = server.replication_stream();
    server.check(&[("CONFIG RESETSTAT", "OK")]);
    let script = "redis.call('rpush', 'l', 1) local at = redis.call('get', 'end') \
                  for _ = 1, 5e7 do at = at or 1 end redis.call('rpush', 'l', 2) return redis.call('llen', 'l')";
    let mut running = server.busy(script);
    let reply = server.line("SCRIPT KILL");
    assert!(
        reply.starts_with("UNKILLABLE Sorry the script already executed write commands"),
        "{reply}"
    );
    running.expect(":2\r\n");
    waiting.expect("*2\r\n$1\r\nl\r\n$1\r\n1\r\n");
    stream.expect(&["MULTI", "SELECT 0", "rpush l 1", "rpush l 2", "EXEC", "LPOP l"]);
}

#[test]
fn the_server_may_be_ended_in_the_midst_of_a_script() {
    let options = ["--busy-reply-threshold", "20", "--appendonly", "yes"];
    let mut server = Server::start(&options);
    let dir = server.dir().to_path_buf();
    let mut running = server.busy("redis.call('set', 'k', 1) while true do end");
    let mut other = server.raw();
    other.send("SHUTDOWN NOSAVE\r\n");
    assert_eq!(other.read_to_end(), b"");
    running.read_to_end();
    let files = std::fs::read_dir(dir.join("appendonlydir")).expect("the directory");
    for file in files.flatten() {
        let bytes = std::fs::read(file.path()).expect("a file");
        assert!(!bytes.windows(5).any(|word| word == b"\nset\r"), "half of a script was kept");
    }
}

#[test]
fn what_scripts_call_is_in_the_slow_log() {
    let mut server = Server::start(&["--slowlog-log-slower-than", "0"]);
    server.check(&[("SLOWLOG RESET", "OK")]);
    server.check_scripts(&[("return redis.call('echo', 'x')", "x")]);
    let log = server.line("SLOWLOG GET 2");
    let (script, called) = (log.find("[EVAL "), log.find("[echo x]"));
    assert!(script.is_some() && script < called, "{log}");
}

#[test]
fn a_known_script_is_shown() {
    let mut server = Server::start(&[]);
    let sha = server.text(&["SCRIPT", "LOAD", "return 1"]);
    assert_eq!(server.text(&["SCRIPT", "SHOW", &sha.to_uppercase()]), "return 1");
    server.check(&[("SCRIPT SHOW x", "NOSCRIPT No matching script. Please use EVAL.")]);
}

#[test]
fn exec_heeds_what_queued_scripts_say_of_themselves() {
    let mut server = Server::start(&[]);
    let queue = |script: &str| {
        let mut raw = server.raw();
        raw.send("MULTI\r\n");
        raw.command(&["EVAL", script, "0"]);
        raw.expect("+OK\r\n+QUEUED\r\n");
        raw
    };
    let mut reading = queue("#!lua flags=no-writes\nreturn 1");
    let mut writing = queue("#!lua\nreturn 1");
    server.check(&[("CONFIG SET min-replicas-to-write 1", "OK")]);
    reading.send("EXEC\r\n");
    reading.expect("*1\r\n:1\r\n");
    writing.send("EXEC\r\n");
    writing.expect(
        "-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.\r\n",
    );
}

#[test]
fn scripts_that_answer_errors_count_as_failed() {
    let mut server = Server::start(&["--maxmemory", "1"]);
    let calls = |server: &mut Server, script: &str| {
        server.cmd(&["CONFIG", "RESETSTAT"]);
        server.text(&["EVAL", script, "1", "x"]);
        let of = |server: &mut Server, name: &str| {
            let text = server.info_text(&format!("cmdstat_{name}")).unwrap();
            text.split_once("rejected_calls=").unwrap().1.to_string()
        };
        (of(server, "eval"), of(server, "set"), server.info("total_error_replies"))
    };
    let (none, failed) = ("0,failed_calls=0".to_string(), "0,failed_calls=1".to_string());
    let rejected = "1,failed_calls=0".to_string();
    let set = |how: &str| format!("{how}('set', KEYS[1], 'v')");
    for (script, outcome) in [
        (format!("return {}", set("redis.call")), &failed),
        (format!("return {}", set("redis.pcall")), &failed),
        (format!("{} return 1", set("redis.pcall")), &none),
    ] {
        assert_eq!(calls(&mut server, &script), (outcome.clone(), rejected.clone(), 1), "{script}");
    }
}

#[test]
fn scripts_that_were_forgotten_are_counted() {
    let mut server = Server::start(&[]);
    for n in 0..510 {
        server.cmd(&["EVAL", &format!("return {n}"), "0"]);
    }
    assert_eq!(server.info("evicted_scripts"), 10);
}

#[test]
fn a_script_that_waits_for_a_time_to_come_ends() {
    let mut server = Server::start(&["--busy-reply-threshold", "20"]);
    let script = "local function now() local t = redis.call('TIME') return t[1] + t[2] / 1000000 end \
                  local start = now() if now() ~= start then return 'time runs' end \
                  while now() < start + 0.1 do end return 'done'";
    assert_eq!(server.text(&["EVAL", script, "0"]), "done");
}

/// The binding to Lua refers to values by a stack that has room for 8,000: scripts must not live there.
#[test]
fn there_may_be_any_number_of_scripts() {
    const SCRIPTS: usize = 8_600;
    let mut server = Server::start(&[]);
    let mut raw = server.raw();
    for n in 0..SCRIPTS {
        raw.command(&["SCRIPT", "LOAD", &format!("return {n}")]);
    }
    let shas: Vec<String> = (0..SCRIPTS)
        .map(|_| {
            raw.expect("$40\r\n");
            raw.line()
        })
        .collect();
    for n in [0, 8_599] {
        assert_eq!(server.text(&["EVALSHA", &shas[n], "0"]), format!(":{n}"));
    }
    server.check(&[("EVAL return(redis.call('PING')) 0", "PONG"), ("SCRIPT FLUSH ASYNC", "OK")]);
    assert_eq!(server.info("used_memory_vm_eval"), 0);
}
