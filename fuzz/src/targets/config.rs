//! Configuration: a file's lines, each of which is tried with CONFIG SET, too; what was read is written and read again.
#![forbid(unsafe_code)]

use super::Bench;
use crate::grammar::Words;
use crate::host::{Host, is_harmless};
use crate::source::Source;
use aeolis::server::config::Config;
use std::sync::OnceLock;

fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        Config::default().get(&[&b"*"[..]]).into_iter().map(|(name, _)| name).collect()
    })
}

/// The name of a directive.
pub fn name(source: &mut Source) -> String {
    let names = names();
    names[source.below(names.len())].clone()
}

fn value(name: &str, source: &mut Source) -> String {
    match source.below(9) {
        0 => source.edge().to_string(),
        1 => source
            .pick(&["yes", "no", "maybe", "\"\"", "\"\\x00\"", "'a b'", "\"unclosed"])
            .to_string(),
        2 => format!(
            "{}{}",
            source.below(2000),
            source.pick(&["", "b", "k", "kb", "mb", "gb", "tb", "%", "-"])
        ),
        3 => source
            .pick(&[
                "allkeys-lru",
                "noeviction",
                "everysec",
                "always",
                "KEA",
                "Kxyz",
                "normal 0 0 0",
                "replica 1mb 2mb 60",
                "3600 1 300 100",
                "127.0.0.1 ::1 *",
                "127.0.0.1 6379",
                "no one",
                "on >pw ~* +@all",
                "get GET2",
                "GET \"\"",
                "debug",
                "C",
                "C.utf8",
                "x",
            ])
            .to_string(),
        4 => String::from_utf8_lossy(&source.junk(10)).into_owned(),
        _ => {
            let values = Config::default().get(&[name.as_bytes()]);
            values.first().map(|(_, v)| String::from_utf8_lossy(v).into_owned()).unwrap_or_default()
        }
    }
}

pub fn generate(source: &mut Source) -> Vec<u8> {
    const OTHERS: &[&str] =
        &["rename-command", "user", "include", "loadmodule", "nosuch", "#", "save", "replicaof"];
    let mut file = String::new();
    for _ in 0..1 + source.below(10) {
        let name = if source.percent(80) { name(source) } else { source.pick(OTHERS).to_string() };
        let value = value(&name, source);
        file.push_str(&format!("{name} {value}\n"));
    }
    let mut file = file.into_bytes();
    if source.percent(30) {
        source.mutate(&mut file);
    }
    file
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    // An include or a module would reach for files of this machine.
    let lower = input.to_ascii_lowercase();
    let names = |word: &[u8]| lower.windows(word.len()).any(|part| part == word);
    if names(b"include") || names(b"loadmodule") {
        return;
    }
    if let Ok((config, _)) = Config::load(Config::default(), input) {
        for (name, value) in config.get(&[&b"*"[..]]) {
            let words: Words = vec![b"config".to_vec(), b"set".to_vec(), name.clone().into()];
            if is_harmless(&words) {
                let line = format!("{name} \"{}\"\n", value.escape_ascii());
                let _ = Config::load(Config::default(), line.as_bytes());
            }
        }
    }
    let Some(mut host) = Host::start(bench.dir, &[]) else { return };
    for line in input.split(|byte| *byte == b'\n') {
        let (name, value) =
            line.split_at(line.iter().position(|b| *b == b' ').unwrap_or(line.len()));
        let words = [&b"CONFIG"[..], b"SET", name, value.get(1..).unwrap_or_default()];
        if is_harmless(&words.map(<[u8]>::to_vec).to_vec()) && !names(b"maxclients") {
            host.ask(&words);
            host.ask(&[b"CONFIG", b"GET", name]);
            host.ask(&[b"SET", b"k0", b"value"]);
        }
    }
    host.ask(&[b"CONFIG", b"GET", b"*"]);
    host.advance(2000);
    host.check();
}
