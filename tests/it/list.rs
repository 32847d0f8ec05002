//! Lists over the wire: every command with its options and errors, blocking in all its turns, and what is propagated.

use crate::harness::Server;
use crate::harness::errors::{NOT_AN_INTEGER, SYNTAX, WRONG_TYPE};

#[test]
fn pushing_and_popping() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("RPUSH l a b c", ":3"),
        ("LPUSH l 1 2", ":5"),
        ("LRANGE l 0 -1", "[2 1 a b c]"),
        ("TYPE l", "list"),
        ("OBJECT ENCODING l", "listpack"),
        ("LPUSHX nokey a", ":0"),
        ("RPUSHX nokey a b", ":0"),
        ("EXISTS nokey", ":0"),
        ("LPUSHX l x", ":6"),
        ("RPUSHX l y z", ":8"),
        ("LPOP l", "x"),
        ("RPOP l", "z"),
        ("LPOP l 2", "[2 1]"),
        ("RPOP l 2", "[y c]"),
        ("LPOP l 0", "[]"),
        ("LPOP l -1", "ERR value is out of range, must be positive"),
        ("LPOP l x", "ERR value is out of range, must be positive"),
        ("LPOP l 1 1", "ERR wrong number of arguments for 'lpop' command"),
        ("RPOP nokey", "nil"),
        ("RPOP nokey 3", "nil"),
        ("LLEN l", ":2"),
        ("RPOP l 9223372036854775807", "[b a]"),
        ("EXISTS l", ":0"),
        ("LLEN l", ":0"),
        ("SET string v", "OK"),
        ("LPUSH string a", WRONG_TYPE),
        ("RPUSHX string a", WRONG_TYPE),
        ("LPOP string", WRONG_TYPE),
        ("LLEN string", WRONG_TYPE),
        ("GET string", "v"),
        ("LMPOP 2 nokey l LEFT", "nil"),
        ("RPUSH l a b c", ":3"),
        ("LMPOP 2 nokey l LEFT", "[l [a]]"),
        ("LMPOP 1 l RIGHT COUNT 9", "[l [c b]]"),
        ("LMPOP 2 string l LEFT", WRONG_TYPE),
        ("LMPOP 0 l LEFT", "ERR numkeys should be greater than 0"),
        ("LMPOP 9223372036854775807 l LEFT", SYNTAX),
        ("LMPOP 1 l LEFT COUNT 0", "ERR count should be greater than 0"),
        ("LMPOP 1 l UP", SYNTAX),
    ]);
}

#[test]
fn reading() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("RPUSH l a 1 a 2 a 3", ":6"),
        ("LINDEX l 0", "a"),
        ("LINDEX l -1", "3"),
        ("LINDEX l 6", "nil"),
        ("LINDEX l -9223372036854775808", "nil"),
        ("LINDEX l x", NOT_AN_INTEGER),
        ("LINDEX nokey x", "nil"),
        ("LRANGE l 1 2", "[1 a]"),
        ("LRANGE l -9223372036854775808 9223372036854775807", "[a 1 a 2 a 3]"),
        ("LRANGE l 4 1", "[]"),
        ("LRANGE nokey 0 -1", "[]"),
        ("LRANGE l 0 x", NOT_AN_INTEGER),
        ("LPOS l a", ":0"),
        ("LPOS l a RANK 2", ":2"),
        ("LPOS l a RANK -1", ":4"),
        ("LPOS l a COUNT 0", "[:0 :2 :4]"),
        ("LPOS l a COUNT 2 RANK -1", "[:4 :2]"),
        ("LPOS l a COUNT 0 MAXLEN 3", "[:0 :2]"),
        ("LPOS l a RANK -9223372036854775807", "nil"),
        ("LPOS l z", "nil"),
        ("LPOS l z COUNT 1", "[]"),
        ("LPOS nokey z", "nil"),
        ("LPOS nokey z COUNT 1", "[]"),
        ("LPOS l a COUNT -1", "ERR COUNT can't be negative"),
        ("LPOS l a FOO", SYNTAX),
        (
            "LPOS l a RANK 0",
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        ),
    ]);
}

