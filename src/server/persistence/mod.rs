//! What is on disk: snapshots and the append-only file, and the child that writes either.
//!
//! * [`aof`]: the append-only file at run time: writing, rewriting, executing it again.
//! * [`snapshots`]: how the last snapshots went, and whether another one is due.
//! * [`load`]: a snapshot is loaded, from a file or from a primary.
//! * [`child`]: the process that saves, and what it reports.
//! * [`rdb_channels`]: the connections that a snapshot for replicas goes to, where it has some of its own.
//! * [`bio`]: calls to the file system that are too slow for the loop.

pub mod aof;
pub(crate) mod bio;
pub(crate) mod child;
pub mod load;
mod rdb_channels;
pub(crate) mod snapshots;

pub use child::SaveTarget;

use super::Server;
use super::client::Token;
use crate::rdb::RdbWriter;
use crate::rdb::writer::{Excluded, RdbVersion, WriterOptions};
use crate::resp::error::{CommandError, ErrorCode};
use crate::server::config::{Config, SavePoint};
use crate::server::observe::latency;
use crate::server::persistence::aof::rewrite;
use crate::server::random_id;
use crate::sys::children::ChildEnd;
use crate::sys::durable::{IncrementalSync, sync_dir_of};
use crate::sys::process;
use crate::util::alloc;
use crate::util::io_reason;
use aof::Aof;
use bio::Bio;
use child::{Pipe, Progress, SaveChild, Task};
use load::{Found, LoadError, LoadProgress, Loading};
use mio::unix::pipe::Sender;
use rdb_channels::RdbChannelWriter;
use snapshots::{SaveReason, Snapshots};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

/// A child that made a snapshot has ended.
pub(crate) struct SaveEnd {
    pub child: SaveChild,
    pub ok: bool,
}

/// What is on disk, what is on its way there, and what is being loaded.
pub struct Persistence {
    pub(crate) snapshots: Snapshots,
    pub(crate) aof: Aof,
    /// Slow calls to the file system.
    pub(crate) bio: Bio,
    /// What is being loaded, at start-up or from a primary.
    pub(crate) loading: Option<Box<Loading>>,
    /// What was found while loading that concerns replication, which has not taken it yet.
    found: Found,
    /// Who saves.
    child: Option<SaveChild>,
    /// A signal has told that a child has ended: it need not wait for the cron.
    is_child_signalled: bool,
}

impl Persistence {
    pub(crate) fn new(now_seconds: i64) -> Persistence {
        Persistence {
            snapshots: Snapshots::new(now_seconds),
            aof: Aof::default(),
            bio: Bio::default(),
            loading: None,
            found: Found::default(),
            child: None,
            is_child_signalled: false,
        }
    }

    /// Whether a snapshot or an append-only file is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Bytes of the append-only file that is written to that were synced, or are being synced in the background: what a
    /// machine that loses its power is sure to have; `None`: no file is written to.
    pub fn synced_size(&self) -> Option<u64> {
        self.aof.appender().synced_size()
    }

    /// Takes what was found while loading that concerns replication.
    pub(crate) fn take_found(&mut self) -> Found {
        std::mem::take(&mut self.found)
    }

    /// The child that saves, if there is one.
    pub(crate) fn child(&self) -> Option<&SaveChild> {
        self.child.as_ref()
    }

    pub(crate) fn child_mut(&mut self) -> Option<&mut SaveChild> {
        self.child.as_mut()
    }

    /// What the child makes, if there is one.
    pub(crate) fn child_target(&self) -> Option<SaveTarget> {
        self.child.as_ref().map(SaveChild::target)
    }

    /// Whether a child rewrites the append-only file.
    pub(crate) fn is_rewriting_aof(&self) -> bool {
        matches!(self.child_target(), Some(SaveTarget::Aof { .. }))
    }

    /// Whether what is executed goes to the append-only file.
    #[inline]
    pub(crate) fn records_commands(&self) -> bool {
        self.aof.records(self.is_rewriting_aof())
    }

