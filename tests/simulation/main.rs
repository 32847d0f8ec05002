//! Whole worlds in one process, on a simulated network and clock: a replication group, and a cluster. One seed decides
//! every delay, short write, cut link, crash and promotion, and the workload; a seed that fails is printed and replays
//! exactly.
//!
//! * [`network`]: wires with latency, capacity and faults.
//! * [`group`]: the servers, and the turns of their loops. [`line`]: a client's connection to one.
//! * [`replication`]: the world of a replication group.
//! * [`cluster`]: the world of a cluster.
//! * [`scale`]: what the bus costs in large clusters; no test.
//!
//! `cargo test --test simulation` runs seeds of both worlds; `AEOLIS_SEEDS=5000` runs so many of each,
//! `AEOLIS_WORLD=cluster` those of one world, and `cargo test --test simulation -- cluster 42` replays one with the
//! servers' logs. Each seed has a process of its own, so that nothing but the seed decides what happens in it:
//! [`REPLAYED`] seeds of each world are run twice with their logs, which must be the same to the byte.

mod cluster;
mod group;
mod line;
#[path = "../it/harness/memory.rs"]
mod memory;
mod network;
mod replication;
mod resp;
mod scale;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As many seeds of each world, from the first on, are run once more.
const REPLAYED: u64 = 3;

/// What a seed is run in.
struct World {
    name: &'static str,
    /// Seeds of an ordinary run.
    seeds: u64,
    run: fn(u64, bool) -> String,
}

const WORLDS: [World; 2] = [
    World { name: "replication", seeds: 70, run: replication::run },
    World { name: "cluster", seeds: 30, run: cluster::run },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [world, seed, rest @ ..] = &args[..]
        && let Some(world) = WORLDS.iter().find(|known| known.name == world)
        && let Ok(seed) = seed.parse()
    {
        let verbose = rest.is_empty();
        println!("{}", (world.run)(seed, verbose));
        return ExitCode::SUCCESS;
    }
    if let [name, nodes] = &args[..]
        && name == "--nodes"
        && let Ok(nodes) = nodes.parse()
    {
        print!("{}", scale::run(nodes));
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
    let wanted = std::env::var("AEOLIS_WORLD").ok();
    let first = number("AEOLIS_FIRST_SEED").unwrap_or(1);
    let worlds =
        WORLDS.iter().filter(|world| wanted.as_deref().is_none_or(|name| name == world.name));
    let runs = worlds.flat_map(|world| {
        let seeds = number("AEOLIS_SEEDS").unwrap_or(world.seeds);
        (first..first + seeds).map(move |seed| (world, seed))
    });
    let runs: Vec<(&World, u64)> = runs.collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some((world, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let replays = seed - first < REPLAYED;
                    let outcome =
                        if replays { run_twice(world, *seed) } else { run(world, *seed, false) };
                    if let Err(report) = outcome {
                        let name = world.name;
                        eprintln!("{name} {seed} failed:\n{report}");
                        eprintln!("replay: cargo test --test simulation -- {name} {seed}");
                        failed.lock().expect("no thread panics").push(format!("{name} {seed}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    println!("simulation: {} seeds, {} failed {failed:?}", runs.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed in a process of its own; returns what it has printed, with the servers' logs if they are wanted.
fn run(world: &World, seed: u64, with_logs: bool) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args([world.name, &seed.to_string()]);
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
        // Only where a process is named: a short number may be any other one, the milliseconds of a time for one.
        let line = match line.strip_prefix(&format!("{pid}:")) {
            Some(rest) => format!("PID:{rest}"),
            None => line.to_string(),
        };
        let named = ["pid ", "pid=", "child ", "temp-", "rewriteaof-", "-bg-"]
            .map(|word| (format!("{word}{pid}"), format!("{word}PID")));
        kept += &named.iter().fold(line, |line, (from, to)| line.replace(from, to));
        kept.push('\n');
    }
    kept
}

fn run_twice(world: &World, seed: u64) -> Result<String, String> {
    let (first, second) = (run(world, seed, true)?, run(world, seed, true)?);
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
