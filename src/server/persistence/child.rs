//! The child that saves or rewrites: how it is made, what it reports while it works, how it is ended.

use crate::rdb::writer::RdbVersion;
use crate::server::Server;
use crate::server::observe::latency;
use crate::server::oom_score;
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

/// What the parent knows of its child's progress.
#[derive(Debug)]
pub struct ChildReports {
    pipe: Receiver,
    pub keys_total: u64,
    pub keys_done: u64,
    /// Bytes; the latest figure, and the largest.
    pub cow: u64,
    pub cow_peak: u64,
    /// When the latest figure came, in milliseconds since 1970.
    pub updated_ms: i64,
}

impl ChildReports {
    fn receive(&mut self, now_ms: i64) {
        let mut report = [0; REPORT_LEN];
        // Reports are written whole, and smaller than what a pipe takes at once.
        while matches!(self.pipe.read(&mut report), Ok(REPORT_LEN)) {
            let number = |half: &[u8]| half.try_into().map(u64::from_le_bytes).unwrap_or(0);
            self.keys_done = number(&report[..8]);
            self.cow = number(&report[8..]);
            self.cow_peak = self.cow_peak.max(self.cow);
            self.updated_ms = now_ms;
        }
    }
}

/// What a child makes, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveTarget {
    /// `dbfilename`; replicas that wait are sent that file.
    Disk,
    /// A pipe, and from it to the replicas that wait.
    Replicas,
    /// Straight to the connections that replicas have opened for it.
    RdbChannels,
    /// A new base file of the append-only file; `rdb`: as a snapshot.
    Aof { rdb: bool },
}

impl SaveTarget {
    /// What the child's memory was copied for, in the log's words.
    pub fn purpose(self) -> &'static str {
        match self {
            SaveTarget::Disk | SaveTarget::Replicas | SaveTarget::RdbChannels => "RDB",
            SaveTarget::Aof { .. } => "AOF rewrite",
        }
    }

    /// What the child calls itself.
    pub fn process_title(self) -> &'static str {
        match self {
            SaveTarget::Disk => "aeolis-rdb-bgsave",
            SaveTarget::Replicas | SaveTarget::RdbChannels => "aeolis-rdb-to-slaves",
            SaveTarget::Aof { .. } => "aeolis-aof-rewrite",
        }
    }
}

/// What comes through a diskless snapshot's pipe goes from it to the replicas.
#[derive(Debug)]
pub(crate) enum Pipe {
    Open(Receiver),
    /// Its end has been seen.
    Drained,
}

/// What a child makes, with what the server needs for that meanwhile. A mark is what ends the bytes that a replica
/// gets, of which nobody knows in advance how many there will be.
#[derive(Debug)]
pub(crate) enum Task {
    File { version: RdbVersion },
    Pipe { version: RdbVersion, mark: String, pipe: Pipe },
    Channels { version: RdbVersion, mark: String },
    AofBase { rdb: bool },
}

impl Task {
    fn target(&self) -> SaveTarget {
        match self {
            Task::File { .. } => SaveTarget::Disk,
            Task::Pipe { .. } => SaveTarget::Replicas,
            Task::Channels { .. } => SaveTarget::RdbChannels,
            Task::AofBase { rdb } => SaveTarget::Aof { rdb: *rdb },
        }
    }
}

/// How far a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    AtWork,
    /// The system tells only once how it ended.
    Ended(ChildEnd),
}

/// A child that saves.
#[derive(Debug)]
pub struct SaveChild {
    pid: i32,
    task: Task,
    life: Life,
    /// Seconds since 1970.
    started: i64,
    reports: ChildReports,
}

