//! The server as a whole: what it says of itself, saving, ending, slow commands, and the tools for developers.

use crate::harness::{PATIENCE, Raw, Server, program, wait_for};
use redis::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => panic!("no array: {other:?}"),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no string: {other:?}"),
    }
}

fn words(value: Value) -> Vec<String> {
    array(value).iter().map(word).collect()
}

#[test]
fn info_shows_the_sections_that_are_asked_for() {
    let mut server = Server::start(&[]);
    let titles = |text: String| -> Vec<String> {
        text.lines().filter_map(|l| l.strip_prefix("# ").map(str::to_string)).collect()
    };
    let default = titles(server.text(&["INFO"]));
    assert_eq!(default.first().map(String::as_str), Some("Server"));
    assert_eq!(default.last().map(String::as_str), Some("Keyspace"));
    assert!(!default.contains(&"Commandstats".to_string()));
    assert_eq!(titles(server.text(&["INFO", "all"])).len(), 13);
    assert_eq!(titles(server.text(&["INFO", "cpu", "MEMORY", "nosuch", "cpu"])), ["Memory", "CPU"]);
    assert_eq!(server.text(&["INFO", "nosuch"]), "");
}

#[test]
fn a_loop_that_waits_awake_serves_as_one_that_sleeps() {
    let mut server = Server::start(&["--busy-wait-us", "50"]);
    let mut clients = [server.raw(), server.raw()];
    for number in 1..=500 {
        for client in &mut clients {
            assert_eq!(client.ask("PING"), "+PONG");
        }
        // The limit can be changed while it is in force.
        if number % 100 == 0 {
            let limit = if number % 200 == 0 { "50" } else { "0" };
            server.cmd(&["CONFIG", "SET", "busy-wait-us", limit]);
        }
    }
    let refused = server.raw().ask("CONFIG SET busy-wait-us 51");
    assert!(refused.contains("between 0 and 50"), "{refused}");
}

#[test]
fn times_of_commands_are_kept_only_where_they_are_tracked() {
    let mut server = Server::start(&["--latency-tracking", "no"]);
    server.cmd(&["SET", "key", "value"]);
    assert_eq!(array(server.cmd(&["LATENCY", "HISTOGRAM", "set"])), []);
    server.cmd(&["CONFIG", "SET", "latency-tracking", "yes"]);
    server.cmd(&["SET", "key", "value"]);
    assert_eq!(array(server.cmd(&["LATENCY", "HISTOGRAM", "set"])).len(), 2);
}

