//! Bitmaps, bit fields and HyperLogLogs over the wire, with their errors and bounds, and what is propagated.

use crate::harness::Server;
use crate::harness::errors::WRONG_TYPE;

const BAD_OFFSET: &str = "ERR bit offset is not an integer or out of range";

#[test]
fn single_bits() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SETBIT b 7 1", ":0"),
        ("SETBIT b 7 1", ":1"),
        ("SETBIT b 20 1", ":0"),
        ("STRLEN b", ":3"),
        ("GETBIT b 20", ":1"),
        ("GETBIT b 21", ":0"),
        ("GETBIT b 4294967295", ":0"),
        ("GETBIT none 0", ":0"),
        ("SETBIT b 4294967296 1", BAD_OFFSET),
        ("SETBIT b -1 1", BAD_OFFSET),
        ("SETBIT b x 1", BAD_OFFSET),
        ("GETBIT b 9223372036854775808", BAD_OFFSET),
        ("SETBIT b 0 2", "ERR bit is not an integer or out of range"),
        ("SET n 12", "OK"),
        ("SETBIT n 0 0", ":0"),
        ("GET n", "12"),
        ("SETBIT n 6 1", ":0"),
        ("GET n", "32"),
        ("INCR n", ":33"),
        ("RPUSH l a", ":1"),
        ("SETBIT l 0 1", WRONG_TYPE),
        ("GETBIT l 0", WRONG_TYPE),
        ("BITCOUNT l", WRONG_TYPE),
        ("BITPOS l 1", WRONG_TYPE),
        ("BITOP AND d l", WRONG_TYPE),
        ("BITFIELD l GET u8 0", WRONG_TYPE),
        ("PFADD l a", WRONG_TYPE),
        ("PFCOUNT l", WRONG_TYPE),
    ]);
}

#[test]
fn counting_and_finding() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SET b foobar", "OK"),
        ("BITCOUNT b", ":26"),
        ("BITCOUNT b 0 0", ":4"),
        ("BITCOUNT b 1 1", ":6"),
        ("BITCOUNT b 5 30 BIT", ":17"),
        ("BITCOUNT b -2 -1 BYTE", ":7"),
        ("BITCOUNT b -1 -5", ":0"),
        ("BITCOUNT b 5 1", ":0"),
        ("BITCOUNT b 0 x y", "ERR value is not an integer or out of range"),
        ("BITCOUNT b 0 1 y", "ERR syntax error"),
        ("BITCOUNT b -9223372036854775808 9223372036854775807", ":26"),
        ("BITCOUNT b 0 1 x", "ERR syntax error"),
        ("BITCOUNT none", ":0"),
        ("BITPOS b 1", ":1"),
        ("BITPOS b 0", ":0"),
        ("BITPOS b 1 2", ":17"),
        ("BITPOS b 1 9 12 BIT", ":9"),
        ("BITPOS b 0 -1", ":40"),
        ("BITPOS b 1 100", ":-1"),
        ("BITPOS b 2", "ERR The bit argument must be 1 or 0."),
        ("BITPOS none 1", ":-1"),
        ("BITPOS none 0", ":0"),
        ("BITFIELD ones SET u16 0 65535", "[:0]"),
        ("BITPOS ones 0", ":16"),
        ("BITPOS ones 0 0 -1", ":-1"),
        ("BITPOS ones 0 1", ":16"),
    ]);
}

#[test]
fn combining() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("SET a abc", "OK"),
        ("SET b AB", "OK"),
        ("BITOP AND d a b", ":3"),
        ("BITOP OR d a b", ":3"),
        ("GET d", "abc"),
        ("BITOP XOR d a b", ":3"),
        ("BITOP XOR d d b", ":3"),
        ("GET d", "abc"),
        ("BITOP NOT d a", ":3"),
        ("BITOP NOT d d", ":3"),
        ("GET d", "abc"),
        ("BITOP AND d a none", ":3"),
        ("BITCOUNT d", ":0"),
        ("BITOP OR d none", ":0"),
        ("EXISTS d", ":0"),
        ("BITOP NOT d a b", "ERR BITOP NOT must be called with a single source key."),
        ("BITOP NAND d a b", "ERR syntax error"),
    ]);
}

