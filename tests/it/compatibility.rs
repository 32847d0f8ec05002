//! Corners in which a comparison of random commands with Redis 7.2 found a difference: what it answered there.

use crate::harness::Server;
use crate::harness::errors::NOT_AN_INTEGER;

#[test]
fn arguments_are_read_as_c_reads_them() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SELECT 2147483648", "ERR value is out of range, value must between -2147483648 and 2147483647"),
        ("SELECT x", NOT_AN_INTEGER),
        // A long double has more room than a double.
        ("BLPOP nokey 1e400", "ERR timeout is out of range"),
        ("BLPOP nokey -1e400", "ERR timeout is negative"),
        ("BLPOP nokey 1e5000", "ERR timeout is not a float or out of range"),
        ("LOLWUT VERSION x", NOT_AN_INTEGER),
        ("WAITAOF 0 x 0", "ERR value is out of range, must be positive"),
        ("CONFIG SET hz 10 port", "ERR syntax error"),
        ("CONFIG SET auto-aof-rewrite-min-size ''", "OK"),
        ("CONFIG SET auto-aof-rewrite-min-size mb", "OK"),
        (
            "CONFIG SET maxmemory-clients 9223372036854775808",
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be \
             less or equal to 100",
        ),
    ]);
    // White space in front of a part of a stream ID.
    assert_eq!(s.text(&["XADD", "x", " 1- 2", "f", "v"]), "1-2");
    assert_eq!(s.text(&["XRANGE", "x", " 1", "\t2"]), "[[1-2 [f v]]]");
}

#[test]
fn too_many_arguments_of_a_subcommand() {
    let mut s = Server::start(&[]);
    s.check(&[
        (
            "SLOWLOG GET 1 2",
            "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
        ),
        (
            "CLIENT UNBLOCK 1 TIMEOUT x",
            "ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
        ),
        ("COMMAND GETKEYS OBJECT NOSUCH k", "ERR Invalid command specified"),
        ("COMMAND GETKEYS RESTORE-ASKING k 0 x", "[k]"),
        (
            "CLIENT SETINFO LIB-NAME é",
            "ERR LIB-NAME cannot contain spaces, newlines or special characters.",
        ),
    ]);
    let long = "x".repeat(300);
    assert_eq!(
        s.text(&["REPLCONF", "ip-address", &long]),
        "ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes"
    );
}

#[test]
fn what_is_missing_is_seen_before_the_options() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SSCAN nokey 0 COUNT x", "[0 []]"),
        ("HSCAN nokey 0 x", "[0 []]"),
        ("ZSCAN nokey 0 COUNT 0", "[0 []]"),
        ("SSCAN nokey x", "ERR invalid cursor"),
    ]);
}

#[test]
fn numbers_look_as_they_do_in_redis() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("ZADD z 1e16 a 0.1 b inf c", ":3"),
        ("ZSCAN z 0", "[0 [b 0.1 a 10000000000000000 c inf]]"),
        ("DEBUG DIGEST-VALUE z", "[fb4fef891770939c6be8c4b321dbaaff843cf9e5]"),
        // Only a listpack keeps scores as text.
        ("CONFIG SET zset-max-listpack-entries 0", "OK"),
        ("ZADD large 0.1 b", ":1"),
        ("ZSCAN large 0", "[0 [b 0.10000000000000001]]"),
        ("ZADD g -1 negative 2 a", ":2"),
        ("GEORADIUSBYMEMBER g negative 5000 km", "[]"),
        ("XADD x 1-1 a b c d", "1-1"),
        ("XADD x 2-1 a 5", "2-1"),
        ("DEBUG DIGEST-VALUE x", "[cd16fe4c6d76ace9ea19108077eb1b1a5c178f59]"),
    ]);
}

#[test]
fn what_bitop_makes_is_raw() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SET a 12", "OK"),
        ("BITOP OR new a", ":2"),
        ("OBJECT ENCODING new", "raw"),
        ("SET there x EX 100", "OK"),
        ("BITOP OR there a", ":2"),
        ("OBJECT ENCODING there", "raw"),
        ("GET there", "12"),
        ("TTL there", ":-1"),
    ]);
}

