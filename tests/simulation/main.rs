//! A whole replication group in one process: a primary, two replicas and one chained to a replica, on a simulated
//! network and clock. One seed decides every delay, short write, cut link, crash and promotion, and the workload; a
//! seed that fails is printed and replays exactly.
//!
//! * [`network`]: wires with latency, capacity and faults.
//! * [`group`]: the servers, and the turns of their loops.
//! * [`workload`]: clients that write all types of data.
//! * [`faults`]: what the seed does to them, and the operator who mends it.
//! * [`checks`]: what must hold, always and at quiet points.
//!
//! `cargo test --test simulation` runs [`SEEDS`] seeds; `AEOLIS_SEEDS=5000` runs so many, and
//! `cargo test --test simulation -- seed 42` replays one with the servers' logs. Each seed has a process of its own, so
//! that nothing but the seed decides what happens in it: [`REPLAYED`] seeds are run twice with their logs, which must
//! be the same to the byte.

mod checks;
mod faults;
mod group;
#[path = "../it/harness/memory.rs"]
mod memory;
mod network;
mod resp;
mod workload;

use faults::Simulation;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of an ordinary run.
const SEEDS: u64 = 100;
/// As many of them, from the first on, are run once more.
const REPLAYED: u64 = 4;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seed = args.iter().position(|a| a == "seed").and_then(|at| args.get(at + 1));
    if let Some(seed) = seed.and_then(|s| s.parse().ok()) {
        let verbose = !args.iter().any(|a| a == "quiet");
        println!("{}", Simulation::new(seed, verbose).run());
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    run_all()
}

/// Runs all seeds, as many at a time as there are processors.
fn run_all() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("AEOLIS_FIRST_SEED").unwrap_or(1);
    let end = first + number("AEOLIS_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let replays = seed - first < REPLAYED;
                    let outcome = if replays { run_twice(seed) } else { run(seed, false) };
                    if let Err(report) = outcome {
                        eprintln!("seed {seed} failed:\n{report}");
                        eprintln!("replay: cargo test --test simulation -- seed {seed}");
                        failed.lock().expect("no thread panics").push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    println!("simulation: {} seeds, {} failed {failed:?}", end - first, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed in a process of its own; returns what it has printed, with the servers' logs if they are wanted.
fn run(seed: u64, with_logs: bool) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(["seed", &seed.to_string()]);
    if !with_logs {
        command.arg("quiet");
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let pid = child.id();
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(what_the_seed_decides(&printed, pid));
    }
    Err(format!("{printed}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A log without what the machine decides: the number of the process, and how much memory it has.
fn what_the_seed_decides(log: &str, pid: u32) -> String {
    let of_memory = ["Fork CoW for", "RDB memory usage when created"];
    let mut kept = String::new();
    for line in log.lines().filter(|line| !of_memory.iter().any(|text| line.contains(text))) {
        // Runs of digits, and what is between them.
        for part in line.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
            let part = String::from_utf8_lossy(part);
            kept.push_str(if part == pid.to_string() { "PID" } else { &part });
        }
        kept.push('\n');
    }
    kept
}

fn run_twice(seed: u64) -> Result<String, String> {
    let (first, second) = (run(seed, true)?, run(seed, true)?);
    if first == second {
        return Ok(first);
    }
    let (at, (a, b)) = first
        .lines()
        .zip(second.lines())
        .enumerate()
        .find(|(_, (a, b))| a != b)
        .unwrap_or((first.lines().count(), ("the end", "the end")));
    Err(format!("the seed has two courses, which part in line {at}:\n{a}\n{b}"))
}
