//! Strings over the wire: every option and every error of their commands, and what is propagated of them.

use crate::harness::Server;
use crate::harness::errors::{NOT_AN_INTEGER, SYNTAX};

const NOT_A_FLOAT: &str = "ERR value is not a valid float";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// A time in the far future, in seconds.
const FUTURE: &str = "9999999999";

#[test]
fn set_and_its_conditions() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SET a 1", "OK"),
        ("GET a", "1"),
        ("GET nokey", "nil"),
        ("SET a 2 NX", "nil"),
        ("SET b 2 nx", "OK"),
        ("SET c 1 XX", "nil"),
        ("SET a 2 xx", "OK"),
        ("SET a 3 NX XX", SYNTAX),
        ("SET a 3 XX NX", SYNTAX),
        ("SET a 3 GET", "2"),
        ("SET d 3 GET", "nil"),
        ("SET d 4 NX GET", "3"),
        ("GET d", "3"),
        ("SET e 4 XX GET", "nil"),
        ("EXISTS e", ":0"),
        ("SET a 5 IFEQ 4", "nil"),
        ("SET a 5 IFEQ 3", "OK"),
        ("SET a 6 IFEQ 5 GET", "5"),
        ("SET a 7 IFEQ 5 GET", "6"),
        ("GET a", "6"),
        ("SET nokey 7 IFEQ 5", "nil"),
        ("SET a 7 IFEQ", SYNTAX),
        ("SET a 7 IFEQ 6 NX", SYNTAX),
        ("SET a 7 XX IFEQ 6", SYNTAX),
        ("SET a 7 FOO", SYNTAX),
        ("SET a 7 PERSIST", SYNTAX),
        ("SET a", "ERR wrong number of arguments for 'set' command"),
        ("SETNX a 7", ":0"),
        ("SETNX f 7", ":1"),
        ("GETSET f 8", "7"),
        ("GETSET g 8", "nil"),
        ("GETDEL g", "8"),
        ("GETDEL g", "nil"),
    ]);
}

#[test]
fn set_with_an_expiry() {
    let mut s = Server::start(&[]);
    let invalid = "ERR invalid expire time in 'set' command";
    s.check(&[
        ("SET a 1 EX 100", "OK"),
        ("TTL a", ":100"),
        ("SET a 1 KEEPTTL", "OK"),
        ("TTL a", ":100"),
        ("SET a 1", "OK"),
        ("TTL a", ":-1"),
        ("SET a 1 PX 100000", "OK"),
        ("TTL a", ":100"),
        ("SET a 1 EXAT 9999999999", "OK"),
        ("EXPIRETIME a", &format!(":{FUTURE}")),
        ("SET a 1 PXAT 9999999999000", "OK"),
        ("PEXPIRETIME a", &format!(":{FUTURE}000")),
        ("SET a 1 EX 10 EX 20", "OK"),
        ("TTL a", ":20"),
        ("SET a 1 EX 0", invalid),
        ("SET a 1 PX -1", invalid),
        ("SET a 1 EX 9223372036854775807", invalid),
        ("SET a 1 EX 9223372036854775", invalid),
        ("SET a 1 PX 9223372036854775807", invalid),
        ("SET a 1 EXAT 9223372036854775807", invalid),
        ("SET a 1 EX x", NOT_AN_INTEGER),
        ("SET a 1 EX", SYNTAX),
        ("SET a 1 EX 1 PX 1", SYNTAX),
        ("SET a 1 KEEPTTL PX 1", SYNTAX),
        ("SET a 1 PXAT 1 KEEPTTL", SYNTAX),
        ("SETEX a 100 v", "OK"),
        ("TTL a", ":100"),
        ("SETEX a 0 v", "ERR invalid expire time in 'setex' command"),
        ("SETEX a x v", NOT_AN_INTEGER),
        ("PSETEX a 100000 v", "OK"),
        ("TTL a", ":100"),
        ("PSETEX a -5 v", "ERR invalid expire time in 'psetex' command"),
        // A time that has passed leaves nothing that anybody could see.
        ("SET a 1 EXAT 1", "OK"),
        ("EXISTS a", ":0"),
        ("SET a 1 PXAT 1 GET", "nil"),
        ("GET a", "nil"),
    ]);
}