#[test]
fn info_tells_the_truth() {
    let mut server = Server::start(&["--min-replicas-to-write", "1"]);
    let mut client = server.raw();
    client.ask("SELECT 1");
    server.text(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    server.text(&["SET", "a", "1"]);
    server.text(&["SET", "b", "1", "EX", "100"]);
    server.text(&["GET", "a"]);
    server.text(&["GET", "nosuch"]);
    server.text(&["SET", "a"]);
    server.text(&["INCR", "b", "c"]);
    let expect = |server: &mut Server, field: &str, value: &str| {
        assert_eq!(server.info_text(field).as_deref(), Some(value), "{field}");
    };
    for (field, value) in [
        ("redis_version", "7.2.4"),
        ("aeolis_version", env!("CARGO_PKG_VERSION")),
        ("redis_mode", "standalone"),
        ("connected_clients", "2"),
        ("maxmemory_policy", "noeviction"),
        ("loading", "0"),
        ("rdb_changes_since_last_save", "2"),
        ("keyspace_hits", "1"),
        ("keyspace_misses", "1"),
        ("total_error_replies", "2"),
        ("role", "master"),
        ("connected_slaves", "0"),
        ("master_replid2", "0000000000000000000000000000000000000000"),
        ("second_repl_offset", "-1"),
        ("errorstat_ERR", "count=2"),
        ("cluster_enabled", "0"),
    ] {
        expect(&mut server, field, value);
    }
    let (port, listener) = (server.port, server.info_text("listener0").unwrap());
    assert!(listener.starts_with("name=tcp,bind=") && listener.ends_with(&format!(",port={port}")));
    assert!(server.info_text("db0").unwrap().starts_with("keys=2,expires=1,avg_ttl="));
    server.wait_for("INFO keyspace", |text| !text.contains("avg_ttl=0"));
    // Nothing is left of it when no key expires any more.
    server.text(&["PERSIST", "b"]);
    server.wait_for("INFO keyspace", |text| text.contains("expires=0,avg_ttl=0"));
    let set = server.info_text("cmdstat_set").unwrap();
    assert!(
        set.starts_with("calls=2,usec=") && set.ends_with(",rejected_calls=1,failed_calls=0"),
        "{set}"
    );
    assert!(server.info_text("latency_percentiles_usec_set").unwrap().starts_with("p50="));
    let used: u64 = server.info_text("used_memory").unwrap().parse().unwrap();
    assert!((100_000..100_000_000).contains(&used));
}

#[test]
fn commands_are_described() {
    let mut server = Server::start(&[]);
    let all = array(server.cmd(&["COMMAND"]));
    assert_eq!(server.cmd(&["COMMAND", "COUNT"]), Value::Int(all.len() as i64));
    let info = array(server.cmd(&["COMMAND", "INFO", "get", "nosuch", "config|get"]));
    assert_eq!(info[1], Value::Nil);
    assert!(
        server.text(&["COMMAND", "INFO", "get"]).starts_with("[[get :2 [readonly fast] :1 :1 :1 [")
    );
    assert!(server.text(&["COMMAND", "INFO", "config|get"]).starts_with("[[config|get :-3 ["));
    assert_eq!(server.text(&["COMMAND", "GETKEYS", "SET", "a", "b"]), "[a]");
    assert_eq!(server.text(&["COMMAND", "GETKEYSANDFLAGS", "GET", "a"]), "[[a [RO access]]]");
    assert_eq!(server.text(&["COMMAND", "GETKEYS", "nosuch"]), "ERR Invalid command specified");
    assert_eq!(
        server.text(&["COMMAND", "LIST", "FILTERBY", "PATTERN", "client|k*"]),
        "[client|kill]"
    );
    assert!(server.text(&["COMMAND", "DOCS", "ping"]).starts_with("[ping [summary "));
    for container in ["CLIENT", "CONFIG", "COMMAND", "SLOWLOG", "COMMANDLOG", "LATENCY", "DEBUG"] {
        let start =
            format!("[{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        let help = server.text(&[container, "HELP"]);
        assert!(help.starts_with(&start) && help.ends_with("HELP     Print this help.]"), "{help}");
    }
}

/// The sizes are those of the requests and replies as they are sent.
#[test]
fn large_requests_and_replies_are_remembered() {
    let mut server = Server::start(&[
        "--commandlog-request-larger-than",
        "2000",
        "--commandlog-reply-larger-than",
        "2000",
    ]);
    let entry = |server: &mut Server, kind: &str| {
        let entries = array(server.cmd(&["COMMANDLOG", "GET", "-1", kind]));
        entries
            .into_iter()
            .map(array)
            .map(|entry| (entry[2].clone(), words(entry[3].clone())))
            .collect::<Vec<_>>()
    };
    let sized = |bytes: i64, command: &[&str]| {
        (Value::Int(bytes), command.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (small, large) = ("x".repeat(1970), "x".repeat(1971));
    let shown = format!("{}... (1843 more bytes)", "x".repeat(128));
    server.text(&["SET", "k", &small]);
    server.text(&["SET", "k", &large]);
    server.text(&["GET", "k"]);
    assert_eq!(entry(&mut server, "large-request"), [sized(2000, &["SET", "k", &shown])]);
    assert_eq!(entry(&mut server, "LARGE-REPLY"), []);
    // Whether it is copied, or goes out as it lies, or is a transaction's.
    for size in [3_000, 300_000] {
        let value = "x".repeat(size);
        server.check(&[("COMMANDLOG RESET large-reply", "OK")]);
        server.text(&["SET", "k", &value]);
        assert!(server.text(&["GET", "k"]) == value);
        let bytes = (size + 5 + size.to_string().len()) as i64;
        assert_eq!(entry(&mut server, "large-reply"), [sized(bytes, &["GET", "k"])]);
        server.check(&[("MULTI", "OK"), ("PING", "QUEUED"), ("GET k", "QUEUED")]);
        server.text(&["EXEC"]);
        let logged = entry(&mut server, "large-reply");
        // EXEC itself is kept in no log.
        assert_eq!(logged, [sized(bytes, &["GET", "k"]), sized(bytes, &["GET", "k"])]);
    }
    server.check(&[
        ("COMMANDLOG LEN large-reply", ":2"),
        ("COMMANDLOG LEN slow", ":0"),
        ("CONFIG SET commandlog-reply-larger-than -1 commandlog-large-request-max-len 0", "OK"),
        ("COMMANDLOG RESET large-reply", "OK"),
        ("STRLEN k", ":300000"),
        ("COMMANDLOG LEN large-reply", ":0"),
        ("COMMANDLOG GET -2 foo", "ERR count should be greater than or equal to -1"),
        (
            "COMMANDLOG GET 1 foo",
            "ERR type should be one of the following: slow, large-request, large-reply",
        ),
        ("COMMANDLOG LEN", "ERR wrong number of arguments for 'commandlog|len' command"),
        ("CONFIG SET commandlog-execution-slower-than 0", "OK"),
        ("CONFIG GET slowlog-log-slower-than", "[slowlog-log-slower-than 0]"),
        ("COMMANDLOG LEN slow", ":2"),
        ("SLOWLOG LEN", ":3"),
    ]);
}

#[test]
fn slow_commands_are_remembered() {
    let mut server = Server::start(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "3"]);
    server.text(&["CLIENT", "SETNAME", "me"]);
    server.text(&["SLOWLOG", "RESET"]);
    server.text(&["SET", "key", &"x".repeat(200)]);
    let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let mut del = vec!["DEL"];
    del.extend(many.iter().map(String::as_str));
    server.text(&del);
    server.text(&["AUTH", "secret"]);
    let entries = array(server.cmd(&["SLOWLOG", "GET"]));
    let part = |entry: usize, part: usize| match &entries[entry] {
        Value::Array(parts) => parts[part].clone(),
        other => panic!("no array: {other:?}"),
    };
    let request = |entry: usize| words(part(entry, 3)).join(" ");
    assert_eq!(entries.len(), 3);
    assert_eq!(request(0), "AUTH (redacted)");
    assert!(request(1).ends_with("29 ... (10 more arguments)"), "{}", request(1));
    assert!(request(2).ends_with(&format!("{}... (72 more bytes)", "x".repeat(128))));
    assert!(word(&part(0, 4)).starts_with("127.0.0.1:"));
    assert_eq!(word(&part(0, 5)), "me");
    let id = |n: usize| match part(n, 0) {
        Value::Int(id) => id,
        other => panic!("no id: {other:?}"),
    };
    assert!(id(0) == id(1) + 1 && id(1) == id(2) + 1);
    assert_eq!(
        server.text(&["SLOWLOG", "GET", "-2"]),
        "ERR count should be greater than or equal to -1"
    );
    let entries = array(server.cmd(&["SLOWLOG", "GET", "1"]));
    assert_eq!(entries.len(), 1);
}

#[test]
fn slow_events_are_monitored() {
    let mut server = Server::start(&["--latency-monitor-threshold", "200"]);
    assert_eq!(server.text(&["LATENCY", "LATEST"]), "[]");
    server.text(&["DEBUG", "SLEEP", "0.25"]);
    let latest = server.text(&["LATENCY", "LATEST"]);
    let parts: Vec<&str> =
        latest.trim_matches(['[', ']']).split([' ', ':']).filter(|part| !part.is_empty()).collect();
    assert_eq!((parts.len(), parts[0]), (4, "command"), "{latest}");
    assert!(parts[2].parse::<u64>().unwrap() >= 250 && parts[2] == parts[3], "{latest}");
    let history = array(server.cmd(&["LATENCY", "HISTORY", "command"]));
    assert_eq!(history.len(), 1);
    assert!(server.text(&["LATENCY", "GRAPH", "command"]).starts_with("command - high "));
    assert_eq!(server.text(&["LATENCY", "GRAPH", "x"]), "ERR No samples available for event 'x'");
    assert!(server.text(&["LATENCY", "DOCTOR"]).contains("command: 1 latency spikes"));
    assert_eq!(server.text(&["LATENCY", "RESET", "x"]), ":0");
    assert_eq!(server.text(&["LATENCY", "RESET"]), ":1");

    // Freeing so much takes a while.
    server.text(&["CONFIG", "SET", "latency-monitor-threshold", "1"]);
    let fill = "for i = 1, 200000 do redis.call('sadd', KEYS[1], 'member:' .. i) end";
    server.text(&["EVAL", fill, "1", "large"]);
    server.text(&["PEXPIRE", "large", "1"]);
    server.wait_for("LATENCY LATEST", |latest| {
        latest.contains("expire-cycle") && latest.contains("expire-del")
    });
    assert!(server.text(&["LATENCY", "GRAPH", "expire-del"]).starts_with("expire-del - high "));
    assert!(server.text(&["LATENCY", "DOCTOR"]).contains("expire-cycle: 1 latency spikes"));

    server.text(&["CONFIG", "RESETSTAT"]);
    server.text(&["DEBUG", "SLEEP", "0.01"]);
    let histogram = server.text(&["LATENCY", "HISTOGRAM", "debug", "nosuch"]);
    assert!(histogram.starts_with("[debug [calls :1 histogram_usec ["), "{histogram}");
}

#[test]
fn a_snapshot_is_saved_and_loaded() {
    let mut server = Server::start(&[]);
    assert_eq!(server.text(&["DEBUG", "POPULATE", "1000", "k", "20"]), "OK");
    server.text(&["SET", "volatile", "v", "PX", "1000000"]);
    server.text(&["SET", "number", "12345"]);
    let digest = server.text(&["DEBUG", "DIGEST"]);
    assert_eq!(digest.len(), 40);
    assert_eq!(server.text(&["SAVE"]), "OK");
    assert_eq!(server.info("rdb_changes_since_last_save"), 0);
    assert_eq!(server.text(&["BGSAVE"]), "Background saving started");
    server.wait_info("rdb_bgsave_in_progress", "0");
    assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
    assert_eq!(server.text(&["BGSAVE", "x"]), "ERR syntax error");
    assert!(matches!(server.cmd(&["LASTSAVE"]), Value::Int(1_700_000_000..)));

    assert_eq!(server.text(&["DEBUG", "RELOAD"]), "OK");
    assert_eq!(server.text(&["DEBUG", "DIGEST"]), digest);
    server.text(&["SET", "new", "v"]);
    server.text(&["DEL", "number"]);
    assert_eq!(server.text(&["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE"]), "OK");
    assert_eq!(server.text(&["DBSIZE"]), ":1003");
    assert_eq!(server.text(&["DEBUG", "RELOAD", "NOSAVE"]), "OK");
    assert_eq!(server.text(&["DEBUG", "DIGEST"]), digest);

    assert_eq!(server.text(&["SHUTDOWN", "SAVE", "NOSAVE"]), "ERR syntax error");
    assert_eq!(server.text(&["SHUTDOWN", "ABORT"]), "ERR No shutdown in progress.");
    server.raw().send("SHUTDOWN SAVE\r\n");
    wait_for("the end", || Raw::to_port(server.port).err());
    let dir = server.dir().to_str().expect("a path in UTF-8").to_string();
    let mut server = Server::start(&["--dir", &dir]);
    assert_eq!(server.text(&["DEBUG", "DIGEST"]), digest);
}

#[test]
fn digests_are_those_of_redis() {
    let mut server = Server::start(&[]);
    server.text(&["SET", "foo", "bar"]);
    server.text(&["SET", "n", "123"]);
    server.text(&["SELECT", "2"]);
    server.text(&["SET", "x", "y", "EX", "1000"]);
    // As Redis 7.0.15 answers to the same commands, and below Valkey 9.1.2.
    assert_eq!(server.text(&["DEBUG", "DIGEST"]), "20bb8a866b43b636d1f7fda38288166678537bff");
    assert_eq!(
        server.text(&["DEBUG", "DIGEST-VALUE", "x", "nosuch"]),
        "[bb67146283c35b8da65d36f614b8206b0909634f 0000000000000000000000000000000000000000]"
    );
}

#[test]
fn digests_of_collections_are_those_of_valkey() {
    let mut server = Server::start(&[]);
    for request in [
        "RPUSH l a 2 c",
        "SADD s x y 3",
        "SADD i 1 2 3",
        "HSET h f v g 2",
        "ZADD z 1 a 0.1 b 1e300 c -inf d",
    ] {
        server.text(&request.split(' ').collect::<Vec<_>>());
    }
    assert_eq!(server.text(&["DEBUG", "DIGEST"]), "cd3d60fb3f53a0208c310e0b50074b32e85df2a0");
}

#[test]
fn every_type_of_reply_can_be_asked_for() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    for (kind, resp2) in [
        ("string", "$11\r\nHello World\r\n"),
        ("integer", ":12345\r\n"),
        ("double", "$5\r\n3.141\r\n"),
        ("null", "$-1\r\n"),
        ("map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n"),
        ("true", ":1\r\n"),
        ("verbatim", "$25\r\nThis is a verbatim\nstring\r\n"),
        ("attrib", "$39\r\nSome real reply following the attribute\r\n"),
        ("push", "-ERR RESP2 is not supported by this command\r\n"),
    ] {
        raw.send(format!("DEBUG PROTOCOL {kind}\r\n"));
        raw.expect(resp2);
    }
    raw.hello3();
    for (kind, resp3) in [
        ("double", ",3.141\r\n"),
        ("bignum", "(1234567999999999999999999999999999999\r\n"),
        ("null", "_\r\n"),
        ("set", "~3\r\n:0\r\n:1\r\n:2\r\n"),
        ("map", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"),
        ("false", "#f\r\n"),
        ("verbatim", "=29\r\ntxt:This is a verbatim\nstring\r\n"),
        (
            "push",
            "$40\r\nSome real reply following the push reply\r\n>2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n",
        ),
    ] {
        raw.send(format!("DEBUG PROTOCOL {kind}\r\n"));
        raw.expect(resp3);
    }
}

#[test]
fn debug_does_what_tests_need() {
    let mut server = Server::start(&["--hz", "500"]);
    for (args, reply) in [
        (&["DEBUG", "SET-ACTIVE-EXPIRE", "0"][..], "OK"),
        (&["DEBUG", "STRINGMATCH-LEN", "a*c", "abc"], ":1"),
        (&["DEBUG", "ERROR", "MYERR text"], "MYERR text"),
        (&["DEBUG", "LOG", "hello there"], "OK"),
        (&["DEBUG", "OBJECT", "nosuch"], "ERR no such key"),
        (&["DEBUG", "HTSTATS", "99"], "ERR Out of range database"),
        (&["DEBUG", "POPULATE", "-1"], "ERR value is out of range, must be positive"),
        (
            &["DEBUG", "RELOAD", "x"],
            "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
        ),
        (&["SET", "key", "v", "PX", "1"], "OK"),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
    assert!(server.log().contains("DEBUG LOG: hello there"));
    // Nobody asks for the key, and nobody looks for it.
    server.pass(100);
    assert_eq!(server.text(&["DBSIZE"]), ":1");
    assert_eq!(server.text(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]), "OK");
    wait_for("the key to expire", || (server.text(&["DBSIZE"]) == ":0").then_some(()));
    let id = server.info_text("master_replid");
    assert_eq!(server.text(&["DEBUG", "CHANGE-REPL-ID"]), "OK");
    assert_ne!(server.info_text("master_replid"), id);

    let mut guarded = Server::start(&["--enable-debug-command", "no"]);
    assert!(guarded.text(&["DEBUG", "HELP"]).starts_with("ERR DEBUG command not allowed."));
}

#[test]
fn time_and_art() {
    let mut server = Server::start(&[]);
    let time = array(server.cmd(&["TIME"]));
    let number = |i: usize| word(&time[i]).parse::<u64>().expect("a number");
    assert!(number(0) > 1_700_000_000 && number(1) < 1_000_000);
    assert!(server.text(&["LOLWUT"]).contains("Redis ver. 7.2.4"));
}

#[test]
fn there_are_no_modules_and_none_can_be_loaded() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = server.raw();
    assert_eq!(client.ask("MODULE LIST"), "*0");
    for line in ["MODULE LOAD /x.so", "MODULE LOADEX /x.so CONFIG a b", "MODULE UNLOAD x"] {
        let answer = client.ask(line);
        let refusal = "-ERR MODULE command not allowed. If the enable-module-command option is set";
        assert!(answer.starts_with(refusal), "{line}: {answer}");
    }
    let server = Server::start(&["--enable-module-command", "local"]);
    let mut client = server.raw();
    assert_eq!(client.ask("MODULE LIST"), "*0");
    let refusal = "-ERR Error loading the extension. Please check the server logs.";
    assert_eq!(client.ask("MODULE LOAD /x.so"), refusal);
    assert_eq!(client.ask("MODULE LOADEX /x.so ARGS a"), refusal);
    let refusal = "-ERR Error unloading module: no such module with that name";
    assert_eq!(client.ask("MODULE UNLOAD x"), refusal);
}

#[test]
fn the_version_that_is_announced_is_the_users() {
    let mut server = Server::start(&["--redis-version-announced", "8.2.1"]);
    let check = |server: &mut Server, version: &str| {
        assert_eq!(server.info_text("redis_version").as_deref(), Some(version));
        assert!(server.line("HELLO").contains(&format!("version {version} ")));
        assert!(server.line("LOLWUT").contains(&format!("Redis ver. {version}\n")));
        let number = version.split('.').fold(0, |n, part| n << 8 | part.parse::<u32>().unwrap());
        let seen = format!("[{version} :{number}]");
        for table in ["redis", "server"] {
            let both = format!("{{{table}.REDIS_VERSION, {table}.REDIS_VERSION_NUM}}");
            assert_eq!(server.text(&["EVAL", &format!("return {both}"), "0"]), seen);
            let library = format!(
                "#!lua name=lib\nlocal at_load = {both}\n\
                 redis.register_function{{function_name='at_load', callback=function() return at_load end, \
                 flags={{'no-writes'}}}}\n\
                 redis.register_function('now', function() return {both} end)"
            );
            assert_eq!(server.text(&["FUNCTION", "LOAD", "REPLACE", &library]), "lib");
            assert_eq!(server.line("FCALL at_load 0"), seen);
            assert_eq!(server.line("FCALL now 0"), seen);
        }
    };
    check(&mut server, "8.2.1");
    for bad in ["8", "8.2", "8.2.x", "8.2.1.0", "08.2.1", "8.2.256", "", "latest"] {
        let refusal = server.text(&["CONFIG", "SET", "redis-version-announced", bad]);
        assert!(refusal.contains("argument must be a version like 8.2.0"), "{refusal}");
    }
    check(&mut server, "8.2.1");
    server.text(&["CONFIG", "SET", "redis-version-announced", "7.4.0"]);
    assert_eq!(server.line("FCALL now 0"), "[7.4.0 :459776]");
    check(&mut server, "7.4.0");
}

#[test]
fn sentinel_is_another_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = dir.path().join("redis-sentinel");
    let aeolis = env!("CARGO_BIN_EXE_aeolis");
    std::os::unix::fs::symlink(aeolis, &name).expect("a link");
    for (program, args) in
        [(name.as_os_str(), &["sentinel.conf"][..]), (aeolis.as_ref(), &["x.conf", "--sentinel"])]
    {
        let output = std::process::Command::new(program).args(args).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("Sentinel is a program of its own"), "{text}");
    }
}

