//! Sets over the wire: every command with its options, and what is wrong with bad ones.

use crate::harness::Server;

#[test]
fn a_set_that_is_named_twice() {
    let mut server = Server::start(&[]);
    for members in [3, 1000] {
        let add: Vec<String> = (0..members).map(|n| format!("m{n}")).collect();
        let add: Vec<&str> =
            ["SADD", "s"].into_iter().chain(add.iter().map(String::as_str)).collect();
        server.cmd(&["DEL", "s", "d"]);
        server.cmd(&add);
        let all = format!(":{members}");
        server.check(&[
            ("SDIFF s s", "[]"),
            ("SDIFF s none s", "[]"),
            ("SDIFFSTORE d s s", ":0"),
            ("SINTERCARD 3 s s s", &all),
            ("SINTERSTORE d s s", &all),
            ("SINTERCARD 2 s none", ":0"),
            ("SDIFFSTORE d s none", &all),
        ]);
    }
}

#[test]
fn members_come_and_go() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SADD s a b a", ":2"),
        ("SADD s c", ":1"),
        ("SCARD s", ":3"),
        ("SISMEMBER s a", ":1"),
        ("SISMEMBER s z", ":0"),
        ("SMISMEMBER s a z c", "[:1 :0 :1]"),
        ("SMISMEMBER gone a", "[:0]"),
        ("SREM s a z", ":1"),
        ("SREM s b c", ":2"),
        ("EXISTS s", ":0"),
        ("SCARD s", ":0"),
        ("SREM s a", ":0"),
        ("SMEMBERS s", "[]"),
        ("SADD i 3 1 2", ":3"),
        ("OBJECT ENCODING i", "intset"),
        ("SADD i x", ":1"),
        ("OBJECT ENCODING i", "listpack"),
        ("SPOP gone", "nil"),
        ("SPOP gone 5", "[]"),
        ("SPOP i 0", "[]"),
        ("SPOP i -1", "ERR value is out of range, must be positive"),
        ("SPOP i x", "ERR value is out of range, must be positive"),
        ("SRANDMEMBER gone", "nil"),
        ("SRANDMEMBER gone 5", "[]"),
        ("SRANDMEMBER i 0", "[]"),
        ("SRANDMEMBER i -9223372036854775808", "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"),
        ("SRANDMEMBER i 9223372036854775808", "ERR value is not an integer or out of range"),
        ("SADD one x", ":1"),
        ("SRANDMEMBER one -3", "[x x x]"),
        ("SRANDMEMBER one 3", "[x]"),
        ("SPOP one 9", "[x]"),
        ("EXISTS one", ":0"),
        ("SADD s", "ERR wrong number of arguments for 'sadd' command"),
        ("SISMEMBER s", "ERR wrong number of arguments for 'sismember' command"),
        ("SREM s", "ERR wrong number of arguments for 'srem' command"),
    ]);
}

#[test]
fn members_move_between_sets() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SADD a 1 2", ":2"),
        ("SADD b 3", ":1"),
        ("SMOVE a b 1", ":1"),
        ("SMOVE a b 9", ":0"),
        ("SMOVE gone b 1", ":0"),
        ("SMOVE a a 2", ":1"),
        ("SCARD a", ":1"),
        ("SMOVE a c 2", ":1"),
        ("EXISTS a", ":0"),
        ("SISMEMBER c 2", ":1"),
        ("SET str x", "OK"),
        ("SMOVE str b 1", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SMOVE b str 1", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SMOVE b str 77", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn sets_are_combined() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SADD a 1 2 3", ":3"),
        ("SADD b 2 3 4", ":3"),
        ("SADD c 3", ":1"),
        ("SINTER a b c", "[3]"),
        ("SINTER a gone", "[]"),
        ("SDIFF a b", "[1]"),
        ("SDIFF gone a", "[]"),
        ("SUNION c c", "[3]"),
        ("SINTERCARD 2 a b", ":2"),
        ("SINTERCARD 2 a b LIMIT 1", ":1"),
        ("SINTERCARD 2 a b LIMIT 0", ":2"),
        ("SINTERCARD 0 a", "ERR numkeys should be greater than 0"),
        ("SINTERCARD x a", "ERR numkeys should be greater than 0"),
        ("SINTERCARD 3 a b", "ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 a LIMIT -1", "ERR LIMIT can't be negative"),
        ("SINTERCARD 1 a LIMIT x", "ERR LIMIT can't be negative"),
        ("SINTERCARD 1 a FOO", "ERR syntax error"),
        ("SINTERSTORE d a b", ":2"),
        ("SMISMEMBER d 1 2 3 4", "[:0 :1 :1 :0]"),
        ("SDIFFSTORE d a b", ":1"),
        ("SMEMBERS d", "[1]"),
        ("SUNIONSTORE d a b", ":4"),
        ("SCARD d", ":4"),
        ("SINTERSTORE d a gone", ":0"),
        ("EXISTS d", ":0"),
        ("SDIFFSTORE a a b", ":1"),
        ("SMEMBERS a", "[1]"),
        ("SET str x", "OK"),
        ("SINTER a str", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SUNIONSTORE str b", ":3"),
        ("TYPE str", "set"),
        ("SDIFF str", "[2 3 4]"),
    ]);
}

#[test]
fn scans() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SADD s abc", ":1"),
        ("SSCAN s 0", "[0 [abc]]"),
        ("SSCAN s 0 MATCH a* COUNT 5", "[0 [abc]]"),
        ("SSCAN s 0 MATCH b*", "[0 []]"),
        ("SSCAN s 0 COUNT 0", "ERR syntax error"),
        ("SSCAN s 0 COUNT x", "ERR value is not an integer or out of range"),
        ("SSCAN s x", "ERR invalid cursor"),
        ("SSCAN s 0 TYPE set", "ERR syntax error"),
        ("SSCAN gone 0", "[0 []]"),
    ]);
}