#[test]
fn changing() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("RPUSH l a b c a b c", ":6"),
        ("LSET l 0 x", "OK"),
        ("LSET l -1 12", "OK"),
        ("LSET l 6 y", "ERR index out of range"),
        ("LSET l x y", NOT_AN_INTEGER),
        ("LSET nokey 0 y", "ERR no such key"),
        ("LINSERT l BEFORE b 1", ":7"),
        ("LINSERT l after b 2", ":8"),
        ("LINSERT l after q 2", ":-1"),
        ("LINSERT nokey after q 2", ":0"),
        ("LINSERT l near b 2", SYNTAX),
        ("LRANGE l 0 -1", "[x 1 b 2 c a b 12]"),
        ("LREM l -1 b", ":1"),
        ("LREM l 0 b", ":1"),
        ("LREM l 1 12", ":1"),
        ("LREM l 0 q", ":0"),
        ("LREM l x q", NOT_AN_INTEGER),
        ("LRANGE l 0 -1", "[x 1 2 c a]"),
        ("LTRIM l 1 -2", "OK"),
        ("LRANGE l 0 -1", "[1 2 c]"),
        ("LTRIM l 5 9", "OK"),
        ("EXISTS l", ":0"),
        ("LTRIM l 0 0", "OK"),
        ("RPUSH l a", ":1"),
        ("LREM l 0 a", ":1"),
        ("EXISTS l", ":0"),
    ]);
}

#[test]
fn moving() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("RPUSH a 1 2 3", ":3"),
        ("LMOVE a b LEFT RIGHT", "1"),
        ("LMOVE a b right left", "3"),
        ("LRANGE b 0 -1", "[3 1]"),
        ("RPOPLPUSH a b", "2"),
        ("EXISTS a", ":0"),
        ("LMOVE a b LEFT RIGHT", "nil"),
        ("RPOPLPUSH b b", "1"),
        ("LRANGE b 0 -1", "[1 2 3]"),
        ("LMOVE b b LEFT UP", SYNTAX),
        ("SET s v", "OK"),
        ("LMOVE b s LEFT LEFT", WRONG_TYPE),
        ("LMOVE s b LEFT LEFT", WRONG_TYPE),
        ("LLEN b", ":3"),
        ("RPUSH one x", ":1"),
        ("LMOVE one one LEFT RIGHT", "x"),
        ("LRANGE one 0 -1", "[x]"),
    ]);
}

#[test]
fn encodings_follow_the_size() {
    let mut s = Server::start(&["--list-max-listpack-size", "3"]);
    s.check(&[
        ("RPUSH l a b c", ":3"),
        ("OBJECT ENCODING l", "listpack"),
        ("RPUSH l d", ":4"),
        ("OBJECT ENCODING l", "quicklist"),
        ("LTRIM l 0 1", "OK"),
        ("OBJECT ENCODING l", "quicklist"),
        ("LTRIM l 0 0", "OK"),
        ("OBJECT ENCODING l", "listpack"),
        ("CONFIG SET list-max-listpack-size -1", "OK"),
    ]);
    let big = "x".repeat(5000);
    assert_eq!(s.text(&["RPUSH", "l", &big]), ":2");
    assert_eq!(s.line("OBJECT ENCODING l"), "quicklist");
    assert_eq!(s.text(&["LINDEX", "l", "1"]), big);
}

