//! Where Redis 7.2 and Valkey 8.0 differ, the name that the program is called by decides. The rows of
//! `docs/compatibility.md`, over the wire.

use crate::harness::Server;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The names, in the order of the columns below.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

#[test]
fn replies_by_name() {
    let script = "return redis.pcall(unpack(ARGV))";
    for (column, name) in NAMES.into_iter().enumerate() {
        let mut server = Server::start_as(name, &[]);
        server.check(&[("SET k foobar", "OK"), ("XADD s 1-1 f v", "1-1")]);
        for (line, replies) in [
            ("SCAN 0 TYPE nosuch", ["[0 []]", "ERR unknown type name 'nosuch'"]),
            ("BITCOUNT k 0", ["ERR syntax error", ":26"]),
            ("CONFIG GET *slot-stats*", ["[]", "[cluster-slot-stats-enabled no]"]),
            ("CONFIG GET cluster-slot-stats-enabled", ["[cluster-slot-stats-enabled no]"; 2]),
            ("CONFIG GET *maryuser", ["[]", "[primaryuser ]"]),
            (
                "CONFIG GET replica-lazy-flush",
                ["[replica-lazy-flush no]", "[replica-lazy-flush yes]"],
            ),
        ] {
            assert_eq!(server.line(line), replies[column], "{name}: {line}");
        }
        for (command, replies) in [
            (
                "xRead BLOCK 0 STREAMS s $",
                ["ERR xRead command is not allowed with BLOCK option from scripts", "nil"],
            ),
            (
                "XREAD BLOCK 0 STREAMS s 0",
                [
                    "ERR XREAD command is not allowed with BLOCK option from scripts",
                    "[[s [[1-1 [f v]]]]]",
                ],
            ),
            ("XREAD STREAMS s $", ["nil"; 2]),
            ("WAITAOF 0 0 0", ["ERR This Redis command is not allowed from script", "[:0 :0]"]),
            (
                "nosuch",
                [
                    "ERR Unknown Redis command called from script",
                    "ERR Unknown command called from script",
                ],
            ),
            (
                "GET",
                [
                    "ERR Wrong number of args calling Redis command from script",
                    "ERR Wrong number of args calling command from script",
                ],
            ),
        ] {
            let mut args = vec!["EVAL", script, "0"];
            args.extend(command.split(' '));
            assert_eq!(server.text(&args), replies[column], "{name}: {command}");
        }
        let unsubscribed = server.raw().ask("PUNSUBSCRIBE p");
        let nosub = "-NOSUB 'punsubscribe' command executed not in subscribed mode";
        assert_eq!(unsubscribed, ["*3", nosub][column], "{name}");
        let list = server.line("CLIENT LIST");
        let has = |field: &str| list.contains(field);
        assert!(has([" multi=-1 qbuf=26 ", " multi=-1 watch=0 qbuf=0 "][column]), "{name}: {list}");
        let names = ["server_name", "valkey_version"].map(|field| server.info_text(field));
        let wanted = [[None, None], [Some("valkey"), Some("8.0.1")]][column];
        assert_eq!(names.each_ref().map(Option::as_deref), wanted, "{name}");
    }
}

/// The later years of a field, and more than one condition.
#[test]
fn fields_that_expire() {
    for (valkey, name) in [false, true].into_iter().zip(NAMES) {
        let mut server = Server::start_as(name, &[]);
        let invalid = |command: &str| format!("ERR invalid expire time in '{command}' command");
        let missing = "ERR Mandatory argument FIELDS is missing or not at the right position";
        server.check(&[("HSET h a 1", ":1")]);
        for (line, redis, valkeys) in [
            ("HEXPIREAT h 253402300799 FIELDS 1 a", &invalid("hexpireat")[..], "[:1]"),
            ("HSETEX h PXAT 9223372036854775807 FIELDS 1 b 1", &invalid("hsetex"), ":1"),
            ("HGETEX h PXAT 9223372036854775806 FIELDS 1 a", &invalid("hgetex"), "[1]"),
            ("HEXPIRE h 10 XX LT FIELDS 1 a", missing, "[:1]"),
        ] {
            assert_eq!(server.line(line), if valkey { valkeys } else { redis }, "{name}: {line}");
        }
        if valkey {
            server.check(&[
                ("HPEXPIRETIME h FIELDS 1 b", "[:9223372036854775807]"),
                ("DEBUG RELOAD", "OK"),
                ("HPEXPIRETIME h FIELDS 1 b", "[:9223372036854775807]"),
            ]);
        }
    }
}