#[test]
fn fields() {
    let mut s = Server::start(&[]);
    let bad_type = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
    s.check(&[
        ("BITFIELD f SET u8 0 255 GET i8 0 INCRBY u8 #1 10", "[:0 :-1 :10]"),
        (
            "BITFIELD f OVERFLOW SAT INCRBY i8 0 -128 OVERFLOW FAIL INCRBY i8 0 -1 INCRBY u8 8 1",
            "[:-128 nil :11]",
        ),
        (
            "BITFIELD f INCRBY i64 16 9223372036854775807 INCRBY i64 16 1",
            "[:9223372036854775807 :-9223372036854775808]",
        ),
        ("BITFIELD f GET u63 1 GET i5 3 GET u4 1000000", "[:3236962232172544 :0 :0]"),
        ("BITFIELD f", "[]"),
        ("BITFIELD f GET u64 0", bad_type),
        ("BITFIELD f GET i65 0", bad_type),
        ("BITFIELD f GET x8 0", bad_type),
        ("BITFIELD f GET u8 -1", BAD_OFFSET),
        ("BITFIELD f GET u8 #9223372036854775807", BAD_OFFSET),
        ("BITFIELD f SET u8 4294967296 1", BAD_OFFSET),
        ("BITFIELD f SET u8 0 x", "ERR value is not an integer or out of range"),
        ("BITFIELD f OVERFLOW x", "ERR Invalid OVERFLOW type specified"),
        ("BITFIELD f GET u8", "ERR syntax error"),
        ("BITFIELD_RO f GET u8 8", "[:11]"),
        ("BITFIELD_RO f SET u8 8 1", "ERR BITFIELD_RO only supports the GET subcommand"),
        ("BITFIELD none GET u8 0", "[:0]"),
        ("EXISTS none", ":0"),
    ]);
}

#[test]
fn hyperloglogs() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("PFADD h a b c", ":1"),
        ("PFADD h a", ":0"),
        ("PFCOUNT h", ":3"),
        ("PFADD h", ":0"),
        ("PFADD new", ":1"),
        ("PFCOUNT new", ":0"),
        ("PFADD other c d e", ":1"),
        ("PFCOUNT h other none", ":5"),
        ("PFMERGE h other none", "OK"),
        ("PFCOUNT h", ":5"),
        ("PFDEBUG ENCODING h", "sparse"),
        ("PFDEBUG TODENSE h", ":1"),
        ("PFDEBUG TODENSE h", ":0"),
        ("PFCOUNT h", ":5"),
        ("STRLEN h", ":12304"),
        ("PFDEBUG DECODE h", "ERR HLL encoding is not sparse"),
        ("PFDEBUG DECODE new", "Z:16384"),
        ("PFDEBUG FOO new", "ERR Unknown PFDEBUG subcommand 'FOO'"),
        ("PFDEBUG ENCODING none", "ERR The specified key does not exist"),
        ("PFMERGE new h", "OK"),
        ("PFDEBUG ENCODING new", "dense"),
        ("SET string v", "OK"),
        ("PFADD string a", "WRONGTYPE Key is not a valid HyperLogLog string value."),
        ("PFCOUNT h string", "WRONGTYPE Key is not a valid HyperLogLog string value."),
        ("APPEND other x", ":28"),
        ("PFCOUNT other", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFCOUNT h other", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFMERGE merged other", "INVALIDOBJ Corrupted HLL object detected"),
    ]);
}

#[test]
fn what_is_propagated() {
    let mut s = Server::start(&[]);
    let mut stream = s.replication_stream();
    s.check(&[
        ("SETBIT b 7 1", ":0"),
        ("SETBIT b 7 1", ":1"),
        ("BITFIELD b GET u8 0", "[:1]"),
        ("BITFIELD b INCRBY u8 0 1", "[:2]"),
        ("BITOP NOT d b", ":1"),
        ("BITOP AND d none", ":0"),
        ("PFADD h a", ":1"),
        ("PFADD h a", ":0"),
        ("PFCOUNT h", ":1"),
        ("PFCOUNT h", ":1"),
        ("PFMERGE m h", "OK"),
    ]);
    stream.expect(&[
        "SELECT 0",
        "SETBIT b 7 1",
        "BITFIELD b INCRBY u8 0 1",
        "BITOP NOT d b",
        "BITOP AND d none",
        "PFADD h a",
        "PFCOUNT h",
        "PFMERGE m h",
    ]);
}

#[test]
fn bitmaps_are_set_against_each_other() {
    let mut server = Server::start(&[]);
    server.check(&[
        ("MSET a abc b ab d x", "OK"),
        ("BITOP DIFF r a b d", ":3"),
        ("GETRANGE r 2 2", "c"),
        ("BITCOUNT r", ":4"),
        ("BITOP DIFF1 r a b d", ":3"),
        ("BITCOUNT r", ":2"),
        ("BITOP ANDOR r a b d", ":3"),
        ("GETRANGE r 0 1", "ab"),
        ("BITOP ONE r a b d", ":3"),
        ("GETRANGE r 2 2", "c"),
        ("BITOP ONE r a", ":3"),
        ("GET r", "abc"),
        ("BITOP ONE r a a a", ":3"),
        ("BITCOUNT r", ":0"),
        ("BITOP DIFF r a", "ERR BITOP DIFF must be called with at least two source keys."),
        ("BITOP andor r a", "ERR BITOP ANDOR must be called with at least two source keys."),
    ]);
}
