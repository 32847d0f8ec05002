//! The configuration at run time: reading, changing, undoing, saving it; and what follows from a change.

use crate::harness::{Raw, Server, free_port, program, wait_for};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// What could not be read again from the file is no address, even while nobody listens there.
#[test]
fn addresses_are_plain_words() {
    let mut server = Server::start(&[]);
    for (name, value) in [("metrics-bind", "a\"b"), ("metrics-bind", "a '"), ("bind", "a\"b")] {
        let reply = server.text(&["CONFIG", "SET", name, value]);
        assert!(reply.starts_with("ERR CONFIG SET failed"), "{reply}");
    }
    assert_eq!(server.text(&["CONFIG", "SET", "metrics-bind", "127.0.0.1 -::1"]), "OK");
}

#[test]
fn get_answers_a_map_of_what_matches() {
    let mut server = Server::start(&["--maxmemory", "10mb"]);
    assert_eq!(server.text(&["CONFIG", "GET", "MaxMemory"]), "[MaxMemory 10485760]");
    assert_eq!(
        server.text(&["CONFIG", "GET", "maxmemory", "maxmemory-s*"]),
        "[maxmemory 10485760 maxmemory-samples 5]"
    );
    assert_eq!(server.text(&["CONFIG", "GET", "nosuch"]), "[]");
    let mut raw = server.raw();
    raw.hello3();
    raw.send("CONFIG GET hz\r\n");
    raw.expect("%1\r\n$2\r\nhz\r\n$2\r\n10\r\n");
}

