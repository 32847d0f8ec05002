//! Snapshots: written by a forked child or in the foreground; [`load`] is the way back.

pub mod load;

use super::Server;
use super::aof::AofState;
use super::child::{ChildReports, Progress};
use super::replication::Excluded;
use super::replication::primary::dual_channel::RdbChannelWriter;
use crate::rdb::RdbWriter;
use crate::rdb::writer::{RdbVersion, WriterOptions};
use crate::resp::error::{CommandError, ErrorCode};
use crate::sys::children::{self, ChildEnd};
use crate::sys::durable::{IncrementalSync, sync_dir_of};
use crate::sys::process;
use crate::util::alloc;
use crate::util::io_reason;
use mio::unix::pipe::{Receiver, Sender};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How long to wait before another attempt by itself, after a background save failed, in seconds.
const RETRY_DELAY: i64 = 5;

/// Why writes may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The last background save failed.
    Snapshot,
    /// The append-only file can't be written, for this reason.
    Aof(String),
}

impl From<DiskError> for CommandError {
    fn from(error: DiskError) -> CommandError {
        const SNAPSHOT: CommandError = CommandError::new(
            ErrorCode::Misconf,
            "Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
             may modify the data set are disabled, because this instance is configured to report errors during writes \
             if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details \
             about the RDB error.",
        );
        match error {
            DiskError::Snapshot => SNAPSHOT,
            DiskError::Aof(reason) => {
                let text = format!("Errors writing to the AOF file: {reason}");
                CommandError::with(ErrorCode::Misconf, text)
            }
        }
    }
}

/// Where a child's snapshot goes.
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

/// What a snapshot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub excluded: Excluded,
    pub version: RdbVersion,
}

/// What a snapshot is written for.
#[derive(Clone, Copy, Debug)]
pub enum SnapshotUse<'a> {
    /// A file or a replica; with the replication state, if there is any.
    Snapshot { origin: Option<&'a SnapshotOrigin>, contents: Contents },
    /// The base of an append-only file.
    AofBase,
}

/// What a child writes a snapshot to.
enum Output {
    File,
    Pipe(Sender),
    Channels(RdbChannelWriter),
}

impl Output {
    /// What the child has to keep open.
    fn descriptors(&self) -> Vec<i32> {
        match self {
            Output::File => Vec::new(),
            Output::Pipe(pipe) => vec![pipe.as_raw_fd()],
            Output::Channels(channels) => channels.descriptors(),
        }
    }
}

/// A child that saves.
#[derive(Debug)]
pub struct SaveChild {
    pub pid: i32,
    pub target: SaveTarget,
    /// The version of the snapshot that it writes.
    pub version: Option<RdbVersion>,
    /// Seconds since 1970.
    pub started: i64,
    /// What a diskless snapshot comes through, until its end has been seen.
    pub pipe: Option<Receiver>,
    pub reports: ChildReports,
    /// How it ended, once that was seen: the system tells it only once.
    ended: Option<ChildEnd>,
}

impl SaveChild {
    pub fn new(
        pid: i32,
        target: SaveTarget,
        started: i64,
        pipe: Option<Receiver>,
        reports: ChildReports,
    ) -> SaveChild {
        SaveChild { pid, target, version: None, started, pipe, reports, ended: None }
    }

    /// How it ended; `None`: it is at work.
    pub fn end(&mut self) -> Option<ChildEnd> {
        self.ended = self.ended.or_else(|| children::try_wait(self.pid));
        self.ended
    }
}

/// What is known of snapshots.
#[derive(Debug)]
pub struct Persistence {
    pub child: Option<SaveChild>,
    /// A signal has told that a child has ended: it need not wait for the cron.
    pub child_ended: bool,
    /// A `BGSAVE SCHEDULE` that waits for another child.
    pub scheduled: bool,
    /// Seconds since 1970.
    pub last_save: i64,
    pub last_bgsave_try: i64,
    pub last_bgsave_ok: bool,
    /// Seconds; -1: none so far.
    pub last_bgsave_seconds: i64,
    pub saves: u64,
    pub last_cow_bytes: u64,
    dirty_before_bgsave: u64,
    pub keys_loaded: u64,
    pub keys_expired: u64,
}

