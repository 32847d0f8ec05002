//! A bar on the terminal while a large file is checked.

use crate::util::memory_units::human;
use crate::util::pace::{Done, Pace};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Instant;

/// Bytes of a file that is read too fast for a bar.
const SMALL: u64 = 16 * 1024 * 1024;
/// Bytes between two looks at the clock.
const STEP: u64 = 1024 * 1024;

/// One on standard error, if that is a terminal; whatever is written there or to standard output meanwhile is written
/// [above](Bar::above) it.
pub struct Bar {
    bar: ProgressBar,
    pace: Pace,
    started: Instant,
    next: u64,
    total: Option<u64>,
}

impl Bar {
    /// For a file of so many bytes.
    pub fn new(bytes: u64) -> Bar {
        let target = if bytes >= SMALL && io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template("{bar:30} {msg}");
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let total = Some(bytes);
        let pace = Pace::new(Done { done: 0, total }, 0);
        Bar { bar, pace, started: Instant::now(), next: STEP, total }
    }

    /// So many bytes have been read.
    pub fn set(&mut self, done: u64) {
        if done < self.next || self.bar.is_hidden() {
            return;
        }
        self.next = done + STEP;
        let now_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.pace.note(Done { done, total: self.total }, now_ms);
        self.bar.set_position(done);
        self.bar.set_message(self.pace.describe(human));
    }

    /// Writes something to the same terminal.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