#[test]
fn what_it_calls_itself() {
    for (column, name) in NAMES.into_iter().enumerate() {
        let mut server = Server::start_as(name, &["--busy-reply-threshold", "1"]);
        for compatible in [false, true] {
            let as_valkey = column == 1 && !compatible;
            server.check(&[(
                &format!(
                    "CONFIG SET extended-redis-compatibility {}",
                    ["no", "yes"][usize::from(compatible)]
                ),
                "OK",
            )]);
            let (own, version, mode, title) = match as_valkey {
                true => ("valkey", "8.0.1", "server_mode", "Valkey"),
                false => ("redis", "7.2.4", "redis_mode", "Redis"),
            };
            let hello = server.line("HELLO");
            assert!(hello.contains(&format!("server {own} version {version} ")), "{name}: {hello}");
            assert_eq!(server.info_text(mode).as_deref(), Some("standalone"), "{name}");
            let mut running = server.busy("while true do end");
            let busy =
                "is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
            server.check(&[("GET k", &format!("BUSY {title} {busy}")), ("SCRIPT KILL", "OK")]);
            assert!(running.line().starts_with("-ERR"));
        }
    }
}

/// Whoever sets what has expired already means that it be gone.
#[test]
fn a_set_in_the_past() {
    for (deletes, name) in [false, true].into_iter().zip(NAMES) {
        let mut server = Server::start_as(name, &["--repl-diskless-sync-delay", "0"]);
        server.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "OK")]);
        let mut stream = server.replication_stream();
        let left = if deletes { ":0" } else { ":1" };
        for (line, reply) in [
            ("SET k 2 PXAT 1000", "OK"),
            ("SET k 2 EXAT 1 XX", "OK"),
            ("SET k 2 GET PXAT 1000", "1"),
            ("SET k 2 NX PXAT 1000", "nil"),
            ("SET k 2 IFEQ 0 PXAT 1000", "nil"),
            ("SET k 2 IFEQ 1 PXAT 1000", "OK"),
        ] {
            let kept = if reply == "nil" { ":1" } else { left };
            server.check(&[("SET k 1", "OK"), (line, reply), ("DBSIZE", kept)]);
        }
        server.check(&[
            ("DEL k", ":0"),
            // Where nothing is, nothing is changed.
            ("SET k 2 PXAT 1000 NX", "OK"),
            ("SET k 2 PXAT 1000 XX", "nil"),
            ("SET k 2 PXAT 1000 GET", "nil"),
            ("SETEX k 0 2", "ERR invalid expire time in 'setex' command"),
            ("DBSIZE", left),
            // As Valkey 9, which has this command.
            ("MSETEX 1 k 2 PXAT 1000", ":1"),
        ]);
        if deletes {
            stream.expect(&["SELECT 0", "SET k 1", "UNLINK k", "SET k 1", "UNLINK k"]);
            stream.expect(&["SET k 1", "UNLINK k", "SET k 1", "SET k 1", "SET k 1", "UNLINK k"]);
            stream.expect(&["SET k 2 PXAT 1000"]);
        }
    }
}

#[test]
fn a_transaction_in_a_transaction() {
    let nested =
        ["ERR MULTI calls can not be nested", "ERR Command not allowed inside a transaction"];
    let exec = ["[OK]", "EXECABORT Transaction discarded because of previous errors."];
    for (column, name) in NAMES.into_iter().enumerate() {
        let mut server = Server::start_as(name, &[]);
        server.check(&[
            ("MULTI", "OK"),
            ("SET k v", "QUEUED"),
            ("MULTI", nested[column]),
            ("EXEC", exec[column]),
        ]);
    }
}

/// What SCAN meets and has expired is deleted: by Redis whatever its type.
#[test]
fn a_scan_deletes_what_has_expired() {
    for (name, keys) in NAMES.into_iter().zip([1, 2]) {
        let mut server = Server::start_as(name, &[]);
        server.check(&[
            ("DEBUG SET-ACTIVE-EXPIRE 0", "OK"),
            ("SET k v", "OK"),
            ("HSET hash f v", ":1"),
            ("PEXPIRE hash 1", ":1"),
            // When this one has expired, so has the hash.
            ("SET gone v PX 2", "OK"),
        ]);
        server.wait_for("SCAN 0 COUNT 100 TYPE string", |reply| reply == "[0 [k]]");
        server.check(&[("DBSIZE", &format!(":{keys}"))]);
    }
}

#[test]
fn acl_load_disconnects_who_is_not_the_default_user() {
    for (name, stays) in NAMES.into_iter().zip([false, true]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "user u on nopass +@all ~* &*\n").unwrap();
        let mut server = Server::start_as(name, &["--aclfile", file.path().to_str().unwrap()]);
        let (mut user, mut default) = (server.raw(), server.raw());
        assert_eq!(user.ask("AUTH u x"), "+OK");
        assert_eq!(default.ask("PING"), "+PONG");
        server.check(&[("ACL LOAD", "OK")]);
        assert_eq!(default.ask("PING"), "+PONG");
        if stays {
            assert_eq!(user.ask("ACL WHOAMI"), "u");
        } else {
            assert_eq!(user.read_to_end(), b"");
        }
    }
}

#[test]
fn a_wrong_port_of_the_primary_is_told_in_its_words() {
    for (name, words) in NAMES.into_iter().zip(["Invalid master port", "Invalid primary port"]) {
        let output = Command::new(env!("CARGO_BIN_EXE_aeolis"))
            .arg0(name)
            .args(["--port", "0", "--replicaof", "127.0.0.1", "abc"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.ends_with(&format!("{words}\n")), "{name}: {text}");
    }
}
