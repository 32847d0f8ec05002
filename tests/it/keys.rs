//! Commands on keys over the wire: every option and every error, and what is propagated of them.

use crate::harness::Server;
use crate::harness::errors::{NOT_AN_INTEGER, SYNTAX};
use std::collections::BTreeSet;

const DB_RANGE: &str = "ERR DB index is out of range";
const NO_SUCH_KEY: &str = "ERR no such key";
const SAME_OBJECT: &str = "ERR source and destination objects are the same";

#[test]
fn deleting_and_counting() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("MSET a 1 b 2 c 3 d 4", "OK"),
        ("EXISTS a a b nokey", ":3"),
        ("TOUCH a b nokey", ":2"),
        ("TYPE a", "string"),
        ("TYPE nokey", "none"),
        ("DEL a a nokey", ":1"),
        ("UNLINK b c b", ":2"),
        ("DBSIZE", ":1"),
        ("DEL", "ERR wrong number of arguments for 'del' command"),
        ("RANDOMKEY", "d"),
        ("FLUSHDB FOO", SYNTAX),
        ("FLUSHALL SYNC ASYNC", SYNTAX),
        ("FLUSHDB ASYNC", "OK"),
        ("RANDOMKEY", "nil"),
        ("SET a 1", "OK"),
        ("FLUSHALL sync", "OK"),
        ("KEYS *", "[]"),
    ]);
}

#[test]
fn renaming() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SET a 1 EX 100", "OK"),
        ("RENAME a b", "OK"),
        ("GET b", "1"),
        ("TTL b", ":100"),
        ("EXISTS a", ":0"),
        ("RENAME a b", NO_SUCH_KEY),
        ("RENAME a a", NO_SUCH_KEY),
        ("RENAME b b", "OK"),
        ("SET c 2", "OK"),
        ("RENAME c b", "OK"),
        ("GET b", "2"),
        ("TTL b", ":-1"),
        ("SET c 3", "OK"),
        ("RENAMENX c b", ":0"),
        ("RENAMENX c c", ":0"),
        ("RENAMENX c d", ":1"),
        ("RENAMENX c d", NO_SUCH_KEY),
        ("RENAMENX c c", NO_SUCH_KEY),
        // How a value is kept does not depend on its key.
        ("SETRANGE e 0 x", ":1"),
        ("RENAME e a-much-longer-key-than-before", "OK"),
        ("OBJECT ENCODING a-much-longer-key-than-before", "raw"),
    ]);
}

#[test]
fn between_databases() {
    let mut s = Server::start(&["--databases", "4"]);
    s.check(&[
        ("SET a 1 EX 100", "OK"),
        ("COPY a b", ":1"),
        ("COPY a b", ":0"),
        ("COPY nokey b", ":0"),
        ("TTL b", ":100"),
        ("SET a 2", "OK"),
        ("COPY a b REPLACE", ":1"),
        ("GET b", "2"),
        ("TTL b", ":-1"),
        ("COPY a a", SAME_OBJECT),
        ("COPY a a DB 0", SAME_OBJECT),
        ("COPY a a DB 1", ":1"),
        ("COPY a c DB 1 REPLACE", ":1"),
        ("COPY a b DB 4", DB_RANGE),
        ("COPY a b DB -1", DB_RANGE),
        ("COPY a b DB x", NOT_AN_INTEGER),
        ("COPY a b DB", SYNTAX),
        ("COPY a b FOO", SYNTAX),
        ("MOVE a 1", ":0"),
        ("MOVE b 1", ":1"),
        ("MOVE nokey 1", ":0"),
        ("MOVE a 0", SAME_OBJECT),
        ("MOVE a 4", DB_RANGE),
        ("MOVE a x", NOT_AN_INTEGER),
        ("DBSIZE", ":1"),
        ("SELECT 1", "OK"),
        ("DBSIZE", ":3"),
        ("SWAPDB 0 1", "OK"),
        ("DBSIZE", ":1"),
        ("SWAPDB 1 1", "OK"),
        ("SWAPDB 0 4", DB_RANGE),
        ("SWAPDB -1 0", DB_RANGE),
        ("SWAPDB x 0", "ERR invalid first DB index"),
        ("SWAPDB 0 x", "ERR invalid second DB index"),
        ("FLUSHDB", "OK"),
        ("SELECT 0", "OK"),
        ("DBSIZE", ":3"),
        ("FLUSHALL", "OK"),
        ("DBSIZE", ":0"),
    ]);
}

