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
//! that nothing but the seed decides what happens in it.

mod checks;
mod faults;
mod group;
#[path = "../common/memory.rs"]
mod memory;
mod network;
mod resp;
mod workload;

use faults::Simulation;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;

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
                    if let Err(report) = run_one(seed) {
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

fn run_one(seed: u64) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new(program)
        .args(["seed", &seed.to_string(), "quiet"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}