/// Clients can make scripts invent any number of codes.
#[test]
fn codes_that_scripts_invent_are_counted_together_when_there_are_many() {
    let mut server = Server::start(&[]);
    for n in 0..200 {
        let script = format!("return redis.error_reply('E{n} why')");
        assert_eq!(server.text(&["EVAL", &script, "0"]), format!("E{n} why"));
    }
    assert_eq!(server.text(&["EVAL", "return redis.error_reply('E0 why')", "0"]), "E0 why");
    server.line("GET");
    for (field, value) in [
        ("errorstat_E0", "count=2"),
        ("errorstat_ERRORSTATS_OVERFLOW", "count=72"),
        ("errorstat_ERR", "count=1"),
        ("total_error_replies", "202"),
    ] {
        assert_eq!(server.info_text(field).as_deref(), Some(value), "{field}");
    }
}

#[test]
fn systemd_is_told_what_becomes_of_the_server() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let told = || {
        let mut state = [0; 256];
        let n = socket.recv(&mut state).expect("a message");
        String::from_utf8_lossy(&state[..n]).into_owned()
    };
    let dir = tempfile::tempdir().expect("a directory");
    let start = |dir| {
        Server::launch(dir, |port| {
            let mut command = Command::new(program());
            command.env("NOTIFY_SOCKET", &path).args(["--supervised", "systemd", "--port"]);
            command.arg(port.to_string());
            command
        })
    };
    let mut server = start(dir);
    assert_eq!(told(), "STATUS=Ready to accept connections\nREADY=1");
    server.cmd(&["SET", "key", "value"]);
    assert_eq!(server.shut_down(&["SAVE"]), Some(0));
    assert_eq!(told(), "STOPPING=1");
    let server = start(server.into_dir());
    assert_eq!(told(), "STATUS=Loading what is on disk");
    assert_eq!(told(), "STATUS=Ready to accept connections\nREADY=1");
    drop(server);
}