#[test]
fn blocking_pops() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("RPUSH a 1 2", ":2"),
        ("BLPOP nokey a 0", "[a 1]"),
        ("BRPOP a 0", "[a 2]"),
        ("BLPOP a 0.01", "nil"),
        ("BLMPOP 0.01 1 a LEFT", "nil"),
        ("BLMOVE a b LEFT LEFT 0.01", "nil"),
        ("BLPOP a -1", "ERR timeout is negative"),
        ("BLPOP a x", "ERR timeout is not a float or out of range"),
        ("BLPOP a nan", "ERR timeout is not a float or out of range"),
        ("BLPOP a 1e300", "ERR timeout is out of range"),
        ("SET s v", "OK"),
        ("BLPOP s 0", WRONG_TYPE),
        ("BLMOVE s b LEFT LEFT 0", WRONG_TYPE),
    ]);
    let mut first = s.blocked("BLPOP k other k 0");
    let mut second = s.blocked("BRPOP k 0");
    let mut third = s.blocked("BLMPOP 0 1 k RIGHT COUNT 2");
    assert_eq!((s.info("total_blocking_keys"), s.info("blocked_clients")), (2, 3));
    // Of one push they see all, in the order in which they came.
    assert_eq!(s.line("RPUSH k a b c d e"), ":5");
    first.expect(b"*2\r\n$1\r\nk\r\n$1\r\na\r\n");
    second.expect(b"*2\r\n$1\r\nk\r\n$1\r\ne\r\n");
    third.expect(b"*2\r\n$1\r\nk\r\n*2\r\n$1\r\nd\r\n$1\r\nc\r\n");
    assert_eq!(s.line("LRANGE k 0 -1"), "[b]");
    assert_eq!((s.info("total_blocking_keys"), s.info("blocked_clients")), (0, 0));
    // What was pipelined behind goes on.
    first.send(b"BLPOP x 0\r\nPING\r\n");
    s.wait_for("INFO clients", |info| info.contains("blocked_clients:1"));
    s.line("RPUSH x 1");
    first.expect(b"*2\r\n$1\r\nx\r\n$1\r\n1\r\n+PONG\r\n");
}

#[test]
fn a_time_out_is_null_in_either_protocol() {
    let mut s = Server::start(&[]);
    let mut raw = s.raw();
    raw.send(b"BLPOP k 0.02\r\nBLMOVE k k LEFT LEFT 0.02\r\nHELLO 3\r\n");
    raw.expect(b"*-1\r\n*-1\r\n%7\r\n");
    let mut raw = s.raw();
    raw.hello3();
    raw.send(b"BLPOP k 0.02\r\n");
    raw.expect(b"_\r\n");
    s.check(&[("CONFIG RESETSTAT", "OK"), ("BLPOP k 0.01", "nil")]);
    assert!(s.line("INFO commandstats").contains("cmdstat_blpop:calls=1,"));
}

#[test]
fn chains_of_moves() {
    let mut s = Server::start(&[]);
    let mut last = s.blocked("BLPOP c 0");
    let mut middle = s.blocked("BRPOPLPUSH b c 0");
    let mut first = s.blocked("BLMOVE a b LEFT RIGHT 0");
    s.line("RPUSH a x");
    first.expect(b"$1\r\nx\r\n");
    middle.expect(b"$1\r\nx\r\n");
    last.expect(b"*2\r\n$1\r\nc\r\n$1\r\nx\r\n");
    s.check(&[("EXISTS a b c", ":0")]);
    // A move that can't push fails, and leaves the element.
    let mut raw = s.blocked("BLMOVE a s LEFT RIGHT 0");
    s.check(&[("SET s v", "OK"), ("RPUSH a x", ":1")]);
    raw.expect(format!("-{WRONG_TYPE}\r\n").as_bytes());
    s.check(&[("LRANGE a 0 -1", "[x]")]);
}