    /// A child is at work from now on.
    fn set_child(&mut self, child: SaveChild) {
        self.child = Some(child);
    }

    /// Takes the child away from where it is waited for, if it is of the kind.
    fn take_child_if(&mut self, is_meant: impl Fn(SaveTarget) -> bool) -> Option<SaveChild> {
        self.child.take_if(|child| is_meant(child.target()))
    }

    /// A signal has told that a child has ended.
    pub(crate) fn note_child_signal(&mut self) {
        self.is_child_signalled = true;
    }

    /// Whether a signal has told so since the last call.
    pub(crate) fn take_child_signal(&mut self) -> bool {
        std::mem::take(&mut self.is_child_signalled)
    }

    /// Takes note of what the child has reported.
    pub(crate) fn receive_child_reports(&mut self, now_ms: i64) {
        let Some(child) = &mut self.child else { return };
        let peak = child.receive_reports(now_ms);
        match child.target() {
            SaveTarget::Aof { .. } => self.aof.note_cow(peak),
            SaveTarget::Disk | SaveTarget::Replicas | SaveTarget::RdbChannels => {
                self.snapshots.note_cow(peak);
            }
        }
    }

    /// Whether the disk has refused something lately. Cheap, unlike to say what.
    #[inline]
    pub(crate) fn has_disk_error(&self) -> bool {
        !self.snapshots.last_ok() || self.aof.error().is_some()
    }

    /// Why writes may not go on, if so.
    pub(crate) fn disk_error(&self, config: &Config) -> Option<DiskError> {
        let counts = config.stop_writes_on_bgsave_error && !config.save.is_empty();
        if !self.snapshots.last_ok() && counts {
            return Some(DiskError::Snapshot);
        }
        self.aof.error().filter(|_| !self.aof.is_off()).cloned().map(DiskError::Aof)
    }
}

/// The replication state that a snapshot carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOrigin {
    pub id: String,
    pub offset: u64,
    pub stream_db: usize,
}

/// The path of the snapshot file.
pub(crate) fn rdb_path(server: &Server) -> PathBuf {
    server.config.dir.join(&server.config.dbfilename)
}

/// All data, as this server writes them for itself.
pub(crate) fn all_contents(server: &Server) -> Contents {
    let version = match server.net.migrations.imports_any() {
        true => RdbVersion::Valkey80,
        false => rdb_version(server, server.config.expiring_fields_version()),
    };
    Contents { excluded: Excluded::empty(), version }
}

/// The version of RDB to write: `expiring`, if there are hashes whose fields expire, else one that all can read, unless
/// it has to tell of slots that are on their way here.
pub(crate) fn rdb_version(server: &Server, expiring: RdbVersion) -> RdbVersion {
    let imports = server.net.migrations.imports_any() && expiring == RdbVersion::Valkey80;
    if imports || server.ks.has_expiring_fields() { expiring } else { RdbVersion::V10 }
}

