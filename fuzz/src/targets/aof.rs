//! Append-only files: a manifest and the files that it names, damaged; loaded at start-up, and looked at by
//! `redis-check-aof`. The sections of an input: the manifest, the base, the increments.
#![forbid(unsafe_code)]

use super::commands::with_grammar;
use super::{Bench, SEPARATOR, sections};
use crate::grammar::{decode, encode};
use crate::host::{Host, is_harmless};
use crate::source::Source;

const NAMES: [&str; 4] = [
    "appendonly.aof.manifest",
    "appendonly.aof.1.base.rdb",
    "appendonly.aof.1.incr.aof",
    "appendonly.aof.2.incr.aof",
];

pub fn generate(source: &mut Source) -> Vec<u8> {
    let mut manifest = String::new();
    if source.percent(70) {
        manifest.push_str("file appendonly.aof.1.base.rdb seq 1 type b\n");
    }
    manifest.push_str("file appendonly.aof.1.incr.aof seq 1 type i\n");
    manifest.push_str("file appendonly.aof.2.incr.aof seq 2 type i\n");
    let mut manifest = manifest.into_bytes();
    if source.percent(20) {
        source.mutate(&mut manifest);
    }
    let mut files = vec![manifest, super::rdb::generate(source)];
    for _ in 0..2 {
        let mut commands = Vec::new();
        for _ in 0..source.below(8) {
            match source.below(8) {
                0 => commands.extend(b"#TS:1700000000\r\n"),
                1 => commands.extend(b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n"),
                2 => commands.extend(b"*1\r\n$5\r\nMULTI\r\n"),
                3 => commands.extend(b"*1\r\n$4\r\nEXEC\r\n"),
                _ => commands.extend(encode(&with_grammar(|grammar| grammar.command(source)))),
            }
        }
        if source.percent(40) {
            source.mutate(&mut commands);
        }
        files.push(commands);
    }
    files.join(SEPARATOR)
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let dir = bench.dir.join("appendonlydir");
    std::fs::create_dir_all(&dir).expect("a directory can be made");
    for (name, bytes) in NAMES.iter().zip(sections(input)) {
        if name.ends_with("incr.aof") && !decode(bytes).iter().all(is_harmless) {
            return;
        }
        std::fs::write(dir.join(name), bytes).expect("a file can be written");
    }
    let manifest = dir.join(NAMES[0]).display().to_string();
    let names = ["check".to_string(), manifest];
    aeolis::aof::check::run(&names, &mut &b"n\n"[..], &mut Vec::<u8>::new());
    if let Some(mut host) = Host::start(bench.dir, &["--appendonly", "yes"]) {
        host.ask(&[b"DEBUG", b"LOADAOF"]);
        host.check();
    }
    std::fs::remove_dir_all(&dir).expect("it is there");
}
