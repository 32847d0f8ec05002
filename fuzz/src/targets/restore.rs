//! `RESTORE` of values of all types and encodings, damaged but with a right checksum, and then commands on them.
#![forbid(unsafe_code)]

use super::Bench;
use super::commands::with_grammar;
use crate::grammar::{Words, decode, encode};
use crate::host::Host;
use crate::source::Source;
use aeolis::util::crc64::crc64;
use std::cell::OnceCell;

/// Commands that make values of all types and encodings; a key's letter tells its type.
const VALUES: &[&str] = &[
    "SET s0 12345",
    "SET s1 text",
    "SETRANGE s2 0 LONG",
    "RPUSH l0 a 1 -300 70000",
    "RPUSH l1 LONG LONG LONG LONG",
    "SADD t0 1 2 3 70000 5000000000",
    "SADD t1 a b 3",
    "SADD t2 LONG b c",
    "HSET h0 f v g 1",
    "HSET h1 f LONG g 1",
    "HSET h2 f v g 1",
    "HPEXPIRE h2 100000 FIELDS 1 f",
    "HSET h3 f LONG g 1",
    "HPEXPIRE h3 100000 FIELDS 1 g",
    "ZADD z0 1 a 2.5 b inf c",
    "ZADD z1 1 LONG 2 b",
    "XADD x0 1-1 f v",
    "XADD x0 1-2 f w g v",
    "XADD x0 3-1 f x",
    "XDEL x0 1-2",
    "XGROUP CREATE x0 g0 0",
    "XREADGROUP GROUP g0 c0 COUNT 1 STREAMS x0 >",
    "PFADD p0 a b c",
    "SETBIT b0 1000 1",
    "GEOADD g0 1 2 a 3 4 b",
];

/// Values in the forms of older versions: their type and body.
const OLD_FORMS: &[&[u8]] = &[
    // A list, a set, a hash and a sorted set of plain strings; a sorted set whose scores are doubles.
    b"\x01\x02\x01a\x01b",
    b"\x02\x02\x01a\x01b",
    b"\x04\x01\x01f\x01v",
    b"\x03\x01\x01a\x011",
    b"\x05\x01\x01a\0\0\0\0\0\0\xf0?",
    // A zipmap.
    b"\x09\x08\x01\x01f\x01\0v\xff",
    // Ziplists: a list, a sorted set and a hash; and a quicklist of one.
    b"\x0a\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x01b\xff",
    b"\x0c\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf2\xff",
    b"\x0d\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\x01v\xff",
    b"\x0e\x01\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x01b\xff",
    // An intset.
    b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0",
];

/// Types and bodies of good values.
pub fn with_values<T>(use_them: impl FnOnce(&[Vec<u8>]) -> T) -> T {
    thread_local! {
        static VALUES_OF_ALL_TYPES: OnceCell<Vec<Vec<u8>>> = const { OnceCell::new() };
    }
    VALUES_OF_ALL_TYPES.with(|cell| use_them(cell.get_or_init(make_values)))
}

fn make_values() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut host = Host::start(dir.path(), &[]).expect("good settings");
    let long = "long".repeat(400);
    let mut values: Vec<Vec<u8>> = OLD_FORMS.iter().map(|form| form.to_vec()).collect();
    for line in VALUES {
        let words: Vec<&[u8]> = line
            .split(' ')
            .map(|w| if w == "LONG" { long.as_str() } else { w }.as_bytes())
            .collect();
        host.ask(&words);
        let reply = host.ask(&[b"DUMP", words[1]]);
        let start = reply.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // Without version, checksum and the reply's end.
        values.push(reply[start..reply.len().saturating_sub(12).max(start)].to_vec());
    }
    values
}

/// A payload with the right checksum.
fn sealed(body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [body, &version.to_le_bytes()].concat();
    payload.extend(crc64(0, &payload).to_le_bytes());
    payload
}

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut body = with_values(|values| values[source.below(values.len())].clone());
    if source.percent(90) {
        source.mutate(&mut body);
    }
    let key = format!("{}0", source.pick(&["s", "l", "t", "h", "z", "x", "p", "b", "g"]));
    let payload = sealed(&body, [10, 11, 12, 80][source.below(4)]);
    let restore: Words =
        [&b"RESTORE"[..], key.as_bytes(), b"0", &payload, b"REPLACE"].map(<[u8]>::to_vec).to_vec();
    let mut input = encode(&restore);
    with_grammar(|grammar| {
        for _ in 0..source.below(20) {
            input.extend(encode(&grammar.command(source)));
        }
    });
    input
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let mut requests = decode(input);
    let mut restored = Vec::new();
    for words in &mut requests {
        if words.len() > 3 && words[0].eq_ignore_ascii_case(b"RESTORE") && words[3].len() > 10 {
            let body = words[3].len() - 10;
            let version = u16::from_le_bytes([words[3][body], words[3][body + 1]]);
            words[3] = sealed(&words[3][..body], version);
            restored.push(words[1].clone());
        }
    }
    let host = bench.host();
    host.run(&requests[..requests.len().min(1)], &mut Source::of_input(b""));
    restored.iter().for_each(|key| walk(host, key));
    host.run(&requests[requests.len().min(1)..], &mut Source::of_input(input));
    restored.iter().for_each(|key| walk(host, key));
    host.check();
}

/// Reads all of a value, whatever its type, and changes it.
pub fn walk(host: &mut Host, key: &[u8]) {
    const LINES: &[&str] = &[
        "DEBUG DIGEST-VALUE K",
        "OBJECT ENCODING K",
        "MEMORY USAGE K SAMPLES 0",
        "DUMP K",
        "COPY K copy REPLACE",
        "GET K",
        "LRANGE K 0 -1",
        "LINDEX K -1",
        "LPOS K b",
        "SMEMBERS K",
        "SRANDMEMBER K -5",
        "HGETALL K",
        "HRANDFIELD K -5 WITHVALUES",
        "HPTTL K FIELDS 1 f",
        "ZRANGE K 0 -1 WITHSCORES",
        "ZRANK K a",
        "XRANGE K - +",
        "XREVRANGE K + -",
        "XINFO STREAM K FULL",
        "XPENDING K g0 - + 10",
        "PFCOUNT K",
        "BITCOUNT K",
        "RPUSH K new",
        "LINSERT K BEFORE b new",
        "LREM K 0 a",
        "SADD K new 77",
        "SREM K a 1",
        "HSET K new 1 f 2",
        "HDEL K g",
        "ZADD K 7 new 8 a",
        "ZPOPMIN K",
        "XADD K * f v",
        "XDEL K 1-1",
        "XTRIM K MAXLEN 1",
        "XAUTOCLAIM K g0 c1 0 0",
        "PFADD K new",
        "APPEND K new",
        "OBJECT ENCODING K",
        "DEBUG DIGEST-VALUE K",
    ];
    for line in LINES {
        let words: Vec<&[u8]> =
            line.split(' ').map(|word| if word == "K" { key } else { word.as_bytes() }).collect();
        host.ask(&words);
    }
}