/// Writes all data as an RDB file.
///
/// # Errors
/// What writing reports.
pub(crate) fn write_snapshot<W: Write>(
    server: &Server,
    out: W,
    purpose: SnapshotUse<'_>,
    progress: &mut Progress,
) -> io::Result<W> {
    let Contents { excluded, version } = match purpose {
        SnapshotUse::Snapshot { contents, .. } => contents,
        SnapshotUse::AofBase => all_contents(server),
    };
    let options = WriterOptions {
        version,
        compress: server.config.rdbcompression,
        checksum: server.config.rdbchecksum,
    };
    let mut rdb = RdbWriter::new(out, options);
    let mut digits = itoa::Buffer::new();
    rdb.header()?;
    rdb.aux(b"redis-ver", super::REDIS_VERSION.as_bytes())?;
    rdb.aux(b"redis-bits", b"64")?;
    rdb.aux(b"ctime", digits.format(server.now_seconds()).as_bytes())?;
    rdb.aux(b"used-mem", digits.format(alloc::used_memory()).as_bytes())?;
    if let SnapshotUse::Snapshot { origin: Some(origin), .. } = purpose {
        rdb.aux(b"repl-stream-db", digits.format(origin.stream_db).as_bytes())?;
        rdb.aux(b"repl-id", origin.id.as_bytes())?;
        rdb.aux(b"repl-offset", digits.format(origin.offset).as_bytes())?;
    }
    let is_base = matches!(purpose, SnapshotUse::AofBase);
    rdb.aux(b"aof-base", if is_base { b"1" } else { b"0" })?;
    if !excluded.contains(Excluded::FUNCTIONS) {
        for library in server.scripting.libraries.iter() {
            rdb.function(&library.code)?;
        }
    }
    if excluded.contains(Excluded::DATA) {
        return Ok(rdb.finish()?.0);
    }
    if version == RdbVersion::Valkey80 {
        for job in server.net.migrations.imports_under_way() {
            rdb.slot_import(job.name.as_bytes(), &job.slots.ranges())?;
        }
    }
    let lfu = server.config.maxmemory_policy.is_lfu();
    let lru = server.config.maxmemory_policy.is_lru();
    for (n, db) in server.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        rdb.select_db(n as u64)?;
        rdb.resize_db(db.len() as u64, db.volatile() as u64)?;
        for entry in db.table.iter() {
            let idle = lru.then(|| server.ks.access.idle_seconds(entry));
            let freq = lfu.then(|| server.ks.access.frequency(entry));
            rdb.entry(entry.key(), entry.value(), entry.expire(), idle, freq)?;
            progress.key_saved(server.config.rdb_key_save_delay)?;
        }
    }
    Ok(rdb.finish()?.0)
}

/// Writes all data as a snapshot between marks, as a reader needs it that can't see the end.
fn write_marked_snapshot(
    server: &Server,
    mut out: impl Write,
    mark: &str,
    purpose: SnapshotUse<'_>,
    progress: &mut Progress,
) -> io::Result<()> {
    write!(out, "$EOF:{mark}\r\n")?;
    out = write_snapshot(server, out, purpose, progress)?;
    out.write_all(mark.as_bytes())
}

/// The replication state to put into a snapshot, if there is any.
pub(crate) fn snapshot_origin(server: &Server) -> Option<SnapshotOrigin> {
    server.repl.stream()?;
    let stream_db = match server.repl.primary() {
        // What the primary's stream has selected.
        Some(link) => {
            let client = link.token().and_then(|token| server.clients.get(token));
            let client = client.filter(|_| link.is_connected());
            client.map_or(link.stream_db(), |client| client.db)
        }
        None => server.repl.selected_db(),
    };
    Some(SnapshotOrigin {
        id: server.repl.id().to_string(),
        offset: server.repl.offset(),
        stream_db,
    })
}

