//! Hashes over the wire: every command with its options, expiry of fields, and what is wrong with bad requests.

use crate::harness::Server;

#[test]
fn fields_are_set_and_read() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("HSET h a 1 b 2", ":2"),
        ("HSET h a 3 c 4", ":1"),
        ("HSET h a", "ERR wrong number of arguments for 'hset' command"),
        ("HSET h a 1 b", "ERR wrong number of arguments for 'hset' command"),
        ("HMSET h d 5", "OK"),
        ("HMSET h d", "ERR wrong number of arguments for 'hmset' command"),
        ("HSETNX h a 9", ":0"),
        ("HSETNX h e 9", ":1"),
        ("HGET h a", "3"),
        ("HGET h z", "nil"),
        ("HGET gone a", "nil"),
        ("HMGET h a z d", "[3 nil 5]"),
        ("HMGET gone a b", "[nil nil]"),
        ("HLEN h", ":5"),
        ("HSTRLEN h e", ":1"),
        ("HSTRLEN h z", ":0"),
        ("HEXISTS h a", ":1"),
        ("HEXISTS h z", ":0"),
        ("HDEL h a z b", ":2"),
        ("HDEL h c d e", ":3"),
        ("EXISTS h", ":0"),
        ("HGETALL h", "[]"),
        ("HKEYS h", "[]"),
        ("HVALS h", "[]"),
        ("HSET one f v", ":1"),
        ("HGETALL one", "[f v]"),
        ("HKEYS one", "[f]"),
        ("HVALS one", "[v]"),
        ("OBJECT ENCODING one", "listpack"),
        ("HRANDFIELD one", "f"),
        ("HRANDFIELD gone", "nil"),
        ("HRANDFIELD gone 3", "[]"),
        ("HRANDFIELD one -2", "[f f]"),
        ("HRANDFIELD one 5 WITHVALUES", "[f v]"),
        ("HRANDFIELD one 0", "[]"),
        ("HRANDFIELD one -9223372036854775808", "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"),
        ("HRANDFIELD one -9223372036854775808 WITHVALUES", "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"),
        ("HRANDFIELD one 1 FOO", "ERR syntax error"),
        ("HSCAN one 0", "[0 [f v]]"),
        ("HSCAN one 0 NOVALUES", "[0 [f]]"),
        ("HSCAN one 0 MATCH x* COUNT 9", "[0 []]"),
        ("HSCAN one 0 COUNT 0", "ERR syntax error"),
        ("HSCAN gone 0 COUNT 0", "[0 []]"),
        ("SET str x", "OK"),
        ("HGET str f", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HSET str f v", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HLEN str", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn a_random_field_of_what_has_expired_expires_it() {
    let mut s = Server::start(&["--enable-debug-command", "yes"]);
    s.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "OK")]);
    for (request, reply) in
        [("HRANDFIELD h", "nil"), ("HRANDFIELD h 3", "[]"), ("HRANDFIELD h -3", "[]")]
    {
        s.check(&[("HSET h a 1 b 2", ":2"), ("HPEXPIRE h 1 FIELDS 2 a b", "[:1 :1]")]);
        s.pass(2);
        s.check(&[("EXISTS h", ":1"), (request, reply), ("EXISTS h", ":0")]);
    }
}

#[test]
fn numbers_are_added() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("HINCRBY h n 5", ":5"),
        ("HINCRBY h n -7", ":-2"),
        ("HSET h big 9223372036854775807 t text", ":2"),
        ("HINCRBY h big 1", "ERR increment or decrement would overflow"),
        ("HINCRBY h big x", "ERR value is not an integer or out of range"),
        ("HINCRBY h t 1", "ERR hash value is not an integer"),
        ("HINCRBY h n 9223372036854775808", "ERR value is not an integer or out of range"),
        ("HINCRBYFLOAT h f 1.5", "1.5"),
        ("HINCRBYFLOAT h f -0.25", "1.25"),
        ("HINCRBYFLOAT h n 1e3", "998"),
        ("HINCRBYFLOAT h t 1", "ERR hash value is not a float"),
        ("HINCRBYFLOAT h f nan", "ERR value is not a valid float"),
        ("HINCRBYFLOAT h f inf", "ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h f x", "ERR value is not a valid float"),
        ("HGET h f", "1.25"),
    ]);
}