#[test]
fn getex() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("GETEX a", "nil"),
        ("GETEX a EX x", "nil"),
        ("SET a 1", "OK"),
        ("GETEX a", "1"),
        ("TTL a", ":-1"),
        ("GETEX a EX 100", "1"),
        ("TTL a", ":100"),
        ("GETEX a PX 200000", "1"),
        ("TTL a", ":200"),
        ("GETEX a", "1"),
        ("TTL a", ":200"),
        ("GETEX a PERSIST", "1"),
        ("TTL a", ":-1"),
        ("GETEX a EXAT 9999999999", "1"),
        ("EXPIRETIME a", &format!(":{FUTURE}")),
        ("GETEX a PXAT 9999999999001", "1"),
        ("PEXPIRETIME a", &format!(":{FUTURE}001")),
        ("GETEX a EX 0", "ERR invalid expire time in 'getex' command"),
        ("GETEX a EX x", NOT_AN_INTEGER),
        ("GETEX a EX", SYNTAX),
        ("GETEX a EX 1 PERSIST", SYNTAX),
        ("GETEX a PERSIST EX 1", SYNTAX),
        ("GETEX a KEEPTTL", SYNTAX),
        ("GETEX a NX", SYNTAX),
        ("GETEX a PXAT 1", "1"),
        ("EXISTS a", ":0"),
    ]);
}

#[test]
fn several_at_once() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("MSET a 1 b 2 a 3", "OK"),
        ("MGET a b nokey a", "[3 2 nil 3]"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("MSETNX a 1 b", "ERR wrong number of arguments for 'msetnx' command"),
        ("MSETNX c 1 a 2", ":0"),
        ("EXISTS c", ":0"),
        ("MSETNX c 1 d 2 c 3", ":1"),
        ("MGET c d", "[3 2]"),
    ]);
}

#[test]
fn parts_of_strings() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("APPEND a Hello", ":5"),
        ("APPEND a World", ":10"),
        ("APPEND a ''", ":10"),
        ("STRLEN a", ":10"),
        ("STRLEN nokey", ":0"),
        ("GETRANGE a 0 4", "Hello"),
        ("GETRANGE a -5 -1", "World"),
        ("GETRANGE a -1 -5", ""),
        ("GETRANGE a 5 100", "World"),
        ("GETRANGE a 100 200", ""),
        ("GETRANGE nokey 0 -1", ""),
        ("GETRANGE a x 1", NOT_AN_INTEGER),
        ("GETRANGE a 0 1.5", NOT_AN_INTEGER),
        ("SUBSTR a 0 0", "H"),
        ("SETRANGE a 5 Redis!", ":11"),
        ("GET a", "HelloRedis!"),
        ("SETRANGE a 2 ''", ":11"),
        ("SETRANGE nokey 2 ''", ":0"),
        ("EXISTS nokey", ":0"),
        ("SETRANGE b 2 x", ":3"),
        ("GETRANGE b 0 -1", "\0\0x"),
        ("SETRANGE a -1 x", "ERR offset is out of range"),
        ("SETRANGE a x x", NOT_AN_INTEGER),
        ("SETRANGE a 536870911 xx", TOO_LONG),
        ("SETRANGE nokey 9223372036854775807 x", TOO_LONG),
        ("EXISTS nokey", ":0"),
        // Numbers are strings, too.
        ("SET n 1234", "OK"),
        ("STRLEN n", ":4"),
        ("GETRANGE n 1 2", "23"),
        ("SETRANGE n 1 99", ":4"),
        ("APPEND n 5", ":5"),
        ("GET n", "19945"),
        ("INCR n", ":19946"),
    ]);
}

#[test]
fn the_longest_string() {
    let mut s = Server::start(&["--proto-max-bulk-len", "1mb"]);
    s.check(&[
        ("SETRANGE a 1048575 x", ":1048576"),
        ("APPEND a x", TOO_LONG),
        ("SETRANGE a 1048576 x", TOO_LONG),
        ("SETRANGE a 1048575 y", ":1048576"),
        ("SETRANGE b 1048576 x", TOO_LONG),
        ("LCS a a", "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"),
    ]);
}

