//! The one that saves or rewrites in the background: a forked child, or the walk of this process.

use super::child::Child;
use super::forkless::Forkless;
use super::task::{Pipe, SaveTarget, Task};
use crate::rdb::writer::RdbVersion;
use crate::server::config::SnapshotMethod;
use crate::sys::children::ChildEnd;
use mio::unix::pipe::Receiver;

/// How far a saver is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reports {
    pub keys_total: u64,
    pub keys_done: u64,
    /// Bytes taken beside the data: the latest figure, and the largest.
    pub cow: u64,
    pub cow_peak: u64,
    /// When the latest figure came, in milliseconds since 1970.
    pub updated_ms: i64,
}

/// By whom the work is done.
pub(crate) enum Worker {
    Child(Child),
    Walk(Box<Forkless>),
}

/// One that saves.
pub struct Saver {
    task: Task,
    worker: Worker,
    /// Seconds since 1970.
    started: i64,
    reports: Reports,
}

impl Saver {
    /// `started`: in seconds since 1970.
    pub(crate) fn new(task: Task, worker: Worker, keys_total: u64, started: i64) -> Saver {
        let reports = Reports { keys_total, updated_ms: started * 1000, ..Reports::default() };
        Saver { task, worker, started, reports }
    }

    /// What the temporary file is known by.
    pub(crate) fn id(&self) -> String {
        match &self.worker {
            Worker::Child(child) => child.pid().to_string(),
            Worker::Walk(walk) => walk.id().to_string(),
        }
    }

    /// Who it is, for whoever reads about it.
    pub(crate) fn name(&self) -> String {
        match &self.worker {
            Worker::Child(child) => format!("child {}", child.pid()),
            Worker::Walk(_) => "this process".to_string(),
        }
    }

    pub(crate) fn method(&self) -> SnapshotMethod {
        match self.worker {
            Worker::Child(_) => SnapshotMethod::Fork,
            Worker::Walk(_) => SnapshotMethod::Incremental,
        }
    }

    pub(crate) fn target(&self) -> SaveTarget {
        self.task.target()
    }

    /// When it began, in seconds since 1970.
    pub(crate) fn started(&self) -> i64 {
        self.started
    }

    pub(crate) fn reports(&self) -> &Reports {
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

    pub(crate) fn walk(&self) -> Option<&Forkless> {
        match &self.worker {
            Worker::Child(_) => None,
            Worker::Walk(walk) => Some(walk),
        }
    }

    pub(crate) fn walk_mut(&mut self) -> Option<&mut Forkless> {
        match &mut self.worker {
            Worker::Child(_) => None,
            Worker::Walk(walk) => Some(walk),
        }
    }

    pub(super) fn worker_mut(&mut self) -> &mut Worker {
        &mut self.worker
    }

    /// Takes note of what has been done; the most memory that it has taken, in bytes.
    pub(crate) fn receive_reports(&mut self, now_ms: i64) -> u64 {
        let latest = match &mut self.worker {
            Worker::Child(child) => child.receive_report(),
            Worker::Walk(walk) => Some(walk.report()),
        };
        if let Some(report) = latest {
            let reports = &mut self.reports;
            (reports.keys_done, reports.cow, reports.updated_ms) =
                (report.keys, report.cow, now_ms);
            reports.cow_peak = reports.cow_peak.max(report.cow);
        }
        self.reports.cow_peak
    }

    /// How it ended, once nothing of what it made is left to be taken: what is in the pipe goes to the replicas first,
    /// unless it is half a snapshot, which would be of no use to them.
    pub(crate) fn finished(&mut self) -> Option<ChildEnd> {
        let has_pipe = self.has_pipe();
        let end = match &mut self.worker {
            Worker::Child(child) => child.end(),
            Worker::Walk(walk) => walk.end(),
        };
        end.filter(|end| !has_pipe || *end != ChildEnd::Exited(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::unix::pipe;

    fn saver(task: Task, end: Option<ChildEnd>) -> Saver {
        let (_, reports) = pipe::new().expect("a pipe");
        Saver::new(task, Worker::Child(Child::new(0, reports, end)), 0, 0)
    }

    fn through_pipe(end: ChildEnd) -> Saver {
        let (_, receiver) = pipe::new().expect("a pipe");
        let (version, mark) = (RdbVersion::V10, "mark".to_string());
        saver(Task::Pipe { version, mark, pipe: Pipe::Open(receiver) }, Some(end))
    }

    #[test]
    fn a_pipe_is_emptied_before_its_saver_has_finished() {
        let mut saver = through_pipe(ChildEnd::Exited(0));
        assert!(saver.has_pipe());
        assert_eq!(saver.finished(), None);
        assert!(saver.pipe_drained().is_some());
        assert!(!saver.has_pipe() && saver.pipe_drained().is_none());
        assert_eq!(saver.finished(), Some(ChildEnd::Exited(0)));
        assert_eq!(saver.mark(), "mark");
    }

    #[test]
    fn nobody_waits_for_half_a_snapshot() {
        for end in [ChildEnd::Exited(1), ChildEnd::Signaled(libc::SIGKILL)] {
            assert_eq!(through_pipe(end).finished(), Some(end));
        }
    }

    #[test]
    fn what_is_made_says_where_it_goes() {
        let version = RdbVersion::V10;
        let file = saver(Task::File { version }, None);
        assert_eq!((file.target(), file.version()), (SaveTarget::Disk, Some(version)));
        let base = saver(Task::AofBase { rdb: true }, None);
        assert_eq!((base.target(), base.version()), (SaveTarget::Aof { rdb: true }, None));
        assert_eq!((file.mark(), base.mark()), ("", ""));
    }
}
