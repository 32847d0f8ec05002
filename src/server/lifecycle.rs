//! Where the server is in its life: starting, serving, waiting to end, ended; and what its timer has counted.

use super::config::ShutdownFlags;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The time between two rounds of the replication's timer, in milliseconds.
const REPLICATION_PERIOD_MS: i64 = 1000;
/// And the cluster's, in milliseconds. The cron may be a moment early.
const CLUSTER_PERIOD_MS: u64 = 95;

/// What tests switch off with `DEBUG`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DebugSwitches {
    /// `PAUSE-CRON`: nothing happens by itself.
    pub pause_cron: bool,
    /// `SET-ACTIVE-EXPIRE 0`: keys expire only when they are looked at.
    pub no_active_expire: bool,
    /// `SET-SKIP-CHECKSUM-VALIDATION`: checksums of snapshots and dumps are not checked.
    pub skip_checksum_validation: bool,
}

/// How far the server has come between its start and its end.
#[derive(Debug, Default)]
pub struct Lifecycle {
    /// The data has been loaded for the first time.
    has_started: bool,
    pub(crate) shutdown: Shutdown,
    pub(crate) debug: DebugSwitches,
    /// Rounds of the timer.
    cron_loops: u64,
    /// What is left of the time that expiry may take until the timer's next round.
    pub(crate) expiry_left: Duration,
    /// When the cluster's timer is to run next, in milliseconds of a clock that never jumps.
    next_cluster_cron_ms: u64,
    /// When the replication's timer last ran, in milliseconds since 1970.
    last_replication_cron_ms: i64,
}

impl Lifecycle {
    /// Until the data has been loaded for the first time.
    pub(crate) fn is_starting(&self) -> bool {
        !self.has_started
    }

    pub(crate) fn set_started(&mut self) {
        self.has_started = true;
    }

    /// Whether this round of the timer, of which there are `hz` in a second, is the first of a second.
    pub(crate) fn begins_second(&self, hz: u32) -> bool {
        self.cron_loops.is_multiple_of(u64::from(hz.max(1)))
    }

    /// A round of the timer has ended.
    pub(crate) fn count_cron(&mut self) {
        self.cron_loops += 1;
    }

    /// Whether the cluster's timer is to run, which is noted as done. `now_ms` is of a clock that never jumps.
    pub(crate) fn take_cluster_cron_due(&mut self, now_ms: u64) -> bool {
        let is_due = now_ms >= self.next_cluster_cron_ms;
        if is_due {
            self.next_cluster_cron_ms = now_ms + CLUSTER_PERIOD_MS;
        }
        is_due
    }

    /// Whether the replication's timer is to run, which is noted as done.
    pub(crate) fn take_replication_cron_due(&mut self, now_ms: i64) -> bool {
        let is_due = now_ms - self.last_replication_cron_ms >= REPLICATION_PERIOD_MS;
        if is_due {
            self.last_replication_cron_ms = now_ms;
        }
        is_due
    }
}

/// How far ending has come.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    /// The loop is to end, with this exit code.
    exit: Option<i32>,
    /// Waiting for replicas until then, in milliseconds since 1970.
    deadline_ms: Option<i64>,
    flags: ShutdownFlags,
    /// A signal that has come and is heeded by the timer.
    signal: Option<i32>,
    /// True as soon as SIGINT has come, which the loop can't tell while the final snapshot is written.
    interrupt: Option<Arc<AtomicBool>>,
}

impl Shutdown {
    /// The code with which the loop is to end, if it is.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit
    }

    /// The loop is to end.
    pub fn exit_with(&mut self, code: i32) {
        self.exit = Some(code);
    }

    /// Has `interrupt` looked at while the final snapshot is written.
    pub fn heed_interrupt(&mut self, interrupt: Option<Arc<AtomicBool>>) {
        self.interrupt = interrupt;
    }

    /// What tells during the final snapshot that the user insists. Who shuts down by command has not sent a signal yet:
    /// the first one insists on nothing.
    pub fn insisting(&self) -> Option<Arc<AtomicBool>> {
        self.interrupt.clone().filter(|_| self.signal.is_some())
    }

    /// Whether a signal to end has come.
    pub fn is_signalled(&self) -> bool {
        self.signal.is_some()
    }

    /// A signal to end has come.
    pub fn note_signal(&mut self, signal: i32) {
        self.signal = Some(signal);
    }

    /// That signal has not ended the server: another one may.
    pub fn forget_signal(&mut self) {
        self.signal = None;
    }

    /// The signal that has come and that nothing has been done about.
    pub fn unheeded_signal(&self) -> Option<i32> {
        self.signal.filter(|_| !self.is_pending() && self.exit.is_none())
    }

    /// Ending begins.
    pub fn begin(&mut self, flags: ShutdownFlags) {
        self.flags = flags;
    }

    /// How the server is to end.
    pub fn flags(&self) -> ShutdownFlags {
        self.flags
    }

    /// Waits for replicas until then.
    pub fn wait_until(&mut self, deadline_ms: i64) {
        self.deadline_ms = Some(deadline_ms);
    }

    /// Whether ending has begun and waits for replicas.
    pub fn is_pending(&self) -> bool {
        self.deadline_ms.is_some()
    }

    /// Whether it has waited for replicas for as long as it may.
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.deadline_ms.is_some_and(|deadline_ms| now_ms >= deadline_ms)
    }

    /// How long it waits for replicas at most, in milliseconds, if it does.
    pub fn milliseconds_left(&self, now_ms: i64) -> Option<i64> {
        self.deadline_ms.map(|deadline_ms| deadline_ms - now_ms)
    }

    /// The server goes on.
    pub fn cancel(&mut self) {
        *self = Shutdown { interrupt: self.interrupt.take(), ..Shutdown::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_heeded_once() {
        let mut shutdown = Shutdown::default();
        assert_eq!(shutdown.unheeded_signal(), None);
        shutdown.note_signal(libc::SIGTERM);
        assert_eq!(shutdown.unheeded_signal(), Some(libc::SIGTERM));
        shutdown.begin(ShutdownFlags::empty());
        shutdown.wait_until(2_000);
        assert_eq!(shutdown.unheeded_signal(), None, "it waits for replicas");
        assert!(shutdown.is_signalled());
        assert_eq!(shutdown.milliseconds_left(1_500), Some(500));
        assert!(!shutdown.is_overdue(1_999));
        assert!(shutdown.is_overdue(2_000));
    }

    #[test]
    fn what_is_cancelled_is_forgotten_but_for_the_interrupt() {
        let mut shutdown = Shutdown::default();
        shutdown.heed_interrupt(Some(Arc::default()));
        assert!(shutdown.insisting().is_none(), "no signal has come");
        shutdown.note_signal(libc::SIGINT);
        assert!(shutdown.insisting().is_some());
        shutdown.wait_until(1);
        shutdown.exit_with(0);
        shutdown.cancel();
        assert!(!shutdown.is_pending() && !shutdown.is_signalled());
        assert_eq!(shutdown.exit_code(), None);
        shutdown.note_signal(libc::SIGINT);
        assert!(shutdown.insisting().is_some());
    }

    #[test]
    fn the_timer_counts_seconds_and_periods() {
        let mut life = Lifecycle::default();
        assert!(life.is_starting());
        let seconds = (0..20).filter(|_| {
            let first = life.begins_second(10);
            life.count_cron();
            first
        });
        assert_eq!(seconds.count(), 2);
        assert!(life.take_replication_cron_due(5_000));
        assert!(!life.take_replication_cron_due(5_999));
        assert!(life.take_replication_cron_due(6_000));
    }
}