#[test]
fn expiry() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("EXPIRE a 10", ":0"),
        ("TTL a", ":-2"),
        ("PTTL a", ":-2"),
        ("EXPIRETIME a", ":-2"),
        ("PERSIST a", ":0"),
        ("SET a 1", "OK"),
        ("TTL a", ":-1"),
        ("PEXPIRETIME a", ":-1"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 100 XX", ":0"),
        ("EXPIRE a 100 GT", ":0"),
        ("EXPIRE a 100 LT", ":1"),
        ("EXPIRE a 200 NX", ":0"),
        ("EXPIRE a 200 LT", ":0"),
        ("EXPIRE a 200 gt xx", ":1"),
        ("TTL a", ":200"),
        ("PEXPIRE a 300000", ":1"),
        ("TTL a", ":300"),
        ("EXPIREAT a 9999999999", ":1"),
        ("EXPIRETIME a", ":9999999999"),
        ("PEXPIREAT a 9999999999999", ":1"),
        ("PEXPIRETIME a", ":9999999999999"),
        ("EXPIRETIME a", ":10000000000"),
        ("PERSIST a", ":1"),
        ("TTL a", ":-1"),
        ("EXPIRE a x", NOT_AN_INTEGER),
        ("EXPIRE a 1 FOO", "ERR Unsupported option FOO"),
        ("EXPIRE a 1 F\0O", "ERR Unsupported option F"),
        ("EXPIRE a 1 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE a 1 NX LT", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE a 1 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE a 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("EXPIRE a -9223372036854775808", "ERR invalid expire time in 'expire' command"),
        ("PEXPIRE a 9223372036854775807", "ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT a 9223372036854775807", "ERR invalid expire time in 'expireat' command"),
        ("PEXPIREAT a 9223372036854775807", ":1"),
        ("PTTL nokey", ":-2"),
        ("EXPIRE a -1", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "OK"),
        ("PEXPIREAT a -1", ":1"),
        ("EXISTS a", ":0"),
    ]);
}

#[test]
fn a_key_is_gone_when_its_time_has_come() {
    let mut s = Server::start(&[]);
    s.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "OK"), ("SET a 1 PX 1", "OK"), ("SET b 1", "OK")]);
    s.wait_for("GET a", |reply| reply == "nil");
    for line in ["SET a 1 PX 1", "SET c 1 PX 1"] {
        s.line(line);
    }
    // Nobody looks at it by name, and it is not shown.
    s.wait_for("KEYS *", |reply| reply == "[b]");
    s.check(&[
        ("DBSIZE", ":3"),
        ("RANDOMKEY", "b"),
        ("SCAN 0 COUNT 100", "[0 [b]]"),
        ("DBSIZE", ":1"),
    ]);
    s.line("SET a 1 PX 1");
    s.wait_for("KEYS *", |reply| reply == "[b]");
    s.check(&[("DEL a", ":0"), ("SET a 1", "OK"), ("PERSIST a", ":0"), ("SET a 2 PX 1", "OK")]);
    s.wait_for("KEYS *", |reply| reply == "[b]");
    s.check(&[("SET a 3 KEEPTTL", "OK"), ("TTL a", ":-1")]);
}

#[test]
fn time_passes_between_the_commands_of_a_pipeline_but_not_of_a_transaction() {
    let s = Server::start(&[]);
    let mut raw = s.raw();
    raw.send("SET a 1 PX 1\r\nDEBUG SLEEP 0.01\r\nGET a\r\n");
    raw.expect("+OK\r\n+OK\r\n$-1\r\n");
    raw.send("MULTI\r\nSET a 1 PX 1\r\nDEBUG SLEEP 0.01\r\nGET a\r\nEXEC\r\nGET a\r\n");
    raw.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n$1\r\n1\r\n$-1\r\n");
}