impl Persistence {
    pub fn new(now_seconds: i64) -> Persistence {
        Persistence {
            child: None,
            child_ended: false,
            scheduled: false,
            last_save: now_seconds,
            last_bgsave_try: 0,
            last_bgsave_ok: true,
            last_bgsave_seconds: -1,
            saves: 0,
            last_cow_bytes: 0,
            dirty_before_bgsave: 0,
            keys_loaded: 0,
            keys_expired: 0,
        }
    }
}

/// The replication state that a snapshot carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOrigin {
    pub id: String,
    pub offset: u64,
    pub stream_db: usize,
}

impl Server {
    /// The path of the snapshot file.
    pub fn rdb_path(&self) -> PathBuf {
        self.config.dir.join(&self.config.dbfilename)
    }

    /// All data, as this server writes them for itself.
    pub fn all_contents(&self) -> Contents {
        let version = self.rdb_version(self.config.expiring_fields_version());
        Contents { excluded: Excluded::empty(), version }
    }

    /// The version of RDB to write: `expiring`, if there are hashes whose fields expire, else one that all can read.
    pub fn rdb_version(&self, expiring: RdbVersion) -> RdbVersion {
        if self.ks.has_expiring_fields() { expiring } else { RdbVersion::V10 }
    }

    /// Writes all data as an RDB file.
    ///
    /// # Errors
    /// What writing reports.
    pub fn write_snapshot<W: Write>(
        &self,
        out: W,
        purpose: SnapshotUse<'_>,
        progress: &mut Progress,
    ) -> io::Result<W> {
        let Contents { excluded, version } = match purpose {
            SnapshotUse::Snapshot { contents, .. } => contents,
            SnapshotUse::AofBase => self.all_contents(),
        };
        let options = WriterOptions {
            version,
            compress: self.config.rdbcompression,
            checksum: self.config.rdbchecksum,
        };
        let mut rdb = RdbWriter::new(out, options);
        let mut digits = itoa::Buffer::new();
        rdb.header()?;
        rdb.aux(b"redis-ver", super::REDIS_VERSION.as_bytes())?;
        rdb.aux(b"redis-bits", b"64")?;
        rdb.aux(b"ctime", digits.format(self.now_seconds()).as_bytes())?;
        rdb.aux(b"used-mem", digits.format(alloc::used_memory()).as_bytes())?;
        if let SnapshotUse::Snapshot { origin: Some(origin), .. } = purpose {
            rdb.aux(b"repl-stream-db", digits.format(origin.stream_db).as_bytes())?;
            rdb.aux(b"repl-id", origin.id.as_bytes())?;
            rdb.aux(b"repl-offset", digits.format(origin.offset).as_bytes())?;
        }
        let is_base = matches!(purpose, SnapshotUse::AofBase);
        rdb.aux(b"aof-base", if is_base { b"1" } else { b"0" })?;
        if !excluded.contains(Excluded::FUNCTIONS) {
            for library in self.libraries.iter() {
                rdb.function(&library.code)?;
            }
        }
        if excluded.contains(Excluded::DATA) {
            return Ok(rdb.finish()?.0);
        }
        let lfu = self.config.maxmemory_policy.is_lfu();
        let lru = self.config.maxmemory_policy.is_lru();
        for (n, db) in self.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
            rdb.select_db(n as u64)?;
            rdb.resize_db(db.len() as u64, db.volatile() as u64)?;
            for entry in db.table.iter() {
                let idle = lru.then(|| self.ks.access.idle_seconds(entry));
                let freq = lfu.then(|| self.ks.access.frequency(entry));
                rdb.entry(entry.key(), entry.value(), entry.expire(), idle, freq)?;
                progress.key_saved(self.config.rdb_key_save_delay)?;
            }
        }
        Ok(rdb.finish()?.0)
    }

    /// Writes all data as a snapshot between marks, as a reader needs it that can't see the end.
    fn write_marked_snapshot(
        &self,
        mut out: impl Write,
        purpose: SnapshotUse<'_>,
        progress: &mut Progress,
    ) -> io::Result<()> {
        let mark = &self.snapshot_eof_mark;
        write!(out, "$EOF:{mark}\r\n")?;
        out = self.write_snapshot(out, purpose, progress)?;
        out.write_all(mark.as_bytes())
    }

    /// The replication state to put into a snapshot, if there is any.
    pub fn snapshot_origin(&self) -> Option<SnapshotOrigin> {
        self.repl.stream.as_ref()?;
        let stream_db = match &self.repl.primary {
            // What the primary's stream has selected.
            Some(link) => {
                let client = link.token.and_then(|token| self.clients.get(token));
                let client = client.filter(|_| link.is_connected());
                client.map_or(link.stream_db(), |client| client.db)
            }
            None => self.repl.selected_db.unwrap_or(0),
        };
        Some(SnapshotOrigin { id: self.repl.id.clone(), offset: self.repl.offset, stream_db })
    }

    /// Writes the snapshot file: to a temporary file, made durable, and only then in place of the old one. A failure is
    /// logged.
    fn write_rdb_file(
        &self,
        pid: i32,
        purpose: SnapshotUse<'_>,
        progress: &mut Progress,
    ) -> io::Result<()> {
        let (temporary, target) = (self.temporary_rdb(pid), self.rdb_path());
        let name = temporary.file_name().unwrap_or_default().display();
        let dir = self.config.dir.display();
        let failed = |what: &str, error: &io::Error| {
            self.warning(&format!("{what}: {}", io_reason(error)));
        };
        let mut write = || {
            let file = File::create(&temporary).inspect_err(|error| {
                let what = format!(
                    "Failed opening the temp RDB file {name} (in server root dir {dir}) for saving"
                );
                failed(&what, error);
            })?;
            let file = IncrementalSync::new(file, self.config.rdb_save_incremental_fsync);
            let file = self.write_snapshot(file, purpose, progress).inspect_err(|error| {
                failed("Write error while saving DB to the disk(rdbSaveRio)", error);
            })?;
            file.file.sync_all().inspect_err(|error| {
                failed("Write error while saving DB to the disk(fsync)", error);
            })?;
            fs::rename(&temporary, &target).inspect_err(|error| {
                let what = format!(
                    "Error moving temp DB file {name} on the final destination {} (in server root dir {dir})",
                    self.config.dbfilename
                );
                failed(&what, error);
            })?;
            sync_dir_of(&target).inspect_err(|error| {
                failed("Failed to fsync directory while saving DB", error);
            })
        };
        let outcome = write();
        if outcome.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        outcome
    }

    fn temporary_rdb(&self, pid: i32) -> PathBuf {
        self.config.dir.join(format!("temp-{pid}.rdb"))
    }

    /// `SAVE`: writes the snapshot while everybody waits.
    pub fn rdb_save(&mut self) -> bool {
        self.rdb_save_until(&[])
    }

    /// The same, but gives up when one of these signals comes.
    pub fn rdb_save_until(&mut self, signals: &[Arc<AtomicBool>]) -> bool {
        let (origin, contents) = (self.snapshot_origin(), self.all_contents());
        let purpose = SnapshotUse::Snapshot { origin: origin.as_ref(), contents };
        let pid = std::process::id() as i32;
        match self.write_rdb_file(pid, purpose, &mut Progress::until(signals)) {
            Ok(()) => {
                self.notice("DB saved on disk");
                self.note_saved();
                true
            }
            Err(_) => false,
        }
    }

    fn note_saved(&mut self) {
        self.ks.changes.dirty = 0;
        self.persistence.last_save = self.now_seconds();
        self.persistence.last_bgsave_ok = true;
    }

    /// Starts a child that saves these contents; the loop goes on.
    ///
    /// # Errors
    /// If there is a child already, or none can be made.
    pub fn rdb_save_background(
        &mut self,
        target: SaveTarget,
        contents: Contents,
    ) -> io::Result<()> {
        if self.persistence.child.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.persistence.saves += u64::from(target == SaveTarget::Disk);
        self.persistence.dirty_before_bgsave = self.ks.changes.dirty;
        self.persistence.last_bgsave_try = self.now_seconds();
        let origin = self.snapshot_origin();
        let forked = self.output_for(target).and_then(|(output, receiver)| {
            let inherited = output.descriptors();
            self.fork_saver(target, &inherited, receiver, |server, pid, progress| {
                let purpose = SnapshotUse::Snapshot { origin: origin.as_ref(), contents };
                let outcome = match output {
                    Output::File => server.write_rdb_file(pid, purpose, progress),
                    Output::Pipe(pipe) => server.write_snapshot(pipe, purpose, progress).map(drop),
                    Output::Channels(channels) => {
                        server.write_marked_snapshot(channels, purpose, progress)
                    }
                };
                match &outcome {
                    Ok(()) if target == SaveTarget::Disk => server.notice("DB saved on disk"),
                    Err(error) if target != SaveTarget::Disk => {
                        server.warning(&format!("Write error saving DB: {}", io_reason(error)));
                    }
                    _ => {}
                }
                outcome
            })
        });
        let pid = forked.inspect_err(|error| {
            self.persistence.last_bgsave_ok = false;
            self.warning(&format!("Can't save in background: fork: {}", io_reason(error)));
        })?;
        if let Some(child) = &mut self.persistence.child {
            child.version = Some(contents.version);
        }
        self.notice(&match target {
            SaveTarget::Replicas => {
                format!(
                    "Background RDB transfer started by pid {pid} to pipe through parent process"
                )
            }
            SaveTarget::RdbChannels => {
                format!("Background RDB transfer started by pid {pid} to direct socket to replica")
            }
            _ => format!("Background saving started by pid {pid}"),
        });
        Ok(())
    }

    /// What the child is to write to, and where the server reads what goes through it.
    fn output_for(&self, target: SaveTarget) -> io::Result<(Output, Option<Receiver>)> {
        Ok(match target {
            SaveTarget::Disk | SaveTarget::Aof { .. } => (Output::File, None),
            SaveTarget::RdbChannels => (Output::Channels(self.rdb_channel_writer()?), None),
            SaveTarget::Replicas => {
                let (sender, mut receiver) = mio::unix::pipe::new()?;
                sender.set_nonblocking(false)?;
                process::widen_pipe(&sender);
                if let Some(registry) = &self.registry {
                    let interest = mio::Interest::READABLE;
                    registry.register(&mut receiver, super::SNAPSHOT_PIPE, interest)?;
                }
                (Output::Pipe(sender), Some(receiver))
            }
        })
    }

    /// Ends the child that saves, and forgets it. One that rewrites the append-only file is left alone.
    pub fn kill_save_child(&mut self) {
        let is_snapshot = |target| !matches!(target, SaveTarget::Aof { .. });
        let Some(mut child) = self.take_child_if(is_snapshot) else { return };
        self.end_child(&mut child, libc::SIGKILL);
        let _ = fs::remove_file(self.temporary_rdb(child.pid));
        self.snapshot_done(child.target, false);
    }

    /// Sees whether the child has ended, and draws the consequences.
    pub fn check_child(&mut self) {
        let Some(child) = &mut self.persistence.child else { return };
        let Some(end) = child.end() else { return };
        if child.pipe.is_some() && end == ChildEnd::Exited(0) {
            // What is in the pipe goes to the replicas first. Half a snapshot would be of no use to them.
            return;
        }
        self.receive_child_reports();
        let Some(child) = self.persistence.child.take() else { return };
        self.child_is_gone();
        if matches!(child.target, SaveTarget::Aof { .. }) {
            self.background_rewrite_done(&child, end);
            // A replica may have come meanwhile.
            return;
        }
        self.background_save_done(&child, end);
        self.snapshot_done(child.target, end == ChildEnd::Exited(0));
    }

    fn background_save_done(&mut self, child: &SaveChild, end: ChildEnd) {
        let ok = end == ChildEnd::Exited(0);
        match (child.target, end) {
            (SaveTarget::Disk, _) if ok => {
                self.notice("Background saving terminated with success");
                let during = self.ks.changes.dirty
                    - self.persistence.dirty_before_bgsave.min(self.ks.changes.dirty);
                self.note_saved();
                self.ks.changes.dirty = during;
            }
            (SaveTarget::Disk, ChildEnd::Exited(_)) => {
                self.warning("Background saving error");
                self.persistence.last_bgsave_ok = false;
            }
            (SaveTarget::Disk, ChildEnd::Signaled(signal)) => {
                self.warning(&format!("Background saving terminated by signal {signal}"));
                let started = self.clock.nanos();
                let _ = fs::remove_file(self.temporary_rdb(child.pid));
                self.note_latency("rdb-unlink-temp-file", self.clock.since(started));
                // SIGUSR1 is how an operator ends a child on purpose.
                if signal != libc::SIGUSR1 {
                    self.persistence.last_bgsave_ok = false;
                }
            }
            _ if ok => self.notice("Background RDB transfer terminated with success"),
            (_, ChildEnd::Signaled(signal)) => {
                self.warning(&format!("Background transfer terminated by signal {signal}"));
            }
            (SaveTarget::RdbChannels, _) => self.warning("Background RDB transfer error"),
            _ => self.warning("Background transfer error"),
        }
        if child.target == SaveTarget::Disk {
            self.persistence.last_bgsave_seconds = self.now_seconds() - child.started;
        }
    }

    /// Starts a background save if a save point has been reached, or one was scheduled.
    pub fn check_save_points(&mut self) {
        if self.persistence.child.is_some() || self.loading.is_some() {
            return;
        }
        let now = self.now_seconds();
        let failed_lately = !self.persistence.last_bgsave_ok
            && now - self.persistence.last_bgsave_try <= RETRY_DELAY;
        let dirty = self.ks.changes.dirty;
        let since = now - self.persistence.last_save;
        let reached = self
            .config
            .save
            .iter()
            .find(|p| dirty >= p.changes && since > p.seconds as i64)
            .filter(|_| !failed_lately);
        if let Some(point) = reached {
            let text = format!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
            self.notice(&text);
        }
        if reached.is_some() || (self.persistence.scheduled && !failed_lately) {
            self.persistence.scheduled = false;
            // A failure has been logged and noted.
            let _ = self.rdb_save_background(SaveTarget::Disk, self.all_contents());
        }
    }

    /// Whether the disk has refused something lately. Cheap, unlike to say what.
    #[inline]
    pub fn has_disk_error(&self) -> bool {
        !self.persistence.last_bgsave_ok
            || self.aof.write_error.is_some()
            || self.aof.fsync_error.is_some()
    }

    /// Why writes may not go on, if so.
    pub fn disk_error(&self) -> Option<DiskError> {
        if !self.persistence.last_bgsave_ok
            && self.config.stop_writes_on_bgsave_error
            && !self.config.save.is_empty()
        {
            return Some(DiskError::Snapshot);
        }
        let reason = self.aof.write_error.as_ref().or(self.aof.fsync_error.as_ref());
        reason.filter(|_| self.aof.state != AofState::Off).cloned().map(DiskError::Aof)
    }
}