#[test]
fn integers() {
    let mut s = Server::start(&[]);
    let overflow = "ERR increment or decrement would overflow";
    s.check(&[
        ("INCR n", ":1"),
        ("INCRBY n 10", ":11"),
        ("DECR n", ":10"),
        ("DECRBY n 20", ":-10"),
        ("DECRBY m 5", ":-5"),
        ("GET n", "-10"),
        ("OBJECT ENCODING n", "int"),
        ("INCRBY n x", NOT_AN_INTEGER),
        ("DECRBY n 1.0", NOT_AN_INTEGER),
        ("DECRBY n -9223372036854775808", "ERR decrement would overflow"),
        ("SET n 9223372036854775807", "OK"),
        ("INCR n", overflow),
        ("DECRBY n -1", overflow),
        ("SET n -9223372036854775808", "OK"),
        ("DECR n", overflow),
        ("INCRBY n 9223372036854775807", ":-1"),
        ("SET n 9223372036854775808", "OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("SET n 01", "OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("SET n ''", "OK"),
        ("INCR n", NOT_AN_INTEGER),
        // The expiry stays.
        ("SET n 1 EX 100", "OK"),
        ("INCR n", ":2"),
        ("TTL n", ":100"),
    ]);
    assert_eq!(s.text(&["SET", "n", " 1"]), "OK");
    assert_eq!(s.line("INCR n"), NOT_AN_INTEGER);
}

#[test]
fn floats() {
    let mut s = Server::start(&[]);
    let not_finite = "ERR increment would produce NaN or Infinity";
    s.check(&[
        ("INCRBYFLOAT f 10.5", "10.5"),
        ("INCRBYFLOAT f 0.1", "10.6"),
        ("INCRBYFLOAT f -10.6", "0"),
        ("SET f 5.0e3", "OK"),
        ("INCRBYFLOAT f 2.0e2", "5200"),
        ("INCRBYFLOAT f x", NOT_A_FLOAT),
        ("INCRBYFLOAT f nan", NOT_A_FLOAT),
        ("INCRBYFLOAT f inf", not_finite),
        ("INCRBYFLOAT f -inf", not_finite),
        ("SET f 1x", "OK"),
        ("INCRBYFLOAT f 1", NOT_A_FLOAT),
        ("SET f 3 EX 100", "OK"),
        ("INCRBYFLOAT f 0.00000000000000001", "3.00000000000000001"),
        ("TTL f", ":100"),
    ]);
    assert_eq!(s.text(&["INCRBYFLOAT", "f", " 1"]), NOT_A_FLOAT);
}

#[test]
fn lcs() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("MSET a ohmytext b mynewtext", "OK"),
        ("LCS a b", "mytext"),
        ("LCS a b LEN", ":6"),
        ("LCS a b IDX", "[matches [[[:4 :7] [:5 :8]] [[:2 :3] [:0 :1]]] len :6]"),
        ("LCS a b IDX MINMATCHLEN 4", "[matches [[[:4 :7] [:5 :8]]] len :6]"),
        (
            "LCS a b IDX WITHMATCHLEN MINMATCHLEN -1",
            "[matches [[[:4 :7] [:5 :8] :4] [[:2 :3] [:0 :1] :2]] len :6]",
        ),
        ("LCS a nokey", ""),
        ("LCS a nokey IDX", "[matches [] len :0]"),
        ("LCS a b IDX LEN", "ERR If you want both the length and indexes, please just use IDX."),
        ("LCS a b MINMATCHLEN", SYNTAX),
        ("LCS a b MINMATCHLEN x", NOT_AN_INTEGER),
        ("LCS a b FOO", SYNTAX),
    ]);
}

#[test]
fn replies_byte_for_byte() {
    let s = Server::start(&[]);
    let mut raw = s.raw();
    raw.send(b"SET a 12\r\nGET a\r\nGET b\r\nMGET a b\r\n");
    raw.expect(b"+OK\r\n$2\r\n12\r\n$-1\r\n*2\r\n$2\r\n12\r\n$-1\r\n");
    raw.hello3();
    raw.send(b"GET b\r\nMGET a b\r\nLCS a a IDX\r\nSETNX a 1\r\n");
    raw.expect(b"_\r\n*2\r\n$2\r\n12\r\n_\r\n%2\r\n$7\r\nmatches\r\n*1\r\n*2\r\n*2\r\n:0\r\n:1\r\n*2\r\n:0\r\n:1\r\n");
    raw.expect(b"$3\r\nlen\r\n:2\r\n:0\r\n");
}