/// The processors that a thread or process may use, by its folder in `/proc`.
fn processors(of: &Path) -> Option<String> {
    let status = fs::read_to_string(of.join("status")).ok()?;
    status
        .lines()
        .find_map(|line| Some(line.strip_prefix("Cpus_allowed_list:")?.trim().to_string()))
}

/// Those of a server's thread of that name, once it is there.
fn processors_of_thread(server: &Server, name: &str) -> String {
    let tasks = format!("/proc/{}/task", server.pid());
    wait_for(name, || {
        let is_named = |task: &Path| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let mut found = fs::read_dir(&tasks).ok()?.filter_map(|task| Some(task.ok()?.path()));
        processors(&found.find(|task| is_named(task))?)
    })
}

#[test]
fn threads_and_children_run_on_the_processors_of_their_lists() {
    let all = processors(Path::new("/proc/self")).expect("a list");
    let numbers = |c: char| !c.is_ascii_digit();
    let first = all.split(numbers).next().expect("a processor");
    let last = all.split(numbers).next_back().expect("a processor");
    let lists =
        ["--server_cpulist", first, "--bgsave_cpulist", last, "--aof-rewrite-cpulist", "0-x"];
    let options =
        ["--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--rdb-key-save-delay", "10000000"];
    let mut server = Server::start(&[&lists[..], &options[..]].concat());
    let main = format!("/proc/{}/task/{}", server.pid(), server.pid());
    assert_eq!(processors(Path::new(&main)).as_deref(), Some(first));
    // No list of its own: wherever the process might run at first.
    server.check(&[("SET key value", "OK"), ("FLUSHALL ASYNC", "OK"), ("SET key value", "OK")]);
    server.wait_info("aof_pending_bio_fsync", "0");
    assert_eq!(processors_of_thread(&server, "bio_aof"), all);
    server.text(&["BGSAVE", "FORKLESS"]);
    assert_eq!(processors_of_thread(&server, "snapshot"), last);
    server.check(&[("BGSAVE CANCEL", "Background saving cancelled")]);
    for (begin, expected) in [("BGSAVE FORK", last), ("BGREWRITEAOF", first)] {
        server.line(begin);
        let child = server.child().to_string();
        let child = Path::new("/proc").join(child);
        wait_for(begin, || (processors(&child)? == expected).then_some(()));
        server.line("BGSAVE CANCEL");
    }
    let log = server.log();
    assert!(
        log.contains("aof_rewrite_cpulist is ignored: '0-x' is not a list of processors"),
        "{log}"
    );
}

