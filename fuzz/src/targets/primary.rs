//! A primary that lies: what it sends to the replica, in sections, one for each time that the replica is silent.
#![forbid(unsafe_code)]

use super::commands::with_grammar;
use super::{Bench, SEPARATOR, sections};
use crate::grammar::encode;
use crate::source::Source;
use aeolis::util::crc64::crc64;

const HISTORY: &str = "0123456789abcdef0123456789abcdef01234567";

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    parts.push(b"+PONG\r\n".to_vec());
    parts.push(b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n".to_vec());
    match source.below(8) {
        0 => parts.push(format!("+CONTINUE {HISTORY}\r\n").into_bytes()),
        1 => parts.push(b"+DUALCHANNELSYNC\r\n".to_vec()),
        2 => parts.push(format!("+FULLRESYNC {HISTORY} {}\r\n", source.edge()).into_bytes()),
        _ => parts.push(format!("+FULLRESYNC {HISTORY} 0\r\n").into_bytes()),
    }
    let mut snapshot = super::rdb::generate(source);
    snapshot.extend(crc64(0, &snapshot).to_le_bytes());
    if source.percent(50) {
        let mark = "m".repeat(40);
        parts.push(format!("$EOF:{mark}\r\n").into_bytes());
        parts.push([&snapshot[..], mark.as_bytes()].concat());
    } else {
        let len = if source.percent(90) { snapshot.len() as i64 } else { source.edge() };
        parts.push([format!("${len}\r\n").as_bytes(), &snapshot].concat());
    }
    for _ in 0..source.below(8) {
        let mut stream = Vec::new();
        for _ in 0..source.below(6) {
            match source.below(8) {
                0 => stream.extend(b"*1\r\n$4\r\nPING\r\n"),
                1 => stream.extend(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"),
                2 => stream.extend(b"*1\r\n$5\r\nMULTI\r\n"),
                3 => stream.extend(b"*1\r\n$4\r\nEXEC\r\n"),
                4 => stream.extend(b"\n"),
                _ => stream.extend(encode(&with_grammar(|grammar| grammar.command(source)))),
            }
        }
        parts.push(stream);
    }
    if source.percent(70) {
        let at = source.below(parts.len());
        source.mutate(&mut parts[at]);
    }
    parts.join(SEPARATOR)
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    // What a primary's stream may do to its replica's process is what its primary may do: it is trusted so far.
    let requests = input.to_ascii_lowercase();
    let names = |word: &[u8]| requests.windows(word.len()).any(|part| part == word);
    if [&b"shutdown"[..], b"debug", b"config", b"migrate", b"save", b"aof"]
        .iter()
        .any(|word| names(word))
    {
        return;
    }
    let host = bench.host();
    host.ask(&[b"REPLICAOF", b"127.0.0.1", b"6380"]);
    host.advance(1100);
    let mut source = Source::of_input(input);
    let mut links = Vec::new();
    for part in sections(input) {
        links.extend(std::iter::from_fn(|| host.take_dialed()));
        let Some(link) = links.last() else { break };
        for cut in source.cuts(part.len()).windows(2) {
            host.send(link, &part[cut[0]..cut[1]]);
        }
        link.take();
        host.advance([0, 10, 1100][source.below(3)]);
    }
    host.check();
    links.iter().for_each(|link| host.hang_up(link));
    host.ask(&[b"REPLICAOF", b"NO", b"ONE"]);
    while let Some(link) = host.take_dialed() {
        host.hang_up(&link);
    }
    host.ask(&[b"FLUSHALL"]);
    host.check();
}
