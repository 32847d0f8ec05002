//! A replica that lies: what it sends to its primary, which executes commands of others meanwhile.
#![forbid(unsafe_code)]

use super::commands::with_grammar;
use super::{Bench, SEPARATOR, sections};
use crate::grammar::encode;
use crate::source::Source;

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut parts = Vec::new();
    for _ in 0..1 + source.below(10) {
        let edge = source.edge();
        let mut part = match source.below(16) {
            0 => b"PING\r\n".to_vec(),
            1 => b"REPLCONF listening-port 6380\r\n".to_vec(),
            2 => format!("REPLCONF listening-port {edge}\r\n").into_bytes(),
            3 => b"REPLCONF capa eof capa psync2 capa dual-channel\r\n".to_vec(),
            4 => b"REPLCONF version 8.2.0 rdb-only 1 rdb-filter-only functions\r\n".to_vec(),
            5 => format!("REPLCONF ip-address {}\r\n", "a".repeat(source.below(400))).into_bytes(),
            6 => format!(
                "REPLCONF set-rdb-client-id {edge}\r\nREPLCONF main-ch-client-id {edge}\r\n"
            )
            .into_bytes(),
            7 | 8 => format!("PSYNC ? {}\r\n", [-1, -3, edge][source.below(3)]).into_bytes(),
            9 => format!("PSYNC {} {edge}\r\n", "0".repeat(40)).into_bytes(),
            10 => b"SYNC\r\n".to_vec(),
            11 => format!("REPLCONF ACK {edge}\r\n").into_bytes(),
            12 => format!("REPLCONF ACK {} FACK {edge}\r\n", source.below(500)).into_bytes(),
            13 => b"REPLCONF GETACK *\r\nREPLCONF rdb-channel 1\r\n".to_vec(),
            _ => encode(&with_grammar(|grammar| grammar.command(source))),
        };
        if source.percent(20) {
            source.mutate(&mut part);
        }
        parts.push(part);
    }
    parts.join(SEPARATOR)
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let lower = input.to_ascii_lowercase();
    let names = |word: &[u8]| lower.windows(word.len()).any(|part| part == word);
    if [
        &b"shutdown"[..],
        b"debug",
        b"config",
        b"migrate",
        b"save",
        b"aof",
        b"replicaof",
        b"slaveof",
        b"pause",
    ]
    .iter()
    .any(|word| names(word))
    {
        return;
    }
    let host = bench.host();
    let mut source = Source::of_input(input);
    let links: Vec<_> = (0..2).filter_map(|_| host.connect()).collect();
    for part in sections(input) {
        let Some(link) = links.get(source.below(links.len())) else { return };
        for cut in source.cuts(part.len()).windows(2) {
            host.send(link, &part[cut[0]..cut[1]]);
        }
        if source.percent(50) {
            link.take();
        }
        host.ask(&[b"SET", b"k0", b"value"]);
        host.advance([0, 10, 1100, 70_000][source.below(4)]);
    }
    host.check();
    links.iter().for_each(|link| host.hang_up(link));
    host.advance(1100);
    host.check();
}