#[test]
fn places_are_propagated_as_scores() {
    let mut s = Server::start(&[]);
    let mut stream = s.replication_stream();
    s.check(&[
        ("GEOADD g NX CH 13.361389 38.115556 a 15.087269 37.502669 b", ":2"),
        ("GEOADD g XX 1 1 nobody", ":0"),
        ("SET end 1", "OK"),
    ]);
    assert_eq!(stream.next().join(" "), "SELECT 0");
    assert_eq!(stream.next().join(" "), "zadd g NX CH 3479099956230698 a 3479447370796909 b");
    assert_eq!(stream.next().join(" "), "SET end 1");
}

#[test]
fn a_user_may_have_no_name() {
    let mut s = Server::start(&[]);
    assert_eq!(s.text(&["ACL", "SETUSER", "", "+get"]), "OK");
    assert_eq!(
        s.text(&["ACL", "LIST"]),
        "[user  off sanitize-payload resetchannels -@all +get user default on nopass sanitize-payload ~* &* +@all]"
    );
}

#[test]
fn numbers_in_scripts_are_those_of_c() {
    let mut s = Server::start(&[]);
    for (script, reply) in [
        // What no integer can hold is the smallest of them.
        ("return 1e19", ":-9223372036854775808"),
        ("return -1e19", ":-9223372036854775808"),
        ("return 0/0", ":-9223372036854775808"),
        ("return -3.7", ":-3"),
        ("return cjson.decode('nan')", ":-9223372036854775808"),
        ("redis.call('set', KEYS[1], 0/0) return redis.call('get', KEYS[1])", "-nan"),
        ("return {cjson.encode_sparse_array()}", "[nil :2 :10]"),
        ("return {cjson.encode_sparse_array(true, 3, 9)}", "[:1 :3 :9]"),
        ("return cjson.encode_invalid_numbers('null')", "null"),
        ("return cjson.encode_invalid_numbers('off')", "nil"),
        ("return cjson.encode_invalid_numbers(true)", ":1"),
        ("return bit.tobit(1e19)", ":1620131072"),
        ("return bit.tobit(2.5)", ":2"),
        ("return bit.tobit(-2^31 - 1)", ":2147483647"),
        ("return struct.pack('>I8', 1e19) == '\\138\\199\\35\\4\\137\\232\\0\\0'", ":1"),
        ("return struct.pack('i2', 1/0) == '\\0\\0'", ":1"),
        ("return struct.pack('>i8', 0/0) == '\\128\\0\\0\\0\\0\\0\\0\\0'", ":1"),
        ("return cmsgpack.unpack('\\207\\255\\255\\255\\255\\255\\255\\255\\255')", ":-1"),
    ] {
        assert_eq!(s.text(&["EVAL", script, "1", "k"]), reply, "{script}");
    }
}

#[test]
fn errors_of_the_libraries_of_scripts() {
    let mut s = Server::start(&[]);
    for (script, error) in [
        ("struct.pack('bb', 1)", "bad argument #3 to 'pack' (number expected, got nil)"),
        ("struct.pack('s')", "bad argument #2 to 'pack' (string expected, got nil)"),
        (
            "struct.unpack('i4', 'abcd', 0)",
            "bad argument #3 to 'unpack' (offset must be 1 or greater)",
        ),
        ("struct.unpack('i4', 'abcd', -1)", "bad argument #2 to 'unpack' (data string too short)"),
        ("bit.tohex(nil, nil)", "bad argument #1 to 'tohex' (number expected, got nil)"),
        (
            "cjson.encode_keep_buffer('x')",
            "bad argument #1 to 'encode_keep_buffer' (invalid option 'x')",
        ),
        (
            "cjson.encode_invalid_numbers({})",
            "bad argument #1 to 'encode_invalid_numbers' (string expected, got table)",
        ),
        ("cjson.decode('.5')", "Expected value but found invalid token at character 1"),
        ("cjson.decode('[1\\0]')", "Expected comma or array end but found T_END at character 3"),
    ] {
        let script = format!("local ok, e = pcall(function() {script} end) return e");
        assert_eq!(s.text(&["EVAL", &script, "0"]), format!("user_script:1: {error}"), "{script}");
    }
    let script = "local ok, e = pcall(rawset, _G, 'a', 1) return e";
    assert_eq!(s.text(&["EVAL", script, "0"]), "Attempt to modify a readonly table");
}
