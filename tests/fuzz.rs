//! The fuzz targets of `fuzz/` as plain loops: `cargo test` runs them for a moment, and anybody for as long as they
//! like:
//!
//! ```sh
//! cargo test --test fuzz -- --seconds 1200                     # every target for so long
//! cargo test --test fuzz -- --target lua --seed 7 --batches 1  # replays a batch that failed
//! cargo test --test fuzz -- --target lua --input FILE          # runs one input
//! ```
//!
//! First come the inputs of the corpus, then batches: new inputs, and mutations of those of the corpus. The seed
//! decides everything in a batch, which starts with a new server. Each target runs in a process of its own, so that a
//! crash, a batch that does not end, and memory beyond [`MEMORY_MAX_BYTES`] are found by the one that waits for it.

#[path = "../fuzz/src/grammar.rs"]
pub mod grammar;
#[path = "../fuzz/src/host.rs"]
pub mod host;
#[path = "it/harness/memory.rs"]
mod memory;
#[path = "../fuzz/src/source.rs"]
pub mod source;
#[path = "../fuzz/src/targets/mod.rs"]
pub mod targets;

use source::Source;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use targets::{Bench, INPUTS_PER_SERVER, TARGETS, Target};

/// How long every target computes if nobody says otherwise: on a busy machine it takes longer.
const DEFAULT_SECONDS: u64 = 2;

/// A batch that computes for longer hangs: it has some fifty small inputs.
const HANG: Duration = Duration::from_secs(180);
/// A batch that has not ended by then hangs, though it does not compute; on a busy machine it may have had to wait.
const HANG_WAITING: Duration = Duration::from_secs(3600);

/// What a target's process may have resident; AddressSanitizer's own memory is part of it.
const MEMORY_MAX_BYTES: u64 = 3 << 30;

#[derive(Clone, Default)]
struct Options {
    target: Option<String>,
    seconds: Option<u64>,
    seed: u64,
    batches: Option<u64>,
    input: Option<PathBuf>,
    /// This process runs the target itself, and tells in this file which batch it is at.
    status: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options { seed: 1, ..Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        if name == "--list" {
            std::process::exit(0);
        }
        let mut value = || args.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--target" => options.target = Some(value()),
            "--seconds" => options.seconds = Some(number(&value())),
            "--seed" => options.seed = number(&value()),
            "--batches" => options.batches = Some(number(&value())),
            "--input" => options.input = Some(value().into()),
            "--status" => options.status = Some(value().into()),
            // One of those that all tests are given.
            _ => {}
        }
    }
    options
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text}: not a number"))
}

fn main() -> ExitCode {
    let options = options();
    let wanted = |target: &&Target| options.target.as_ref().is_none_or(|name| name == target.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    assert!(!targets.is_empty(), "no such target");
    if let Some(status) = &options.status {
        run_target(targets[0], &options, status);
        return ExitCode::SUCCESS;
    }
    let failed: Vec<&str> = targets
        .iter()
        .filter(|target| supervise(target, &options).inspect_err(|e| eprintln!("{e}")).is_err())
        .map(|target| target.name)
        .collect();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("fuzz: {} failed", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs a target in a process of its own, and waits for that.
fn supervise(target: &Target, options: &Options) -> Result<(), String> {
    let dir = memory::tempdir();
    let status = dir.path().join("status");
    fs::write(&status, "").map_err(|e| e.to_string())?;
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["--target", target.name, "--seed", &options.seed.to_string()]);
    command.arg("--status").arg(&status);
    for (name, value) in [("--seconds", options.seconds), ("--batches", options.batches)] {
        value.iter().for_each(|value| {
            command.args([name, &value.to_string()]);
        });
    }
    if let Some(input) = &options.input {
        command.arg("--input").arg(std::path::absolute(input).map_err(|e| e.to_string())?);
    }
    let work = dir.path().join("work");
    fs::create_dir(&work).map_err(|e| e.to_string())?;
    let mut child =
        command.current_dir(&work).stdin(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    let outcome = watch(&mut child, &status);
    let at = fs::read_to_string(&status).unwrap_or_default();
    outcome.map_err(|reason| {
        format!(
            "fuzz: {}: {reason} at {at} (cargo test --test fuzz -- --target {} ...)",
            target.name, target.name
        )
    })
}

/// Waits for the process to end by itself, in time and within its memory.
fn watch(child: &mut Child, status: &Path) -> Result<(), String> {
    let mut seen = (String::new(), Instant::now(), Duration::ZERO);
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return if status.success() { Ok(()) } else { Err(format!("{status}")) };
        }
        let at = fs::read_to_string(status).unwrap_or_default();
        if at != seen.0 {
            seen = (at, Instant::now(), computed(child.id()));
        }
        let too_large = resident_bytes(child.id()).filter(|bytes| *bytes > MEMORY_MAX_BYTES);
        let reason = match too_large {
            Some(bytes) => format!("{bytes} bytes are resident"),
            None if computed(child.id()).saturating_sub(seen.2) > HANG => "it hangs".to_string(),
            None if seen.1.elapsed() > HANG_WAITING => "it waits without end".to_string(),
            None => {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        child.kill().map_err(|e| e.to_string())?;
        child.wait().map_err(|e| e.to_string())?;
        return Err(reason);
    }
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// How long the main thread of a process has been on a processor.
fn computed(pid: u32) -> Duration {
    let times = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let on_cpu_ns = times.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(on_cpu_ns.unwrap_or_default())
}

/// The loop itself.
fn run_target(target: &Target, options: &Options, status: &Path) {
    let dir = std::env::current_dir().expect("a directory");
    let at = |what: String| fs::write(status, what).expect("the file can be written");
    if let Some(path) = &options.input {
        let input = fs::read(path).expect("the input can be read");
        at(path.display().to_string());
        (target.run)(&mut Bench::new(&dir), &input);
        return;
    }
    let corpus = corpus(target.name);
    let start = Instant::now();
    let mut inputs = 0;
    if options.batches.is_none() {
        for (path, input) in &corpus {
            at(format!("--input {}", path.display()));
            (target.run)(&mut Bench::new(&dir), input);
            inputs += 1;
        }
    }
    let seconds = options.seconds.unwrap_or(DEFAULT_SECONDS);
    let mut batch = 0;
    let pid = std::process::id();
    let goes_on = |batch| {
        options.batches.map_or_else(|| computed(pid).as_secs() < seconds, |most| batch < most)
    };
    while goes_on(batch) {
        let seed = options.seed.wrapping_add(batch);
        at(format!("--seed {seed} --batches 1"));
        let mut source = Source::new(seed);
        let mut bench = Bench::new(&dir);
        for _ in 0..INPUTS_PER_SERVER {
            // Some inputs take long; the time that was given counts.
            if !goes_on(batch) {
                break;
            }
            let input = make_input(target, &corpus, &mut source);
            (target.run)(&mut bench, &input);
            inputs += 1;
        }
        batch += 1;
    }
    let (computed, elapsed) = (computed(pid).as_secs_f64(), start.elapsed().as_secs_f64());
    println!("fuzz: {}: {inputs} inputs in {computed:.1} s of CPU, {elapsed:.1} s", target.name);
}

fn make_input(target: &Target, corpus: &[(PathBuf, Vec<u8>)], source: &mut Source) -> Vec<u8> {
    if corpus.is_empty() || source.percent(90) {
        return (target.generate)(source);
    }
    let mut input = corpus[source.below(corpus.len())].1.clone();
    source.mutate(&mut input);
    input
}

/// The inputs of a target's corpus, in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let Ok(files) = fs::read_dir(&dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a file can be read");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}