#[test]
fn keys_come_into_being_in_many_ways() {
    let mut s = Server::start(&[]);
    let awoken = |s: &mut Server, commands: &[&str]| {
        let mut raw = s.blocked("BLPOP k 0");
        for command in commands {
            s.line(command);
        }
        raw.expect(b"*2\r\n$1\r\nk\r\n$1\r\nx\r\n");
    };
    awoken(&mut s, &["RPUSH l x", "RENAME l k"]);
    awoken(&mut s, &["RPUSH l x", "COPY l k"]);
    awoken(&mut s, &["SELECT 1", "RPUSH k x", "MOVE k 0", "SELECT 0"]);
    awoken(&mut s, &["SELECT 1", "RPUSH k x", "SWAPDB 0 1", "SELECT 0"]);
    // Other types, and what is gone again, awake nobody.
    let mut raw = s.blocked("BLPOP k 0");
    s.check(&[("SET k v", "OK"), ("LPUSH k a", WRONG_TYPE), ("DEL k", ":1")]);
    s.check(&[("RPUSH l x v", ":2"), ("LPOP l", "x"), ("RENAME l k", "OK")]);
    raw.expect(b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
}

#[test]
fn blocked_clients_are_unblocked_killed_and_disconnected() {
    let mut s = Server::start(&[]);
    let mut raw = s.raw();
    raw.send(b"CLIENT ID\r\n");
    let id = raw.line().trim_start_matches(':').to_string();
    let mut block = |s: &mut Server| {
        raw.send(b"BLPOP k 0\r\n");
        s.wait_for("INFO clients", |info| info.contains("blocked_clients:1"));
    };
    block(&mut s);
    s.check(&[(&format!("CLIENT UNBLOCK {id} TIMEOUT"), ":1")]);
    s.check(&[(&format!("CLIENT UNBLOCK {id}"), ":0")]);
    block(&mut s);
    s.check(&[(&format!("CLIENT UNBLOCK {id} ERROR"), ":1")]);
    block(&mut s);
    s.check(&[(&format!("CLIENT KILL ID {id}"), ":1"), ("RPUSH k x", ":1"), ("LLEN k", ":1")]);
    raw.expect(b"*-1\r\n-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    // One that has gone takes nothing with it.
    s.line("DEL k");
    drop(s.blocked("BLPOP k 0"));
    s.wait_for("INFO clients", |info| info.contains("blocked_clients:0"));
    s.check(&[("RPUSH k x", ":1"), ("LLEN k", ":1"), ("DEL k", ":1")]);
    // A server that becomes a replica can't decide any more.
    let mut raw = s.blocked("BLPOP k 0");
    s.check(&[("REPLICAOF 127.0.0.1 1", "OK")]);
    raw.expect(
        b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
    );
}

#[test]
fn pops_are_propagated_by_their_effect() {
    let mut s = Server::start(&[]);
    let mut stream = s.replication_stream();
    s.check(&[
        ("RPUSH k a b c d", ":4"),
        ("BLPOP k 0", "[k a]"),
        ("LMPOP 1 k RIGHT COUNT 2", "[k [d c]]"),
    ]);
    s.check(&[("BLMOVE k l LEFT LEFT 0", "b"), ("BRPOPLPUSH l k 0", "b"), ("DEL k", ":1")]);
    let mut waiting = s.blocked("BRPOP k 0");
    s.line("RPUSH k x y");
    waiting.expect(b"*2\r\n$1\r\nk\r\n$1\r\ny\r\n");
    stream.expect(&[
        "SELECT 0",
        "RPUSH k a b c d",
        "LPOP k",
        "RPOP k 2",
        "LMOVE k l LEFT LEFT",
        "RPOPLPUSH l k",
        "DEL k",
        "RPUSH k x y",
        "RPOP k",
    ]);
}

#[test]
fn lists_survive_dump_and_reload() {
    let mut s = Server::start(&["--list-max-listpack-size", "4", "--list-compress-depth", "1"]);
    for n in 0..100 {
        s.text(&["RPUSH", "l", &"abc ".repeat(n), &n.to_string()]);
    }
    let before = s.line("LRANGE l 0 -1");
    s.check(&[("RPUSH small a 1", ":2"), ("DEBUG RELOAD", "OK")]);
    assert_eq!(s.line("LRANGE l 0 -1"), before);
    s.check(&[
        ("OBJECT ENCODING l", "quicklist"),
        ("OBJECT ENCODING small", "listpack"),
        ("LRANGE small 0 -1", "[a 1]"),
        ("CONFIG SET list-max-listpack-size 1", "OK"),
        ("DEBUG RELOAD", "OK"),
        ("OBJECT ENCODING small", "quicklist"),
    ]);
}

#[test]
fn of_two_faults_the_first_is_told() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("LMPOP 1 l LEFT COUNT 0 COUNT 2", "ERR count should be greater than 0"),
        ("LMPOP 1 l LEFT COUNT 1 COUNT 0", "ERR syntax error"),
        ("LMPOP 1 l FOO COUNT 0", "ERR syntax error"),
        ("BLMPOP x 1 l LEFT COUNT x FOO", "ERR count should be greater than 0"),
        ("BLMPOP x 1 l LEFT COUNT 1", "ERR timeout is not a float or out of range"),
    ]);
}