#[test]
fn fields_expire() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HEXPIRE h 1000 FIELDS 2 a z", "[:1 :-2]"),
        ("HTTL h FIELDS 3 a b z", "[:1000 :-1 :-2]"),
        ("HEXPIRE gone 10 FIELDS 1 a", "[:-2]"),
        ("HTTL gone FIELDS 1 a", "[:-2]"),
        ("HEXPIRE h 2000 NX FIELDS 2 a b", "[:0 :1]"),
        ("HEXPIRE h 5000 XX FIELDS 2 a c", "[:1 :0]"),
        ("HEXPIRE h 10 GT FIELDS 2 a c", "[:0 :0]"),
        ("HEXPIRE h 9000 LT FIELDS 2 a c", "[:0 :1]"),
        ("HPERSIST h FIELDS 3 a b z", "[:1 :1 :-2]"),
        ("HPERSIST h FIELDS 1 a", "[:-1]"),
        (
            "HPEXPIREAT h 99999999999999 FIELDS 1 a",
            "ERR invalid expire time in 'hpexpireat' command",
        ),
        ("HPEXPIRETIME h FIELDS 2 a b", "[:-1 :-1]"),
        ("HEXPIRETIME h FIELDS 1 a", "[:-1]"),
        ("HEXPIREAT h 1 FIELDS 1 a", "[:2]"),
        ("HGET h a", "nil"),
        ("HPEXPIRE h 0 FIELDS 1 b", "[:2]"),
        ("HLEN h", ":1"),
        ("HEXPIRE h 0 FIELDS 1 c", "[:2]"),
        ("EXISTS h", ":0"),
        ("HSET h f v", ":1"),
        ("HEXPIRE h -1 FIELDS 1 f", "ERR invalid expire time, must be >= 0"),
        ("HEXPIRE h x FIELDS 1 f", "ERR value is not an integer or out of range"),
        (
            "HEXPIRE h 9223372036854775807 FIELDS 1 f",
            "ERR invalid expire time in 'hexpire' command",
        ),
        (
            "HPEXPIREAT h 70368744177664 FIELDS 1 f",
            "ERR invalid expire time in 'hpexpireat' command",
        ),
        ("HEXPIRE h 1 FIELDS 0 f", "ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE h 1 FIELDS x f", "ERR Parameter `numFields` should be greater than 0"),
        (
            "HEXPIRE h 1 FIELDS 2 f",
            "ERR The `numfields` parameter must match the number of arguments",
        ),
        (
            "HEXPIRE h 1 FOO FIELDS 1 f",
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ),
        ("HTTL h FIELDS 0 f", "ERR Number of fields must be a positive integer"),
        ("HTTL h FIELDS 2 f", "ERR The `numfields` parameter must match the number of arguments"),
        (
            "HPERSIST h FOO 1 f",
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ),
        ("SET str x", "OK"),
        (
            "HEXPIRE str x FIELDS 1 f",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "HTTL str FIELDS 0 f",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
}

#[test]
fn values_and_expiry_in_one_go() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("HSETEX h EX 1000 FIELDS 2 a 1 b 2", ":1"),
        ("HTTL h FIELDS 2 a b", "[:1000 :1000]"),
        ("HSETEX h FNX FIELDS 2 a 9 c 3", ":0"),
        ("HSETEX h FNX FIELDS 1 c 3", ":1"),
        ("HSETEX h FXX KEEPTTL FIELDS 1 a 5", ":1"),
        ("HTTL h FIELDS 1 a", "[:1000]"),
        ("HSETEX h FXX FIELDS 2 a 6 z 1", ":0"),
        ("HGETEX h FIELDS 2 a z", "[5 nil]"),
        ("HGETEX h PERSIST FIELDS 1 a", "[5]"),
        ("HTTL h FIELDS 1 a", "[:-1]"),
        ("HGETEX h PXAT 99999999999999 FIELDS 1 c", "ERR invalid expire time in 'hgetex' command"),
        ("HPEXPIRETIME h FIELDS 1 c", "[:-1]"),
        ("HGETEX h EXAT 1 FIELDS 1 c", "[3]"),
        ("HGET h c", "nil"),
        ("HGETDEL h FIELDS 2 a z", "[5 nil]"),
        ("HGETDEL h FIELDS 1 b", "[2]"),
        ("EXISTS h", ":0"),
        ("HGETDEL h FIELDS 1 b", "[nil]"),
        ("HGETEX gone FIELDS 1 a", "[nil]"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "ERR Only one of FXX or FNX arguments can be specified"),
        (
            "HSETEX h EX 1 PX 1 FIELDS 1 a 1",
            "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        ),
        ("HSETEX h EX x FIELDS 0 a 1", "ERR value is not an integer or out of range"),
        ("HSETEX h EX -1 FIELDS 1 a 1", "ERR invalid expire time, must be >= 0"),
        ("HSETEX h FIELDS 2 a 1", "ERR wrong number of arguments for 'hsetex' command"),
        ("HSETEX h FIELDS x a 1", "ERR invalid number of fields"),
        ("HSETEX h FOO FIELDS 1 a 1", "ERR unknown argument: FOO"),
        ("HSET h a 1", ":1"),
        ("HGETEX h EX 0 FIELDS x a", "ERR Number of fields must be a positive integer"),
        ("HGETEX h EX x FIELDS 1 a", "ERR value is not an integer or out of range"),
        ("HGETEX h FIELDS 2 a", "ERR The `numfields` parameter must match the number of arguments"),
        ("HGETDEL h FIELDS 0 a", "ERR Number of fields must be a positive integer"),
        ("SET str x", "OK"),
        (
            "HGETEX str EX x FIELDS 1 a",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "HSETEX str FIELDS 1 a 1",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "HGETDEL str FIELDS 1 a",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
}

#[test]
fn a_field_that_is_named_twice_is_gone_the_second_time() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("HSET h f v g w", ":2"),
        ("HGETEX h EXAT 1 FIELDS 2 f f", "[v nil]"),
        ("HGETDEL h FIELDS 2 g g", "[w nil]"),
        ("EXISTS h", ":0"),
        ("HSET h f v", ":1"),
        ("HGETEX h EX 100 FIELDS 2 f f", "[v v]"),
        ("HEXPIRE h 0 FIELDS 2 f f", "[:2 :-2]"),
    ]);
}