impl SaveChild {
    pub(crate) fn new(pid: i32, task: Task, started: i64, reports: ChildReports) -> SaveChild {
        SaveChild { pid, task, life: Life::AtWork, started, reports }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn target(&self) -> SaveTarget {
        self.task.target()
    }

    /// When it began, in seconds since 1970.
    pub(crate) fn started(&self) -> i64 {
        self.started
    }

    pub(crate) fn reports(&self) -> &ChildReports {
        &self.reports
    }

    /// The version of the snapshot that it writes, if that is for others.
    pub(crate) fn version(&self) -> Option<RdbVersion> {
        match self.task {
            Task::File { version }
            | Task::Pipe { version, .. }
            | Task::Channels { version, .. } => Some(version),
            Task::AofBase { .. } => None,
        }
    }

    /// What ends the bytes that a replica gets; empty for a file.
    pub(crate) fn mark(&self) -> &str {
        match &self.task {
            Task::Pipe { mark, .. } | Task::Channels { mark, .. } => mark,
            Task::File { .. } | Task::AofBase { .. } => "",
        }
    }

    /// What a diskless snapshot comes through, until its end has been seen.
    pub(crate) fn pipe(&mut self) -> Option<&mut Receiver> {
        match &mut self.task {
            Task::Pipe { pipe: Pipe::Open(pipe), .. } => Some(pipe),
            _ => None,
        }
    }

    /// Whether that end has not been seen yet.
    pub(crate) fn has_pipe(&self) -> bool {
        matches!(&self.task, Task::Pipe { pipe: Pipe::Open(_), .. })
    }

    /// The pipe's end has been seen: it is given away.
    pub(crate) fn pipe_drained(&mut self) -> Option<Receiver> {
        let Task::Pipe { pipe, .. } = &mut self.task else { return None };
        match std::mem::replace(pipe, Pipe::Drained) {
            Pipe::Open(receiver) => Some(receiver),
            Pipe::Drained => None,
        }
    }

    /// Takes note of what it has reported; the most memory that it had of its own, in bytes.
    pub(crate) fn receive_reports(&mut self, now_ms: i64) -> u64 {
        self.reports.receive(now_ms);
        self.reports.cow_peak
    }

    /// How it ended; `None`: it is at work.
    fn end(&mut self) -> Option<ChildEnd> {
        if self.life == Life::AtWork
            && let Some(end) = children::try_wait(self.pid)
        {
            self.life = Life::Ended(end);
        }
        match self.life {
            Life::AtWork => None,
            Life::Ended(end) => Some(end),
        }
    }

    /// How it ended, once nothing of what it made is left to be taken: what is in the pipe goes to the replicas first,
    /// unless it is half a snapshot, which would be of no use to them.
    pub(crate) fn finished(&mut self) -> Option<ChildEnd> {
        let has_pipe = self.has_pipe();
        self.end().filter(|end| !has_pipe || *end != ChildEnd::Exited(0))
    }
}

/// This process is a child from now on.
pub(crate) fn become_fork_child(server: &mut Server) {
    server.process.set_fork_child(true);
    // Why it failed has been logged; that the child is ended later than it should be is no reason to end it now.
    let _ = oom_score::apply_oom_score(server);
}

/// Starts a child that writes what is in memory; the loop goes on. The child has the descriptors `inherited`, and
/// is told its process id.
///
/// # Errors
/// If none can be made.
pub(crate) fn fork_saver(
    server: &mut Server,
    task: Task,
    inherited: &[i32],
    body: impl FnOnce(&Server, i32, &mut Progress) -> io::Result<()>,
) -> io::Result<i32> {
    let (report_to, reports) = pipe::new()?;
    let target = task.target();
    let keys_total = server.ks.len() as u64;
    let started = server.ks.clock.nanos();
    let inherited = [inherited, &[report_to.as_raw_fd()]].concat();
    for db in &mut server.ks.dbs {
        // Moving buckets while a child shares the memory would copy it page by page.
        db.table.set_resize_allowed(false);
    }
    let forked = children::fork_child(&inherited, |pid| {
        become_fork_child(server);
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
    let reports = ChildReports {
        pipe: reports,
        keys_total,
        keys_done: 0,
        cow: 0,
        cow_peak: 0,
        updated_ms: server.ks.now_ms,
    };
    let started = server.now_seconds();
    server.persistence.set_child(SaveChild::new(pid, task, started, reports));
    Ok(pid)
}

/// Ends a child and waits until it has gone.
pub(crate) fn end_child(server: &mut Server, child: &mut SaveChild, signal: i32) {
    // The process id of one that has ended may be somebody else's by now.
    if child.end().is_none() {
        children::kill(child.pid, signal);
        children::wait(child.pid);
    }
    child_is_gone(server);
}

/// No child shares the memory any more.
pub(crate) fn child_is_gone(server: &mut Server) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn child(task: Task) -> SaveChild {
        let (_, pipe) = pipe::new().expect("a pipe");
        let reports =
            ChildReports { pipe, keys_total: 0, keys_done: 0, cow: 0, cow_peak: 0, updated_ms: 0 };
        SaveChild::new(0, task, 0, reports)
    }

    fn through_pipe() -> SaveChild {
        let (_, receiver) = pipe::new().expect("a pipe");
        let (version, mark) = (RdbVersion::V10, "mark".to_string());
        child(Task::Pipe { version, mark, pipe: Pipe::Open(receiver) })
    }

    #[test]
    fn a_pipe_is_emptied_before_its_child_has_finished() {
        let mut child = through_pipe();
        child.life = Life::Ended(ChildEnd::Exited(0));
        assert!(child.has_pipe());
        assert_eq!(child.finished(), None);
        assert!(child.pipe_drained().is_some());
        assert!(!child.has_pipe() && child.pipe_drained().is_none());
        assert_eq!(child.finished(), Some(ChildEnd::Exited(0)));
        assert_eq!(child.mark(), "mark");
    }

    #[test]
    fn nobody_waits_for_half_a_snapshot() {
        for end in [ChildEnd::Exited(1), ChildEnd::Signaled(libc::SIGKILL)] {
            let mut child = through_pipe();
            child.life = Life::Ended(end);
            assert_eq!(child.finished(), Some(end));
        }
    }

    #[test]
    fn what_a_child_makes_says_where_it_goes() {
        let version = RdbVersion::V10;
        let file = child(Task::File { version });
        assert_eq!((file.target(), file.version()), (SaveTarget::Disk, Some(version)));
        let base = child(Task::AofBase { rdb: true });
        assert_eq!((base.target(), base.version()), (SaveTarget::Aof { rdb: true }, None));
        assert_eq!((file.mark(), base.mark()), ("", ""));
    }
}