#[test]
fn set_changes_all_or_nothing() {
    let mut server = Server::start(&[]);
    assert_eq!(server.text(&["CONFIG", "SET", "maxmemory", "1gb", "hz", "50"]), "OK");
    for (args, reply) in [
        (
            &["CONFIG", "SET", "maxmemory"][..],
            "ERR wrong number of arguments for 'config|set' command",
        ),
        (
            &["CONFIG", "SET", "a", "1"],
            "ERR Unknown option or number of arguments for CONFIG SET - 'a'",
        ),
        (&["CONFIG", "SET", "hz", "20", "a"], "ERR syntax error"),
        (
            &["CONFIG", "SET", "hz", "20", "port", "x"],
            "ERR CONFIG SET failed (possibly related to argument 'port') - argument couldn't be parsed into an integer",
        ),
        (
            &["CONFIG", "SET", "databases", "1"],
            "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
    ] {
        assert_eq!(server.text(args), reply, "{args:?}");
    }
    assert_eq!(server.text(&["CONFIG", "GET", "hz", "maxmemory"]), "[hz 50 maxmemory 1073741824]");
}

/// Exit code and output of `--check-config` on a file with this text, in whose directory it runs.
fn check_config(dir: &Path, text: &str, options: &[&str]) -> (i32, String) {
    std::fs::write(dir.join("a.conf"), text).expect("a writable file");
    let mut command = Command::new(program());
    command.args(["--check-config", "a.conf"]).args(options).current_dir(dir);
    let output = command.output().expect("a program that runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let place = format!("{}/", dir.canonicalize().expect("a path").display());
    let text = String::from_utf8(output.stdout).expect("UTF-8").replace(&place, "");
    (output.status.code().expect("an exit code"), text)
}

/// A file, options, and what is said of them; of the last ones it matters only that there are faults.
const CHECKED: [(&str, &[&str], &str); 12] = [
    ("port 1\n\n# comment\nsave 1 2\n", &["--port", "2"], "The configuration is right"),
    (
        "prot 1\nport abc\nport \"1\nport 7\n",
        &["--bla", "1", "--hz", "x"],
        "a.conf:1: 'prot 1': Bad directive or wrong number of arguments. Did you mean 'port'?\n\
         a.conf:2: 'port abc': argument couldn't be parsed into an integer\n\
         a.conf:3: 'port \"1': Unbalanced quotes in configuration line\n\
         command line: '--bla \"1\"': Bad directive or wrong number of arguments\n\
         command line: '--hz \"x\"': argument couldn't be parsed into an integer\n\
         5 faults",
    ),
    (
        "include b.conf\ninclude c.conf\nport x",
        &[],
        "b.conf:2: 'hz x': argument couldn't be parsed into an integer\n\
         c.conf: No such file or directory\n\
         a.conf:3: 'port x': argument couldn't be parsed into an integer\n3 faults",
    ),
    (
        "io-threads 4\nactivedefrag no\nloadmodule x.so",
        &[],
        "Module 'x.so' is not loaded: modules have no effect yet\n\
         Directive 'io-threads' is accepted but has no effect yet\nThe configuration is right",
    ),
    (
        "rename-command nosuch a\nrename-command GET SET",
        &[],
        "a.conf:1: 'rename-command nosuch a': No such command in rename-command, or the new name is taken\n\
         a.conf:2: 'rename-command GET SET': No such command in rename-command, or the new name is taken\n2 faults",
    ),
    (
        "user a on\nuser a on\nuser b +nosuch\nuser c x\nuser d (on",
        &[],
        "a.conf:2: 'user a on': Error in user declaration 'a': Duplicate user found. A user can only be defined once \
         in config files\n\
         a.conf:3: 'user b +nosuch': Error loading ACL rule '+nosuch' for the user named 'b': Unknown command or \
         category name in ACL\n\
         a.conf:4: 'user c x': Error in user declaration 'x': Syntax error\n\
         a.conf:5: 'user d (on': Error in user declaration '(on': Syntax error\n4 faults",
    ),
    (
        "aclfile users",
        &[],
        "Aborting Redis startup because of ACL errors: users:1: Error in applying operation '+nosuch': Unknown command \
         or category name in ACL. users:3 should start with user keyword followed by the username. WARNING: ACL errors \
         detected, no change to the previously active ACL rules was performed\n1 fault",
    ),
    ("dir /no/such", &[], "a.conf:1: 'dir /no/such': No such file or directory\n1 fault"),
    (
        "cluster-enabled yes\nreplicaof h 1",
        &[],
        "replicaof directive not allowed in cluster mode\n1 fault",
    ),
    ("tls-port 7\ntls-cert-file no.crt\ntls-key-file no.key\ntls-ca-cert-file no.crt", &[], ""),
    ("include a.conf\ninclude a.conf\nport x", &[], ""),
    (
        "sentinel monitor x",
        &[],
        "a.conf:1: 'sentinel monitor x': sentinel directive while not in sentinel mode\n1 fault",
    ),
];

#[test]
fn a_configuration_is_checked_without_starting() {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("b.conf"), "port 1\nhz x\n").expect("a writable file");
    std::fs::write(dir.path().join("users"), "user a +nosuch\nuser b on\nx\n").expect("a file");
    for (text, options, expected) in CHECKED {
        let (code, report) = check_config(dir.path(), text, options);
        assert_eq!(code, i32::from(!report.ends_with("right\n")), "{text}: {report}");
        if !expected.is_empty() {
            assert_eq!(report.trim_end(), expected, "{text}");
        }
    }
    assert!(!dir.path().join("nodes.conf").exists(), "nothing is written");
}

#[test]
fn what_has_no_effect_yet_is_checked_nevertheless() {
    let mut server = Server::start(&[]);
    for (directive, value, reason) in [
        ("locale-collate", "xx_nowhere", "Invalid locale name"),
        ("locale-collate", "C", ""),
        (
            "active-defrag-ignore-bytes",
            "0",
            "argument must be between 1 and 9223372036854775807 inclusive",
        ),
        (
            "active-defrag-ignore-bytes",
            "18446744073709551616",
            "argument must be between 1 and 9223372036854775807 inclusive",
        ),
        ("active-defrag-cycle-min", "100", "argument must be between 1 and 99 inclusive"),
        (
            "cluster-node-timeout",
            "-1",
            "argument must be between 0 and 9223372036854775807 inclusive",
        ),
        (
            "cluster-announce-hostname",
            "a_b",
            "Hostnames may only contain alphanumeric characters, hyphens or dots",
        ),
        ("jemalloc-bg-thread", "2", "argument must be 'yes' or 'no'"),
    ] {
        let expected = match reason {
            "" => "OK".to_string(),
            _ => format!(
                "ERR CONFIG SET failed (possibly related to argument '{directive}') - {reason}"
            ),
        };
        let reply = server.text(&["CONFIG", "SET", directive, value]);
        assert_eq!(reply, expected, "{directive} {value}");
    }
}

#[test]
fn what_can_not_be_applied_is_undone() {
    let mut server = Server::start(&["--bind", "127.0.0.1"]);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let reply =
        server.text(&["CONFIG", "SET", "maxmemory", "5mb", "port", &port, "loglevel", "debug"]);
    assert!(reply.starts_with(
        "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port"
    ));
    assert_eq!(
        server.text(&["CONFIG", "GET", "maxmemory", "loglevel"]),
        "[maxmemory 0 loglevel notice]"
    );
    assert_eq!(server.raw().ask("PING"), "+PONG");
    let reply = server.text(&["CONFIG", "SET", "hz", "20", "maxclients", "4294967295"]);
    assert!(
        reply.contains("'maxclients') - The operating system is not able to handle"),
        "{reply}"
    );
    assert_eq!(server.text(&["CONFIG", "GET", "hz"]), "[hz 10]");
}

#[test]
fn the_port_can_be_changed() {
    let mut server = Server::start(&["--bind", "127.0.0.1"]);
    server.text(&["PING"]);
    let (old, new) = (server.port, free_port());
    assert_eq!(server.text(&["CONFIG", "SET", "port", &new.to_string()]), "OK");
    server.port = new;
    wait_for("the new port", || Raw::to_port(new).ok());
    assert_eq!(server.raw().ask("PING"), "+PONG");
    assert!(Raw::to_port(old).is_err());
    // Who was connected stays so.
    assert_eq!(server.text(&["PING"]), "PONG");
    assert_eq!(server.info_text("tcp_port"), Some(new.to_string()));
}

#[test]
fn changes_take_effect() {
    let mut server = Server::start(&[]);
    assert_eq!(server.text(&["CONFIG", "SET", "maxclients", "1"]), "OK");
    assert_eq!(server.raw().line(), "-ERR max number of clients reached");
    assert_eq!(server.text(&["CONFIG", "SET", "maxclients", "100"]), "OK");

    assert_eq!(server.text(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert!(server.text(&["SET", "a", "b"]).starts_with("OOM "));
    assert_eq!(
        server.text(&["CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "allkeys-lfu"]),
        "OK"
    );
    assert_eq!(server.text(&["SET", "a", "b"]), "OK");
    assert_eq!(server.text(&["OBJECT", "FREQ", "a"]), ":5");

    assert_eq!(
        server.text(&["CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "2"]),
        "OK"
    );
    for _ in 0..5 {
        server.text(&["PING"]);
    }
    assert_eq!(server.text(&["SLOWLOG", "LEN"]), ":2");

    assert_eq!(server.text(&["CONFIG", "SET", "appendonly", "yes"]), "OK");
    assert_eq!(server.info_text("aof_enabled"), Some("1".to_string()));
    assert_eq!(server.text(&["CONFIG", "SET", "appendonly", "no"]), "OK");

    assert!(server.text(&["CONFIG", "SET", "dir", "/"]).contains("can't set protected config"));
}

/// Starts this program with this configuration file and nothing else but a port.
fn start_with_file(program: &Path, dir: TempDir, file: &Path) -> Server {
    Server::launch(dir, |port| {
        let mut command = Command::new(program);
        command.arg(file).args(["--port", &port.to_string()]);
        command
    })
}

#[test]
fn rewrite_keeps_what_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, "# mine\nmaxmemory 1mb\n").unwrap();
    let server = start_with_file(&program(), dir, &file);
    let mut client = server.raw();
    let set = "CONFIG SET maxmemory 2mb requirepass \"a b\" save \"900 1\"";
    assert_eq!(client.ask(set), "+OK");
    assert_eq!(client.ask("CONFIG REWRITE"), "+OK");
    let info = client.ask("INFO server");
    assert!(info.contains(&format!("config_file:{}\r\n", file.display())), "{info}");

    let dir = server.into_dir();
    let rewritten = std::fs::read_to_string(&file).unwrap();
    assert!(
        rewritten.starts_with("# mine\n") && rewritten.contains("\nmaxmemory 2mb\n"),
        "{rewritten}"
    );
    let server = start_with_file(&program(), dir, &file);
    let mut client = server.raw();
    assert_eq!(client.ask("AUTH \"a b\""), "+OK");
    client.send("CONFIG GET maxmemory save\r\n");
    client.expect("*4\r\n$9\r\nmaxmemory\r\n$7\r\n2097152\r\n$4\r\nsave\r\n$5\r\n900 1\r\n");
}

/// In the place of a `valkey-server` it has Valkey's defaults, and what is set to Redis's defaults there is kept.
#[test]
fn the_name_of_the_program_decides_on_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let (valkey, file) = (dir.path().join("valkey-server"), dir.path().join("valkey.conf"));
    std::os::unix::fs::symlink(program(), &valkey).unwrap();
    std::fs::write(&file, "").unwrap();
    let mut server = start_with_file(&valkey, dir, &file);
    server.check(&[
        ("CONFIG GET lazyfree-lazy-expire", "[lazyfree-lazy-expire yes]"),
        ("CONFIG SET lazyfree-lazy-expire no", "OK"),
        ("CONFIG REWRITE", "OK"),
    ]);
    let rewritten = std::fs::read_to_string(&file).unwrap();
    assert!(rewritten.contains("\nlazyfree-lazy-expire no\n"), "{rewritten}");
    assert!(!rewritten.contains("lazy-user-del"), "{rewritten}");
}

#[test]
fn the_kernel_is_told_whom_to_end_first() {
    let mut server = Server::start(&["--rdb-key-save-delay", "10000000"]);
    let pid = server.pid().to_string();
    let score = |pid: &str| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let base = score(&pid);
    server.text(&["CONFIG", "SET", "oom-score-adj-values", "10 20 30"]);
    assert_eq!(score(&pid), base);
    server.check(&[("CONFIG SET oom-score-adj yes", "OK")]);
    assert_eq!(score(&pid), base + 10);
    server.check(&[("REPLICAOF 127.0.0.1 1", "OK")]);
    assert_eq!(score(&pid), base + 20);
    server.check(&[("REPLICAOF NO ONE", "OK"), ("SET k v", "OK")]);
    assert_eq!(score(&pid), base + 10);
    server.line("BGSAVE");
    let child = server.child().to_string();
    wait_for("the child's score", || (score(&child) == base + 30).then_some(()));
    server.check(&[("CONFIG SET oom-score-adj absolute", "OK")]);
    assert_eq!(score(&pid), 10);
    server.check(&[("CONFIG SET oom-score-adj no", "OK")]);
    assert_eq!(score(&pid), base);
}

/// Harnesses of client libraries read the version off this line before they start a server.
#[test]
fn the_version_is_told_in_redis_s_words() {
    let output = Command::new(program()).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("Redis server v=7.2.4 sha=00000000:0 malloc="), "{text}");
    assert!(text.contains(" bits=64 build="), "{text}");
}

#[test]
fn without_a_file_nothing_is_rewritten() {
    let mut server = Server::start(&[]);
    assert_eq!(
        server.text(&["CONFIG", "REWRITE"]),
        "ERR The server is running without a config file"
    );
}

#[test]
fn statistics_start_anew() {
    let mut server = Server::start(&[]);
    server.text(&["SET", "a", "b"]);
    server.text(&["GET", "a"]);
    server.text(&["nosuch"]);
    for n in 0..501 {
        server.text(&["EVAL", &format!("return {n}"), "0"]);
    }
    assert_eq!(server.info("evicted_scripts"), 1);
    assert_eq!(server.info("keyspace_hits"), 1);
    assert_eq!(server.info_text("errorstat_ERR").as_deref(), Some("count=1"));
    assert_eq!(server.text(&["CONFIG", "RESETSTAT"]), "OK");
    for (field, value) in [
        ("keyspace_hits", Some("0")),
        ("evicted_scripts", Some("0")),
        ("total_error_replies", Some("0")),
        ("errorstat_ERR", None),
        ("cmdstat_set", None),
    ] {
        assert_eq!(server.info_text(field).as_deref(), value, "{field}");
    }
}