#[test]
fn what_is_propagated() {
    let mut s = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let mut stream = s.replication_stream();
    s.check(&[
        ("DEBUG SET-ACTIVE-EXPIRE 0", "OK"),
        ("SET a 1", "OK"),
        ("SET a 1 NX", "nil"),
        ("SET a 2 EX 100", "OK"),
        ("SET a 3 XX GET KEEPTTL", "2"),
        ("SET a 4 IFEQ 3 GET", "3"),
        ("SET a 5 PXAT 9999999999000 GET", "4"),
        ("SETEX b 100 1", "OK"),
        ("PSETEX b 100000 1", "OK"),
        ("SETNX b 1", ":0"),
        ("SETNX c 1", ":1"),
        ("GETSET c 2", "1"),
        ("GETEX c EX 100", "2"),
        ("GETEX c", "2"),
        ("GETEX c PERSIST", "2"),
        ("GETEX c PERSIST", "2"),
        ("GETEX c EXAT 1", "2"),
        ("SET c 1", "OK"),
        ("SET c 1 PXAT 1", "OK"),
        ("SET c 1 PXAT 1", "OK"),
        ("GETDEL b", "1"),
        ("GETDEL b", "nil"),
        ("INCR n", ":1"),
        ("INCRBYFLOAT n 1.5", "2.5"),
        ("APPEND n ''", ":3"),
        ("SETRANGE n 1 ''", ":3"),
        ("MSETNX n 1 m 2", ":0"),
        ("MSET n 1 m 2", "OK"),
        ("GET n", "1"),
    ]);
    stream.expect(&[
        "SELECT 0",
        "SET a 1",
        "SET a 2 PXAT *",
        "SET a 3 XX KEEPTTL",
        "SET a 4",
        "SET a 5 PXAT 9999999999000",
        "SET b 1 PXAT *",
        "SET b 1 PXAT *",
        "SETNX c 1",
        "SET c 2",
        "PEXPIREAT c *",
        "PERSIST c",
        "DEL c",
        "SET c 1",
        "SET c 1 PXAT 1",
        "MULTI",
        "DEL c",
        "SET c 1 PXAT 1",
        "EXEC",
        "DEL b",
        "INCR n",
        "SET n 2.5 KEEPTTL",
        "APPEND n ",
        "MSET n 1 m 2",
    ]);
}

#[test]
fn what_counts_as_a_change() {
    let mut s = Server::start(&[]);
    let mut before = 0;
    for (line, changes) in [
        ("SET a 1", 1),
        ("SET a 1 NX", 0),
        ("SET a 1 EX 100", 1),
        ("GETEX a PERSIST", 1),
        ("GETEX a PERSIST", 0),
        ("MSET a 1 b 2 c 3", 3),
        ("MSETNX a 1 d 4", 0),
        ("APPEND a ''", 1),
        ("SETRANGE a 0 ''", 0),
        ("INCR a", 1),
        ("SET a 1 PXAT 1", 1),
        ("SET a 1 PXAT 1", 1),
        ("GETEX a PXAT 1", 0),
        ("GETDEL b", 1),
    ] {
        s.line(line);
        let after = s.info("rdb_changes_since_last_save");
        assert_eq!(after - before, changes, "{line}");
        before = after;
    }
}

/// Large values are written from where they lie, in the middle of a pipeline, and only as far as the socket takes them.
#[test]
fn a_large_value_keeps_its_place_among_the_replies() {
    let mut s = Server::start(&[]);
    let large = "x".repeat(3_000_000);
    assert_eq!(s.text(&["SET", "large", &large]), "OK");
    let bulk = format!("$3000000\r\n{large}\r\n");

    let mut raw = s.raw();
    raw.send("PING\r\nGET large\r\nECHO a\r\nSET large small\r\nGET large\r\n");
    raw.expect(format!("+PONG\r\n{bulk}$1\r\na\r\n+OK\r\n$5\r\nsmall\r\n"));

    assert_eq!(s.text(&["SET", "large", &large]), "OK");
    raw.send("MULTI\r\nECHO a\r\nGET large\r\nGET large\r\nDEL large\r\nEXEC\r\nPING\r\n");
    raw.expect(format!(
        "+OK\r\n{}*4\r\n$1\r\na\r\n{bulk}{bulk}:1\r\n+PONG\r\n",
        "+QUEUED\r\n".repeat(4)
    ));

    assert_eq!(s.text(&["SET", "large", &large]), "OK");
    raw.send("CLIENT REPLY SKIP\r\nGET large\r\nCLIENT REPLY OFF\r\nGET large\r\nCLIENT REPLY ON\r\nGETDEL large\r\n");
    raw.expect(format!("+OK\r\n{bulk}"));
    raw.send("GET large\r\n");
    raw.expect("$-1\r\n");
}

