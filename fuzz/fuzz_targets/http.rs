//! `cargo +nightly fuzz run http`
#![no_main]

use aeolis_fuzz::fuzz_one;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzz_one("http", input));