#[test]
fn keys_and_scan() {
    let mut s = Server::start(&[]);
    for i in 0..1000 {
        s.line(&format!("SET key:{i} {i}"));
    }
    assert_eq!(s.line("KEYS key:12[34]"), s.line("KEYS key:12[3-4]"));
    s.check(&[("KEYS key:7", "[key:7]"), ("KEYS nokey*", "[]")]);
    for options in ["", "COUNT 1", "COUNT 100", "MATCH * TYPE string", "COUNT 9223372036854775807"]
    {
        assert_eq!(scan_all(&mut s, options).len(), 1000, "{options}");
    }
    assert_eq!(scan_all(&mut s, "MATCH key:1?"), scan_all(&mut s, "COUNT 5 match key:1[0-9]"));
    assert_eq!(scan_all(&mut s, "TYPE hash").len(), 0);
    s.check(&[
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN 18446744073709551616", "ERR invalid cursor"),
        ("SCAN 18446744073709551615", "[0 []]"),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT -5", SYNTAX),
        ("SCAN 0 COUNT x", NOT_AN_INTEGER),
        ("SCAN 0 COUNT", SYNTAX),
        ("SCAN 0 FOO 1", SYNTAX),
    ]);
}

fn scan_all(s: &mut Server, options: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_string();
    loop {
        let reply = s.line(&format!("SCAN {cursor} {options}"));
        let inside = reply.strip_prefix('[').and_then(|rest| rest.strip_suffix("]]"));
        let (next, keys) = inside.and_then(|inside| inside.split_once(" [")).unwrap();
        found.extend(keys.split_whitespace().map(str::to_string));
        cursor = next.to_string();
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn dump_and_restore() {
    let mut s = Server::start(&[]);
    let payload = b"\0\x05hello\n\0cr\xdfve4 \n";
    let mut raw = s.raw();
    raw.send(b"SET a hello\r\nDUMP a\r\nDUMP nokey\r\n");
    raw.expect([b"+OK\r\n$17\r\n", &payload[..], b"\r\n$-1\r\n"].concat());
    let restore = |s: &Server, key: &str, ttl: &str, payload: &[u8], options: &str| {
        let mut raw = s.raw();
        let options: Vec<&str> = options.split_whitespace().collect();
        let head = format!(
            "*{}\r\n$7\r\nRESTORE\r\n${}\r\n{key}\r\n${}\r\n{ttl}\r\n",
            4 + options.len(),
            key.len(),
            ttl.len()
        );
        raw.send(head.as_bytes());
        raw.send(format!("${}\r\n", payload.len()).as_bytes());
        raw.send(payload);
        raw.send(b"\r\n");
        for option in options {
            raw.send(format!("${}\r\n{option}\r\n", option.len()).as_bytes());
        }
        raw.line()
    };
    let mut wrong = payload.to_vec();
    wrong[3] ^= 1;
    // A type that nobody knows, with a checksum that fits.
    let strange = b"\xff\n\0\xd0\xb0\x9e\x9d\xdf\xf1\x1c\x9a";
    for (ttl, payload, options, reply) in [
        ("0", &payload[..], "", "-BUSYKEY Target key name already exists."),
        ("x", payload, "", "-BUSYKEY Target key name already exists."),
        ("x", payload, "REPLACE", "-ERR value is not an integer or out of range"),
        ("-1", payload, "REPLACE", "-ERR Invalid TTL value, must be >= 0"),
        (
            "9223372036854775807",
            payload,
            "REPLACE",
            "-ERR invalid expire time in 'restore' command",
        ),
        ("0", payload, "FOO", "-ERR syntax error"),
        ("0", payload, "IDLETIME", "-ERR syntax error"),
        ("0", payload, "IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0"),
        ("0", payload, "FREQ -1", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ("0", payload, "FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ("0", payload, "FREQ 1 IDLETIME 1", "-ERR syntax error"),
        ("0", &wrong, "REPLACE", "-ERR DUMP payload version or checksum are wrong"),
        ("0", b"", "REPLACE", "-ERR DUMP payload version or checksum are wrong"),
        ("0", strange, "REPLACE", "-ERR DUMP payload version or checksum are wrong"),
        ("100000", payload, "replace", "+OK"),
    ] {
        assert_eq!(restore(&s, "a", ttl, payload, options), reply, "{ttl} {options}");
    }
    s.check(&[("GET a", "hello"), ("TTL a", ":100")]);
    assert_eq!(restore(&s, "b", "9999999999999", payload, "ABSTTL IDLETIME 1000"), "+OK");
    s.check(&[("PEXPIRETIME b", ":9999999999999")]);
    s.wait_for("OBJECT IDLETIME b", |reply| [":1000", ":1001"].contains(&reply));
    assert_eq!(restore(&s, "b", "1", payload, "ABSTTL REPLACE"), "+OK");
    s.check(&[("EXISTS b", ":0")]);
    s.line("CONFIG SET maxmemory-policy allkeys-lfu");
    assert_eq!(restore(&s, "b", "0", payload, "FREQ 100"), "+OK");
    s.check(&[("OBJECT FREQ b", ":100")]);
}

#[test]
fn object() {
    let mut s = Server::start(&[]);
    let (limit, beyond) = ("x".repeat(44), "x".repeat(45));
    s.check(&[
        (&format!("SET a {limit}"), "OK"),
        ("OBJECT ENCODING a", "embstr"),
        (&format!("SET a {beyond}"), "OK"),
        ("OBJECT ENCODING a", "raw"),
        ("SET a 123", "OK"),
        ("OBJECT ENCODING a", "int"),
        ("OBJECT REFCOUNT a", ":2147483647"),
        ("SET a 9999", "OK"),
        ("OBJECT REFCOUNT a", ":2147483647"),
        ("SET a 10000", "OK"),
        ("OBJECT REFCOUNT a", ":1"),
        ("SET a -1", "OK"),
        ("OBJECT REFCOUNT a", ":1"),
        ("APPEND a 1", ":3"),
        ("OBJECT ENCODING a", "raw"),
        ("OBJECT IDLETIME a", ":0"),
        (
            "OBJECT FREQ a",
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ),
        ("CONFIG SET maxmemory-policy allkeys-lfu", "OK"),
        ("SET b 1", "OK"),
        ("OBJECT FREQ b", ":5"),
        (
            "OBJECT IDLETIME a",
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        ),
        ("CONFIG SET maxmemory 1gb", "OK"),
        ("OBJECT REFCOUNT b", ":1"),
        ("OBJECT ENCODING nokey", "nil"),
        ("OBJECT REFCOUNT nokey", "nil"),
        ("OBJECT IDLETIME nokey", "nil"),
        ("OBJECT FREQ nokey", "nil"),
        ("OBJECT FOO a", "ERR unknown subcommand 'FOO'. Try OBJECT HELP."),
    ]);
    assert!(s.line("OBJECT HELP").contains("ENCODING <key>"));
}

#[test]
fn memory() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("MEMORY USAGE nokey", "nil"),
        ("SET a x", "OK"),
        ("MEMORY USAGE a SAMPLES -1", SYNTAX),
        ("MEMORY USAGE a SAMPLES", SYNTAX),
        ("MEMORY USAGE a SAMPLES x", NOT_AN_INTEGER),
        ("MEMORY USAGE a FOO 1", SYNTAX),
        ("MEMORY PURGE", "OK"),
    ]);
    let small: usize = s.line("MEMORY USAGE a SAMPLES 0")[1..].parse().unwrap();
    s.line("SETRANGE a 100000 x");
    let large: usize = s.line("MEMORY USAGE a")[1..].parse().unwrap();
    assert!((16..100).contains(&small), "{small}");
    assert!((100_000..140_000).contains(&large), "{large}");
    assert!(s.line("MEMORY DOCTOR").starts_with("Hi Sam, this instance is empty"));
    assert!(s.line("MEMORY STATS").contains("keys.count :1"));
    assert!(s.line("MEMORY HELP").contains("USAGE <key>"));
}

#[test]
fn flushing_in_the_background() {
    let mut s = Server::start(&["--lazyfree-lazy-user-flush", "yes"]);
    s.line("DEBUG POPULATE 50000");
    let full = s.info("used_memory");
    s.check(&[("FLUSHALL", "OK"), ("DBSIZE", ":0")]);
    s.line("DEBUG POPULATE 100");
    s.check(&[("FLUSHDB SYNC", "OK")]);
    s.wait_for("INFO memory", |info| info.contains("lazyfree_pending_objects:0"));
    assert!(s.info("used_memory") < full / 2);
    assert_eq!(s.info("lazyfreed_objects"), 50000);
}

#[test]
fn what_is_propagated() {
    let mut s = Server::start(&["--repl-diskless-sync-delay", "0"]);
    s.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "OK"), ("SET old 1 PX 1", "OK")]);
    s.wait_for("KEYS *", |reply| reply == "[]");
    let mut stream = s.replication_stream();
    s.check(&[
        ("GET old", "nil"),
        ("MSET a 1 b 2", "OK"),
        ("EXPIRE a 100 NX", ":1"),
        ("EXPIRE a 100 NX", ":0"),
        ("PEXPIRE a 100000", ":1"),
        ("EXPIREAT a 9999999999", ":1"),
        ("PERSIST a", ":1"),
        ("PERSIST a", ":0"),
        ("EXPIRE a -1", ":1"),
        ("DEL a", ":0"),
        ("DEL b nokey", ":1"),
        ("SET c 1", "OK"),
        ("RENAME c d", "OK"),
        ("RENAME d d", "OK"),
        ("COPY d e", ":1"),
        ("COPY d e", ":0"),
        ("MOVE d 1", ":1"),
        ("UNLINK e", ":1"),
        ("FLUSHDB", "OK"),
        ("FLUSHALL ASYNC", "OK"),
        ("SWAPDB 0 1", "OK"),
        ("CONFIG SET lazyfree-lazy-expire yes", "OK"),
        ("SET f 1", "OK"),
        ("EXPIRE f 0", ":1"),
    ]);
    stream.expect(&[
        "SELECT 0",
        "DEL old",
        "MSET a 1 b 2",
        "PEXPIREAT a * NX",
        "PEXPIREAT a *",
        "PEXPIREAT a 9999999999000",
        "PERSIST a",
        "DEL a",
        "DEL b nokey",
        "SET c 1",
        "RENAME c d",
        "COPY d e",
        "MOVE d 1",
        "UNLINK e",
        "FLUSHDB",
        "FLUSHALL ASYNC",
        "SWAPDB 0 1",
        "SET f 1",
        "UNLINK f",
    ]);
}

