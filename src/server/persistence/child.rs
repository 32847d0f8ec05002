//! The child that saves or rewrites: how it is made, what it reports while it works, how it is ended.

use super::task::SaveTarget;
use crate::server::Server;
use crate::server::observe::latency;
use crate::server::oom_score;
use crate::server::placement;
use crate::sys::children::{self, ChildEnd};
use crate::sys::{process, title};
use mio::unix::pipe::{self, Receiver, Sender};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The clock is looked at after so many keys.
const KEYS_PER_LOOK: u64 = 1024;
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// A report: keys done and bytes copied, as two numbers.
const REPORT_LEN: usize = 16;

/// A child's own view of how far it is.
#[derive(Default)]
pub struct Progress {
    keys: u64,
    /// Copies of pages made so far, in bytes: the latest sample, the largest, their sum and number.
    cow: u64,
    cow_peak: u64,
    cow_sum: u64,
    samples: u64,
    reported: Option<Instant>,
    to_parent: Option<Sender>,
    signals: Vec<Arc<AtomicBool>>,
}

impl Progress {
    /// Of a save in the foreground that gives up when one of these signals comes.
    pub fn until(signals: &[Arc<AtomicBool>]) -> Progress {
        Progress { signals: signals.to_vec(), ..Progress::default() }
    }

    /// A key has been saved. `delay`: `rdb-key-save-delay`.
    ///
    /// # Errors
    /// If saving is to be given up.
    pub fn key_saved(&mut self, delay: i32) -> io::Result<()> {
        if self.keys.is_multiple_of(KEYS_PER_LOOK)
            && self.to_parent.is_some()
            && self.reported.is_none_or(|at| at.elapsed() >= REPORT_PERIOD)
        {
            self.report()?;
        }
        self.keys += 1;
        wait_after_key(delay, self.keys);
        match self.signals.iter().any(|signal| signal.load(Ordering::Relaxed)) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    /// Tells the parent how far the child is.
    ///
    /// # Errors
    /// If there is no parent any more: nobody needs what the child makes.
    pub fn report(&mut self) -> io::Result<()> {
        self.cow = process::private_dirty();
        self.cow_peak = self.cow_peak.max(self.cow);
        self.cow_sum += self.cow;
        self.samples += 1;
        self.reported = Some(Instant::now());
        if let Some(pipe) = &mut self.to_parent {
            let mut report = [0; REPORT_LEN];
            report[..8].copy_from_slice(&self.keys.to_le_bytes());
            report[8..].copy_from_slice(&self.cow.to_le_bytes());
            match pipe.write(&report) {
                // A parent that does not read misses a figure, no more.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a saver tells of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub keys: u64,
    /// Bytes that it takes beside the data.
    pub cow: u64,
}

/// A child that saves.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    /// The system tells only once how it ended.
    end: Option<ChildEnd>,
    reports: Receiver,
}

impl Child {
    /// `end`: how it ended, if that is known already.
    pub(super) fn new(pid: i32, reports: Receiver, end: Option<ChildEnd>) -> Child {
        Child { pid, end, reports }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// The latest report, if one has come.
    pub(super) fn receive_report(&mut self) -> Option<Report> {
        let (mut report, mut latest) = ([0; REPORT_LEN], None);
        // Reports are written whole, and smaller than what a pipe takes at once.
        while matches!(self.reports.read(&mut report), Ok(REPORT_LEN)) {
            let number = |half: &[u8]| half.try_into().map(u64::from_le_bytes).unwrap_or(0);
            latest = Some(Report { keys: number(&report[..8]), cow: number(&report[8..]) });
        }
        latest
    }

    /// How it ended; `None`: it is at work.
    pub(super) fn end(&mut self) -> Option<ChildEnd> {
        if self.end.is_none() {
            self.end = children::try_wait(self.pid);
        }
        self.end
    }
}

/// This process is a child from now on.
pub(crate) fn become_fork_child(server: &mut Server) {
    server.process.set_fork_child(true);
    // Why it failed has been logged; that the child is ended later than it should be is no reason to end it now.
    let _ = oom_score::apply_oom_score(server);
}

/// Starts a child that writes what is in memory for `target`; the loop goes on. The child has the descriptors
/// `inherited`, and is told its process id.
///
/// # Errors
/// If none can be made.
pub(super) fn fork_saver(
    server: &mut Server,
    target: SaveTarget,
    inherited: &[i32],
    body: impl FnOnce(&Server, i32, &mut Progress) -> io::Result<()>,
) -> io::Result<Child> {
    let (report_to, reports) = pipe::new()?;
    let started = server.ks.clock.nanos();
    let inherited = [inherited, &[report_to.as_raw_fd()]].concat();
    for db in &mut server.ks.dbs {
        // Moving buckets while a child shares the memory would copy it page by page.
        db.table.set_resize_allowed(false);
    }
    let forked = children::fork_child(&inherited, |pid| {
        become_fork_child(server);
        placement::place_child(server, target.processors(&server.config));
        title::set(target.process_title());
        let mut progress = Progress { to_parent: Some(report_to), ..Progress::default() };
        let ok = body(server, pid, &mut progress).and_then(|()| progress.report()).is_ok();
        if ok {
            let mb = |bytes: u64| bytes >> 20;
            server.notice(&format!(
                "Fork CoW for {}: current {} MB, peak {} MB, average {} MB",
                target.purpose(),
                mb(progress.cow),
                mb(progress.cow_peak),
                mb(progress.cow_sum / progress.samples)
            ));
        }
        i32::from(!ok)
    });
    // A simulated child is none, and has run in this process.
    server.process.set_fork_child(false);
    let pid = forked.inspect_err(|_| child_is_gone(server))?;
    server.observer.count_fork(server.ks.clock.since(started));
    latency::note_since(server, "fork", started);
    Ok(Child::new(pid, reports, None))
}

/// Ends a child and waits until it has gone.
pub(super) fn end_child(server: &mut Server, child: &mut Child, signal: i32) {
    // The process id of one that has ended may be somebody else's by now.
    if child.end().is_none() {
        children::kill(child.pid, signal);
        children::wait(child.pid);
    }
    child_is_gone(server);
}

/// No child shares the memory any more.
pub(super) fn child_is_gone(server: &mut Server) {
    for db in &mut server.ks.dbs {
        db.table.set_resize_allowed(true);
    }
}

/// Waits after the `n`th key, where a test wants saving or loading to take its time: so many microseconds; if
/// negative, one after so many keys.
pub fn wait_after_key(micros: i32, n: u64) {
    let pause = match micros {
        0 => return,
        1.. => micros.unsigned_abs(),
        _ => u32::from(n.is_multiple_of(micros.unsigned_abs().into())),
    };
    std::thread::sleep(Duration::from_micros(pause.into()));
}