/// Writes the snapshot file: to a temporary file, made durable, and only then in place of the old one. A failure is
/// logged.
fn write_rdb_file(
    server: &Server,
    pid: i32,
    purpose: SnapshotUse<'_>,
    progress: &mut Progress,
) -> io::Result<()> {
    let (temporary, target) = (temporary_rdb(server, pid), rdb_path(server));
    let name = temporary.file_name().unwrap_or_default().display();
    let dir = server.config.dir.display();
    let failed = |what: &str, error: &io::Error| {
        server.warning(&format!("{what}: {}", io_reason(error)));
    };
    let mut write = || {
        let file = File::create(&temporary).inspect_err(|error| {
            let what = format!(
                "Failed opening the temp RDB file {name} (in server root dir {dir}) for saving"
            );
            failed(&what, error);
        })?;
        let file = IncrementalSync::new(file, server.config.rdb_save_incremental_fsync);
        let file = write_snapshot(server, file, purpose, progress).inspect_err(|error| {
            failed("Write error while saving DB to the disk(rdbSaveRio)", error);
        })?;
        file.file.sync_all().inspect_err(|error| {
            failed("Write error while saving DB to the disk(fsync)", error);
        })?;
        fs::rename(&temporary, &target).inspect_err(|error| {
            let what = format!(
                "Error moving temp DB file {name} on the final destination {} (in server root dir {dir})",
                server.config.dbfilename
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

fn temporary_rdb(server: &Server, pid: i32) -> PathBuf {
    server.config.dir.join(format!("temp-{pid}.rdb"))
}

/// `SAVE`: writes the snapshot while everybody waits.
pub(crate) fn rdb_save(server: &mut Server) -> bool {
    rdb_save_until(server, &[])
}

/// The same, but gives up when one of these signals comes.
pub(crate) fn rdb_save_until(server: &mut Server, signals: &[Arc<AtomicBool>]) -> bool {
    let (origin, contents) = (snapshot_origin(server), all_contents(server));
    let purpose = SnapshotUse::Snapshot { origin: origin.as_ref(), contents };
    let pid = std::process::id() as i32;
    match write_rdb_file(server, pid, purpose, &mut Progress::until(signals)) {
        Ok(()) => {
            server.notice("DB saved on disk");
            note_saved(server);
            true
        }
        Err(_) => false,
    }
}

fn note_saved(server: &mut Server) {
    server.ks.changes.dirty = 0;
    let now = server.now_seconds();
    server.persistence.snapshots.saved(now);
}

/// Starts a child that saves these contents; the loop goes on. `channels`: the replicas whose connections it writes to,
/// if they are its target.
///
/// # Errors
/// If there is a child already, or none can be made.
pub(crate) fn rdb_save_background(
    server: &mut Server,
    target: SaveTarget,
    contents: Contents,
    channels: &[Token],
) -> io::Result<()> {
    if server.persistence.child().is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let now = server.now_seconds();
    if target == SaveTarget::Disk {
        server.persistence.snapshots.count_save();
    }
    server.persistence.snapshots.begin(server.ks.changes.dirty, now);
    let mark = random_id(&mut server.rng);
    let origin = snapshot_origin(server);
    let prepared = output_for(server, target, contents.version, &mark, channels);
    let forked = prepared.and_then(|(output, task)| {
        let inherited = output.descriptors();
        child::fork_saver(server, task, &inherited, |server, pid, progress| {
            let purpose = SnapshotUse::Snapshot { origin: origin.as_ref(), contents };
            let outcome = match output {
                Output::File => write_rdb_file(server, pid, purpose, progress),
                Output::Pipe(pipe) => write_snapshot(server, pipe, purpose, progress).map(drop),
                Output::Channels(channels) => {
                    write_marked_snapshot(server, channels, &mark, purpose, progress)
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
        server.persistence.snapshots.failed();
        server.warning(&format!("Can't save in background: fork: {}", io_reason(error)));
    })?;
    server.notice(&match target {
        SaveTarget::Replicas => {
            format!("Background RDB transfer started by pid {pid} to pipe through parent process")
        }
        SaveTarget::RdbChannels => {
            format!("Background RDB transfer started by pid {pid} to direct socket to replica")
        }
        _ => format!("Background saving started by pid {pid}"),
    });
    Ok(())
}

/// What the child is to write to, and where the server reads what goes through it.
fn output_for(
    server: &Server,
    target: SaveTarget,
    version: RdbVersion,
    mark: &str,
    channels: &[Token],
) -> io::Result<(Output, Task)> {
    let mark = mark.to_string();
    Ok(match target {
        SaveTarget::Disk => (Output::File, Task::File { version }),
        SaveTarget::Aof { rdb } => (Output::File, Task::AofBase { rdb }),
        SaveTarget::RdbChannels => {
            let writer = RdbChannelWriter::new(server, channels)?;
            (Output::Channels(writer), Task::Channels { version, mark })
        }
        SaveTarget::Replicas => {
            let (sender, mut receiver) = mio::unix::pipe::new()?;
            sender.set_nonblocking(false)?;
            process::widen_pipe(&sender);
            server.net.register_readable(&mut receiver, super::SNAPSHOT_PIPE)?;
            (Output::Pipe(sender), Task::Pipe { version, mark, pipe: Pipe::Open(receiver) })
        }
    })
}

/// Ends the child that saves, and forgets it: whoever waited for its snapshot is to be told. One that rewrites the
/// append-only file is left alone.
#[must_use]
pub(crate) fn kill_save_child(server: &mut Server) -> Option<SaveEnd> {
    let is_snapshot = |target| !matches!(target, SaveTarget::Aof { .. });
    let mut child = server.persistence.take_child_if(is_snapshot)?;
    child::end_child(server, &mut child, libc::SIGKILL);
    let _ = fs::remove_file(temporary_rdb(server, child.pid()));
    Some(SaveEnd { child, ok: false })
}

/// Sees whether the child has ended, and draws the consequences here: whoever waited for its snapshot is to be told.
#[must_use]
pub(crate) fn check_child(server: &mut Server) -> Option<SaveEnd> {
    let end = server.persistence.child_mut().and_then(SaveChild::finished)?;
    server.persistence.receive_child_reports(server.ks.now_ms);
    let child = server.persistence.child.take()?;
    child::child_is_gone(server);
    if matches!(child.target(), SaveTarget::Aof { .. }) {
        rewrite::background_rewrite_done(server, &child, end);
        // A replica may have come meanwhile.
        return None;
    }
    background_save_done(server, &child, end);
    Some(SaveEnd { child, ok: end == ChildEnd::Exited(0) })
}

fn background_save_done(server: &mut Server, child: &SaveChild, end: ChildEnd) {
    let ok = end == ChildEnd::Exited(0);
    match (child.target(), end) {
        (SaveTarget::Disk, _) if ok => {
            server.notice("Background saving terminated with success");
            let dirty = server.ks.changes.dirty;
            let during = server.persistence.snapshots.changes_since_begin(dirty);
            note_saved(server);
            server.ks.changes.dirty = during;
        }
        (SaveTarget::Disk, ChildEnd::Exited(_)) => {
            server.warning("Background saving error");
            server.persistence.snapshots.failed();
        }
        (SaveTarget::Disk, ChildEnd::Signaled(signal)) => {
            server.warning(&format!("Background saving terminated by signal {signal}"));
            let started = server.ks.clock.nanos();
            let _ = fs::remove_file(temporary_rdb(server, child.pid()));
            latency::note_since(server, "rdb-unlink-temp-file", started);
            // SIGUSR1 is how an operator ends a child on purpose.
            if signal != libc::SIGUSR1 {
                server.persistence.snapshots.failed();
            }
        }
        _ if ok => server.notice("Background RDB transfer terminated with success"),
        (_, ChildEnd::Signaled(signal)) => {
            server.warning(&format!("Background transfer terminated by signal {signal}"));
        }
        (SaveTarget::RdbChannels, _) => server.warning("Background RDB transfer error"),
        _ => server.warning("Background transfer error"),
    }
    if child.target() == SaveTarget::Disk {
        let seconds = server.now_seconds() - child.started();
        server.persistence.snapshots.note_duration(seconds);
    }
}

/// Loads on for a while from a file.
///
/// # Errors
/// Why it can't be loaded; loading has ended, and what was loaded so far is in the keyspace.
pub fn load_some(server: &mut Server) -> Result<LoadProgress, LoadError> {
    if server.persistence.aof.is_replaying() {
        return aof::load::replay_some(server);
    }
    load::load_file_some(server)
}

/// Starts a background save if a save point has been reached, or one was scheduled.
pub(crate) fn check_save_points(server: &mut Server) {
    if server.persistence.child().is_some() || server.persistence.is_loading() {
        return;
    }
    let (now, dirty) = (server.now_seconds(), server.ks.changes.dirty);
    match server.persistence.snapshots.take_due(&server.config.save, dirty, now) {
        None => return,
        Some(SaveReason::Scheduled) => {}
        Some(SaveReason::Point(SavePoint { changes, seconds })) => {
            server.notice(&format!("{changes} changes in {seconds} seconds. Saving..."));
        }
    }
    // A failure has been logged and noted.
    let _ = rdb_save_background(server, SaveTarget::Disk, all_contents(server), &[]);
}