#[test]
fn flushall_writes_an_empty_snapshot() {
    let mut s = Server::start(&["--save", "3600 1"]);
    s.check(&[("SET a 1", "OK"), ("SAVE", "OK"), ("FLUSHALL", "OK")]);
    let file = std::fs::read(s.dir().join("dump.rdb")).unwrap();
    assert!(!file.windows(3).any(|part| part == b"\x01a\xc0"));
    assert_eq!(s.info("rdb_changes_since_last_save"), 0);
}

#[test]
fn touch_touches_even_for_who_leaves_no_trace() {
    let mut s = Server::start(&[]);
    let payload = b"\0\x05hello\n\0cr\xdfve4 \n";
    assert_eq!(s.text(&[&b"RESTORE"[..], b"b", b"0", payload, b"IDLETIME", b"1000"]), "OK");
    s.check(&[("CLIENT NO-TOUCH on", "OK"), ("GET b", "hello")]);
    s.wait_for("OBJECT IDLETIME b", |reply| [":1000", ":1001"].contains(&reply));
    s.check(&[("TOUCH b", ":1")]);
    s.wait_for("OBJECT IDLETIME b", |reply| reply == ":0");
}

/// What takes the place of a key is used as often, and as recently, as that was.
#[test]
fn overwriting_is_no_forgetting() {
    let string = b"\0\x05hello\n\0cr\xdfve4 \n";
    let restore = |s: &mut Server, key: &str, options: [&[u8]; 2]| {
        let args =
            [b"RESTORE", key.as_bytes(), b"0", &string[..], b"REPLACE", options[0], options[1]];
        assert_eq!(s.text(&args), "OK");
    };
    let mut s = Server::start(&["--maxmemory-policy", "allkeys-lfu"]);
    s.check(&[
        ("CONFIG SET lfu-decay-time 0 lfu-log-factor 100000", "OK"),
        ("SADD set 1 2", ":2"),
        ("ZADD zset 1 a", ":1"),
        ("SETBIT bits 1 1", ":0"),
    ]);
    for command in [
        "SET k x",
        "GETSET k x",
        "MSET k x",
        "SUNIONSTORE k set",
        "SORT set STORE k",
        "ZUNIONSTORE k 1 zset",
        "ZRANGESTORE k zset 0 -1",
        "BITOP NOT k bits",
    ] {
        restore(&mut s, "k", [b"FREQ", b"200"]);
        s.line(command);
        assert_eq!(s.line("OBJECT FREQ k"), ":200", "{command}");
    }
    // Under another name, or elsewhere, nobody has used it yet.
    restore(&mut s, "k", [b"FREQ", b"200"]);
    s.check(&[("RENAME k l", "OK"), ("OBJECT FREQ l", ":5")]);
    restore(&mut s, "k", [b"FREQ", b"200"]);
    s.check(&[("MOVE k 1", ":1"), ("SELECT 1", "OK"), ("OBJECT FREQ k", ":5")]);
    let mut s = Server::start(&[]);
    s.check(&[("SADD set 1 2", ":2"), ("SETBIT bits 1 1", ":0"), ("CLIENT NO-TOUCH on", "OK")]);
    for command in
        ["SET k x", "SET k x XX GET", "MSET k x", "SUNIONSTORE k set", "BITOP NOT k bits"]
    {
        restore(&mut s, "k", [b"IDLETIME", b"1000"]);
        s.line(command);
        s.wait_for("OBJECT IDLETIME k", |reply| [":1000", ":1001"].contains(&reply));
    }
    // Without that wish it is used now.
    s.check(&[("CLIENT NO-TOUCH off", "OK"), ("SUNIONSTORE k set", ":2")]);
    s.wait_for("OBJECT IDLETIME k", |reply| reply == ":0");
}

