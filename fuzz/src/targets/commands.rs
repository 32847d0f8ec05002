//! Every command with arguments of its types, by several clients.
#![forbid(unsafe_code)]

use super::Bench;
use crate::grammar::{Grammar, decode, encode};
use crate::host::START_MS;
use crate::source::Source;
use std::cell::OnceCell;

/// The grammar of all commands.
pub fn with_grammar<T>(use_it: impl FnOnce(&Grammar) -> T) -> T {
    thread_local! {
        static GRAMMAR: OnceCell<Grammar> = const { OnceCell::new() };
    }
    GRAMMAR.with(|cell| use_it(cell.get_or_init(|| Grammar::new(START_MS, |_| true))))
}

pub fn generate(source: &mut Source) -> Vec<u8> {
    with_grammar(|grammar| {
        let count = 1 + source.below(40);
        (0..count).flat_map(|_| encode(&grammar.command(source))).collect()
    })
}

pub fn run(bench: &mut Bench<'_>, input: &[u8]) {
    let host = bench.host();
    host.run(&decode(input), &mut Source::of_input(input));
    host.check();
}