#[test]
fn a_snapshot_can_be_cancelled() {
    const NONE: &str = "ERR Background saving is currently not in progress or scheduled";
    let mut server = Server::start(&["--rdb-key-save-delay", "10000000"]);
    server.check(&[
        ("SET key value", "OK"),
        ("BGSAVE CANCEL", NONE),
        ("BGSAVE SCHEDULE CANCEL", "ERR syntax error"),
        ("BGSAVE CANCEL FORK", "ERR syntax error"),
    ]);
    for method in ["FORK", "FORKLESS"] {
        server.text(&["BGSAVE", method]);
        server.check(&[("BGSAVE CANCEL", "Background saving cancelled"), ("BGSAVE CANCEL", NONE)]);
        server.wait_info("rdb_bgsave_in_progress", "0");
        assert!(server.children().is_empty());
        assert_eq!(server.info_text("rdb_last_bgsave_status").as_deref(), Some("ok"));
        wait_for("no file", || server.temporary_files().is_empty().then_some(()));
    }
    server.check(&[("CONFIG SET appendonly yes", "OK")]);
    server.child();
    server.check(&[
        ("BGSAVE CANCEL", NONE),
        ("BGSAVE SCHEDULE", "Background saving scheduled"),
        ("BGSAVE CANCEL", "Scheduled background saving cancelled"),
        ("BGSAVE CANCEL", NONE),
    ]);
}

