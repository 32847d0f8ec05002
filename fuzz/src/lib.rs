//! What is fuzzed, and with which inputs: the bodies of the targets, which `cargo fuzz` runs on nightly
//! (`fuzz_targets/`) and `tests/fuzz.rs` as plain loops on stable.
//!
//! * [`source`]: choices that a seed decides, and mutation.
//! * [`grammar`]: commands with typed arguments, from the server's own specifications.
//! * [`host`]: a whole server in this process.
//! * [`targets`]: one file a target.
#![forbid(unsafe_code)]

pub mod grammar;
pub mod host;
pub mod source;
pub mod targets;

use std::cell::RefCell;
use targets::{Bench, TARGETS};

/// Runs one input of the target called `name`, on the server that the inputs before it have used.
///
/// # Panics
/// If there is no such target, or the input has found a fault.
pub fn fuzz_one(name: &str, input: &[u8]) {
    thread_local! {
        static BENCH: RefCell<Option<Bench<'static>>> = const { RefCell::new(None) };
    }
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    BENCH.with_borrow_mut(|bench| {
        let bench = bench.get_or_insert_with(|| {
            let dir = tempfile::tempdir().expect("a directory").keep();
            Bench::new(Box::leak(dir.into_boxed_path()))
        });
        (target.run)(bench, input);
    });
}
