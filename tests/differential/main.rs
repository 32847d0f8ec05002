//! The same commands for Aeolis and for real peers: replies, data, keyspace events and invalidations have to agree, but
//! for what [`differences`] names with its reason.
//!
//! ```sh
//! cargo test --test differential -- --commands 1000000                # against every peer that there is
//! cargo test --test differential -- --peer redis8 --seed 7 --rounds 1 --verbose # one round again, in full
//! cargo test --test differential -- --document > docs/differences.md
//! ```
//!
//! A round is one pipeline of commands, which its seed decides, on an empty server; behind it all data is compared.
//! `--jobs` says how many pairs of servers play rounds at the same time. `AEOLIS_PROGRAM` names another binary than the
//! one of this build, and the variables in [`peers`] those of the peers, whose version matters.

mod compare;
pub mod differences;
#[path = "../../fuzz/src/grammar.rs"]
pub mod grammar;
#[allow(dead_code, unused_imports, reason = "what other tests use")]
#[path = "../it/harness/mod.rs"]
mod harness;
#[path = "../../fuzz/src/host.rs"]
pub mod host;
mod peer;
#[path = "../interop/peers.rs"]
mod peers;
pub mod reply;
mod rounds;
#[path = "../../fuzz/src/source.rs"]
pub mod source;
#[path = "../../fuzz/src/targets/mod.rs"]
pub mod targets;

use compare::{Plan, Report, compare};
use peer::{PEERS, word};
use peers::Kind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Commands for each peer in an ordinary run.
const DEFAULT_COMMANDS: u64 = 4_000;

/// Pairs of servers at the same time: enough to keep a small machine busy.
const DEFAULT_JOBS: u64 = 4;

struct Options {
    peer: Option<String>,
    commands: u64,
    rounds: u64,
    seed: u64,
    jobs: u64,
    verbose: bool,
}

fn main() -> ExitCode {
    let mut options = Options {
        peer: None,
        commands: DEFAULT_COMMANDS,
        rounds: u64::MAX,
        seed: 1,
        jobs: DEFAULT_JOBS,
        verbose: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        match name.as_str() {
            "--list" => return ExitCode::SUCCESS,
            "--document" => {
                print!("{}", differences::document());
                return ExitCode::SUCCESS;
            }
            "--peer" => options.peer = args.next(),
            "--commands" => options.commands = number(args.next()),
            "--rounds" => options.rounds = number(args.next()),
            "--seed" => options.seed = number(args.next()),
            "--jobs" => options.jobs = number(args.next()),
            "--verbose" => options.verbose = true,
            // One of those that all tests are given.
            _ => {}
        }
    }
    let wanted = |kind: &Kind| options.peer.as_ref().is_none_or(|wanted| wanted == word(*kind));
    let mut agrees = include_str!("../../docs/differences.md") == differences::document();
    if !agrees {
        println!("differential: docs/differences.md is not what `-- --document` prints");
    }
    for kind in PEERS.into_iter().filter(wanted) {
        let Some(peer) = kind.named() else {
            kind.is_missing();
            continue;
        };
        agrees &= run(kind, peer, &options);
    }
    if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).expect("the option needs a number")
}

/// Compares with one peer, tells what was found, and answers whether that is nothing.
fn run(kind: Kind, peer: PathBuf, options: &Options) -> bool {
    let ours = harness::program();
    let Options { commands, rounds, seed, jobs, verbose, .. } = *options;
    let start = Instant::now();
    let report =
        compare(&Plan { kind, peer, ours, commands, rounds, seed, jobs: jobs as usize, verbose });
    let Report { commands, rounds, found } = report.expect("both servers answer");
    println!(
        "differential: {}: {commands} commands in {rounds} rounds, {:.1} s, {} kinds of differences",
        kind.name(),
        start.elapsed().as_secs_f64(),
        found.len()
    );
    let mut sorted: Vec<_> = found.iter().collect();
    sorted.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    for (what, times) in sorted {
        println!("* {what}: {times} times");
    }
    found.is_empty()
}