#[test]
fn lines_of_the_log_have_the_form_that_is_asked_for() {
    let mut server = Server::start(&["--log-format", "json", "--log-timestamp-format", "iso8601"]);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("Ready to accept")).expect("the line");
    let fields: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(fields["pid"], server.pid());
    assert_eq!((&fields["role"], &fields["level"]), (&"primary".into(), &"notice".into()));
    assert_eq!(fields["message"], "Ready to accept connections tcp");
    let at = fields["timestamp"].as_str().expect("a time");
    let shape: String = at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape.replace('-', "+"), "0000+00+00T00:00:00.000+00:00", "{at}");

    let last_line = |server: &mut Server| {
        server.text(&["DEBUG", "LOG", "a \"b\""]);
        server.log().lines().last().expect("a line").to_string()
    };
    server.check(&[("CONFIG SET log-format logfmt log-timestamp-format milliseconds", "OK")]);
    let line = last_line(&mut server);
    let (start, rest) = line.split_once(" timestamp=\"").expect("a time");
    assert_eq!(start, format!("pid={} role=primary", server.pid()));
    let (at, rest) = rest.split_once('"').expect("its end");
    assert!(at.parse::<u64>().is_ok(), "{at}");
    assert_eq!(rest, " level=warning message=\"DEBUG LOG: a 'b'\"");
    server.check(&[("CONFIG SET log-format legacy log-timestamp-format legacy", "OK")]);
    let line = last_line(&mut server);
    assert!(
        line.starts_with(&format!("{}:M ", server.pid()))
            && line.ends_with(" # DEBUG LOG: a \"b\""),
        "{line}"
    );
    server.check(&[(
        "CONFIG SET log-format xml",
        "ERR CONFIG SET failed (possibly related to argument 'log-format') - argument(s) must be one of the \
         following: legacy, logfmt, json",
    )]);
}