#[test]
fn a_large_value_counts_for_the_output_limit() {
    let mut s =
        Server::start(&["--client-output-buffer-limit", "normal 100000 0 0", "--appendonly", "no"]);
    assert_eq!(s.text(&["SET", "large", &"x".repeat(200_000)]), "OK");
    let mut raw = s.raw();
    raw.send("GET large\r\n");
    assert_eq!(raw.read_to_end(), b"");
}

#[test]
fn many_strings_are_set_with_one_expiry_and_condition() {
    let mut server = Server::start(&[]);
    let mut stream = server.replication_stream();
    server.check(&[
        ("MSETEX 2 a 1 b 2 PXAT 99999999999999", ":1"),
        ("MSETEX 2 a 3 c 4 NX", ":0"),
        ("MSETEX 2 a 3 c 4 XX", ":0"),
        ("MSETEX 1 a 5 XX KEEPTTL", ":1"),
        ("GET a", "5"),
        ("PEXPIRETIME a", ":99999999999999"),
        ("MSETEX 1 a 6", ":1"),
        ("TTL a", ":-1"),
        ("DELIFEQ a 5", ":0"),
        ("DELIFEQ a 6", ":1"),
        ("DELIFEQ a 6", ":0"),
        ("MSETEX 1 b 1 EXAT 1", ":1"),
        ("EXISTS b", ":0"),
        ("MSETEX 2 a 1 b", "ERR syntax error"),
        ("MSETEX 0 a 1", "ERR invalid numkeys value or out of range"),
        ("MSETEX -1 a 1", "ERR invalid numkeys value or out of range"),
        ("MSETEX 1000000000000 a 1", "ERR invalid numkeys value or out of range"),
        ("MSETEX 1 a 1 EX 0", "ERR invalid expire time in 'msetex' command"),
        ("MSETEX 1 a 1 EX x", "ERR value is not an integer or out of range"),
        ("MSETEX 1 a 1 EX 1 PX 1", "ERR syntax error"),
        ("MSETEX 1 a 1 NX XX", "ERR syntax error"),
        ("MSETEX 1 a 1 GET", "ERR syntax error"),
        ("RPUSH list 1", ":1"),
        ("DELIFEQ list 1", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("MSETEX 1 list 1", ":1"),
    ]);
    stream.expect(&[
        "MULTI",
        "SELECT 0",
        "SET a 1 PXAT 99999999999999",
        "SET b 2 PXAT 99999999999999",
        "EXEC",
        "SET a 5 KEEPTTL",
        "SET a 6",
        "DEL a",
        "SET b 1 PXAT 1000",
        "DEL b",
        "RPUSH list 1",
        "SET list 1",
    ]);
}

#[test]
fn what_was_computed_or_modified_stays_a_text() {
    let mut s = Server::start(&[]);
    for (before, change, encoding) in [
        ("SET k 1.5", "INCRBYFLOAT k 0.5", "embstr"),
        ("DEL k", "INCRBYFLOAT k 2", "embstr"),
        ("SET k 2 EX 100", "INCRBYFLOAT k 0", "embstr"),
        ("SET k 12", "SETBIT k 7 1", "raw"),
        ("SET k 12", "SETBIT k 7 0", "raw"),
        ("SET k abc", "SETBIT k 1 1", "raw"),
        ("SET k 12", "BITFIELD k SET u8 0 49", "raw"),
        ("SET k 12", "APPEND k ''", "raw"),
        ("APPEND k 1", "SET k 12", "int"),
        ("INCRBYFLOAT k 1", "INCR k", "int"),
    ] {
        s.line(before);
        s.line(change);
        assert_eq!(s.line("OBJECT ENCODING k"), encoding, "{before}, {change}");
        s.check(&[("COPY k other REPLACE", ":1"), ("RENAME other k", "OK")]);
        assert_eq!(s.line("OBJECT ENCODING k"), encoding, "{before}, {change}, copied");
    }
    s.check(&[("SET k 1.5 EX 100", "OK"), ("INCRBYFLOAT k 1.5", "3"), ("TTL k", ":100")]);
}