#[test]
fn who_asks_how_a_key_is_kept_has_found_it() {
    let mut s = Server::start(&["--notify-keyspace-events", "KEm"]);
    s.check(&[("SET k v", "OK")]);
    for (line, reply) in [
        ("OBJECT ENCODING k", "embstr"),
        ("OBJECT REFCOUNT k", ":1"),
        ("OBJECT ENCODING none", "nil"),
    ] {
        s.check(&[(line, reply)]);
    }
    assert_eq!((s.info("keyspace_hits"), s.info("keyspace_misses")), (2, 1));
}

#[test]
fn while_data_are_imported_nothing_goes_and_their_source_sees_what_has_expired() {
    let mut s = Server::start(&["--import-mode", "yes"]);
    let mut source = s.raw();
    for request in ["CLIENT IMPORT-SOURCE on", "SET a v PX 1", "SET b v EXAT 1"] {
        assert_eq!(source.ask(request), "+OK");
    }
    s.wait_for("GET a", |reply| reply == "nil");
    s.check(&[("EXISTS a b", ":0"), ("SET c v EXAT 1", "OK"), ("GET c", "nil"), ("DBSIZE", ":3")]);
    assert_eq!(source.ask("EXISTS a b c"), ":3");
    s.check(&[
        ("CONFIG SET maxmemory-policy allkeys-random maxmemory 1", "OK"),
        ("SET d v", "OOM command not allowed when used memory > 'maxmemory'."),
        ("CONFIG SET maxmemory 0", "OK"),
    ]);
    assert_eq!(s.info("evicted_keys") + s.info("expired_keys"), 0);

    assert_eq!(source.ask("RESET"), "+RESET");
    assert_eq!(source.ask("EXISTS a b c"), ":0");
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE maybe"), "-ERR syntax error");
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE on"), "+OK");
    s.check(&[("CONFIG SET import-mode no", "OK")]);
    assert_eq!(source.ask("EXISTS a b c"), ":0");
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE on"), "-ERR Server is not in import mode");
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE off"), "+OK");
    s.wait_for("DBSIZE", |reply| reply == ":0");
    assert_eq!(s.info("expired_keys"), 3);
}
