//! What is on disk: snapshots and the append-only file, and the saver that writes either.
//!
//! * [`aof`]: the append-only file at run time: writing, rewriting, executing it again.
//! * [`snapshots`]: how the last snapshots went, and whether another one is due.
//! * [`load`]: a snapshot is loaded, from a file or from a primary.
//! * [`saver`]: who saves in the background, and how far it is; [`mod@task`]: what it makes.
//! * [`child`]: a process that saves, and what it reports.
//! * [`forkless`]: a snapshot without one, made in slices between turns of the loop; [`drafts`]: the thread that writes
//!   what these have to say.
//! * [`output`]: what a snapshot is written to; [`rdb_channels`]: the connections that it goes to, where replicas have
//!   some of their own for it.
//! * [`bio`]: calls to the file system that are too slow for the loop.

pub mod aof;
pub(crate) mod bio;
pub(crate) mod child;
mod drafts;
pub(crate) mod forkless;
pub mod load;
mod output;
mod rdb_channels;
pub(crate) mod saver;
pub(crate) mod snapshots;
mod task;

pub use task::SaveTarget;

use super::Server;
use super::client::Token;
use crate::db::EntryRef;
use crate::db::lru::AccessPolicy;
use crate::rdb::writer::{Excluded, RdbVersion, Records, WriterOptions};
use crate::rdb::{KeyFacts, RdbWriter, write_entry};
use crate::resp::error::{CommandError, ErrorCode};
use crate::server::config::{Config, MaxmemoryPolicy, SavePoint, SnapshotMethod};
use crate::server::observe::latency;
use crate::server::persistence::aof::rewrite;
use crate::server::random_id;
use crate::sys::children::ChildEnd;
use crate::sys::process;
use crate::util::alloc;
use crate::util::io_reason;
use aof::Aof;
use bio::Bio;
use child::Progress;
use forkless::Forkless;
use load::{Found, LoadError, LoadProgress, Loading};
use output::{Plan, temporary_rdb};
use rdb_channels::RdbChannelWriter;
use saver::{Saver, Worker};
use snapshots::{SaveReason, Snapshots};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use task::{Pipe, Task};

/// Why writes may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The last background save failed. `title`: what the server calls itself.
    Snapshot { title: &'static str },
    /// The append-only file can't be written, for this reason.
    Aof(String),
}

impl From<DiskError> for CommandError {
    fn from(error: DiskError) -> CommandError {
        let text = match error {
            DiskError::Snapshot { title } => format!(
                "{title} is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
                 that may modify the data set are disabled, because this instance is configured to report errors \
                 during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the \
                 {title} logs for details about the RDB error."
            ),
            DiskError::Aof(reason) => format!("Errors writing to the AOF file: {reason}"),
        };
        CommandError::with(ErrorCode::Misconf, text)
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

impl SnapshotUse<'_> {
    fn excludes(self, what: Excluded) -> bool {
        matches!(self, SnapshotUse::Snapshot { contents, .. } if contents.excluded.contains(what))
    }
}

/// One that made a snapshot has ended.
pub(crate) struct SaveEnd {
    pub saver: Saver,
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
    /// Who saves in the background.
    saver: Option<Saver>,
    /// Snapshots made without a child so far.
    walks: u64,
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
            saver: None,
            walks: 0,
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

    /// Who saves, if anybody does.
    pub(crate) fn saver(&self) -> Option<&Saver> {
        self.saver.as_ref()
    }

    pub(crate) fn saver_mut(&mut self) -> Option<&mut Saver> {
        self.saver.as_mut()
    }

    /// The snapshot that is made without a child, if one is.
    pub(crate) fn walk(&self) -> Option<&Forkless> {
        self.saver.as_ref()?.walk()
    }

    pub(crate) fn walk_mut(&mut self) -> Option<&mut Forkless> {
        self.saver.as_mut()?.walk_mut()
    }

    /// What is being made, if anything is.
    pub(crate) fn save_target(&self) -> Option<SaveTarget> {
        self.saver.as_ref().map(Saver::target)
    }

    /// Whether the append-only file is being rewritten.
    pub(crate) fn is_rewriting_aof(&self) -> bool {
        matches!(self.save_target(), Some(SaveTarget::Aof { .. }))
    }

    /// Whether what is executed goes to the append-only file.
    #[inline]
    pub(crate) fn records_commands(&self) -> bool {
        self.aof.records(self.is_rewriting_aof())
    }

    /// One is at work from now on.
    fn set_saver(&mut self, saver: Saver) {
        self.saver = Some(saver);
    }

    /// Takes the saver away from where it is waited for, if it is of the kind.
    fn take_saver_if(&mut self, is_meant: impl Fn(SaveTarget) -> bool) -> Option<Saver> {
        self.saver.take_if(|saver| is_meant(saver.target()))
    }

    /// What the next snapshot that is made without a child is known by.
    fn next_walk_id(&mut self) -> String {
        self.walks += 1;
        format!("{}.{}", std::process::id(), self.walks)
    }

    /// A signal has told that a child has ended.
    pub(crate) fn note_child_signal(&mut self) {
        self.is_child_signalled = true;
    }

    /// Whether there is reason to look, since the last call, whether the saver has ended.
    pub(crate) fn take_saver_news(&mut self) -> bool {
        std::mem::take(&mut self.is_child_signalled) || self.walk().is_some_and(Forkless::has_ended)
    }

    /// Takes note of what the saver reports.
    pub(crate) fn receive_reports(&mut self, now_ms: i64) {
        let Some(saver) = &mut self.saver else { return };
        let peak = saver.receive_reports(now_ms);
        match saver.target() {
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
            return Some(DiskError::Snapshot { title: config.title() });
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

/// How a snapshot is encoded.
fn writer_options(server: &Server, purpose: SnapshotUse<'_>) -> WriterOptions {
    let contents = match purpose {
        SnapshotUse::Snapshot { contents, .. } => contents,
        SnapshotUse::AofBase => all_contents(server),
    };
    WriterOptions {
        version: contents.version,
        compress: server.config.rdbcompression,
        checksum: server.config.rdbchecksum,
    }
}

/// Writes what comes before the keys.
fn write_head(server: &Server, rdb: &mut impl Records, purpose: SnapshotUse<'_>) -> io::Result<()> {
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
    if !purpose.excludes(Excluded::FUNCTIONS) {
        for library in server.scripting.libraries.iter() {
            rdb.function(&library.code)?;
        }
    }
    if !purpose.excludes(Excluded::DATA) && rdb.options().version == RdbVersion::Valkey80 {
        for job in server.net.migrations.imports_under_way() {
            rdb.slot_import(job.name.as_bytes(), &job.slots.ranges())?;
        }
    }
    Ok(())
}

/// What is saved of keys beside their values.
#[derive(Clone, Copy)]
struct SavedFacts {
    access: AccessPolicy,
    policy: MaxmemoryPolicy,
}

impl SavedFacts {
    fn new(server: &Server) -> SavedFacts {
        SavedFacts { access: server.ks.access, policy: server.config.maxmemory_policy }
    }

    fn of(&self, entry: EntryRef<'_>) -> KeyFacts {
        KeyFacts {
            expire_ms: entry.expire(),
            idle_secs: self.policy.is_lru().then(|| self.access.idle_seconds(entry)),
            freq: self.policy.is_lfu().then(|| self.access.frequency(entry)),
        }
    }
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
    let mut rdb = RdbWriter::new(out, writer_options(server, purpose));
    write_head(server, &mut rdb, purpose)?;
    if purpose.excludes(Excluded::DATA) {
        return Ok(rdb.finish()?.0);
    }
    let facts = SavedFacts::new(server);
    for (n, db) in server.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        rdb.select_db(n as u64)?;
        rdb.resize_db(db.len() as u64, db.volatile() as u64)?;
        for entry in db.table.iter() {
            write_entry(&mut rdb, entry.key(), entry.value(), facts.of(entry))?;
            progress.key_saved(server.config.rdb_key_save_delay)?;
        }
    }
    Ok(rdb.finish()?.0)
}

/// Writes all data to where it is to go. A failure is logged.
fn save_to(
    server: &Server,
    plan: Plan,
    id: &str,
    purpose: SnapshotUse<'_>,
    progress: &mut Progress,
) -> io::Result<()> {
    let failed = |text: String| {
        server.warning(&text);
        io::Error::other(text)
    };
    let output = plan.open(id).map_err(failed)?;
    let words = output.words();
    let output = write_snapshot(server, output, purpose, progress)
        .map_err(|error| failed(format!("{words}: {}", io_reason(&error))))?;
    output.finish(&Mutex::new(false)).map_err(failed)
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

/// The snapshot file.
fn file_plan(server: &Server) -> Plan {
    Plan::Rdb {
        dir: server.config.dir.clone(),
        name: server.config.dbfilename.clone(),
        incremental_fsync: server.config.rdb_save_incremental_fsync,
    }
}

fn remove_temporary(server: &Server, saver: &Saver) {
    let _ = fs::remove_file(server.config.dir.join(temporary_rdb(&saver.id())));
}

/// `SAVE`: writes the snapshot while everybody waits.
pub(crate) fn rdb_save(server: &mut Server) -> bool {
    rdb_save_until(server, &[])
}

/// The same, but gives up when one of these signals comes.
pub(crate) fn rdb_save_until(server: &mut Server, signals: &[Arc<AtomicBool>]) -> bool {
    let (origin, contents) = (snapshot_origin(server), all_contents(server));
    let purpose = SnapshotUse::Snapshot { origin: origin.as_ref(), contents };
    let id = std::process::id().to_string();
    match save_to(server, file_plan(server), &id, purpose, &mut Progress::until(signals)) {
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

/// Starts to save these contents; the loop goes on. `channels`: the replicas whose connections it is written to, if
/// they are its target.
///
/// # Errors
/// If somebody saves already, or it can't be started.
pub(crate) fn rdb_save_background(
    server: &mut Server,
    target: SaveTarget,
    contents: Contents,
    channels: &[Token],
    method: SnapshotMethod,
) -> io::Result<()> {
    if server.persistence.saver().is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let now = server.now_seconds();
    if target == SaveTarget::Disk {
        server.persistence.snapshots.count_save();
    }
    server.persistence.snapshots.begin(server.ks.changes.dirty, now);
    let mark = random_id(&mut server.rng);
    let origin = snapshot_origin(server);
    let purpose = SnapshotUse::Snapshot { origin: origin.as_ref(), contents };
    let started =
        prepare(server, target, contents.version, &mark, channels).and_then(|(plan, task)| {
            let worker = start_worker(server, plan, target, purpose, method)?;
            Ok((worker, task))
        });
    let (worker, task) = started.inspect_err(|error| {
        server.persistence.snapshots.failed();
        let how = if method == SnapshotMethod::Fork { "fork: " } else { "" };
        server.warning(&format!("Can't save in background: {how}{}", io_reason(error)));
    })?;
    let saver = Saver::new(task, worker, server.ks.len() as u64, now);
    let by = match method {
        SnapshotMethod::Fork => format!("by pid {}", saver.id()),
        SnapshotMethod::Incremental => "without fork".to_string(),
    };
    server.notice(&match target {
        SaveTarget::Replicas => {
            format!("Background RDB transfer started {by} to pipe through parent process")
        }
        SaveTarget::RdbChannels => {
            format!("Background RDB transfer started {by} to direct socket to replica")
        }
        _ => format!("Background saving started {by}"),
    });
    server.persistence.set_saver(saver);
    Ok(())
}

/// Starts the one that saves.
fn start_worker(
    server: &mut Server,
    plan: Plan,
    target: SaveTarget,
    purpose: SnapshotUse<'_>,
    method: SnapshotMethod,
) -> io::Result<Worker> {
    if method == SnapshotMethod::Incremental {
        let id = server.persistence.next_walk_id();
        return Ok(Worker::Walk(Box::new(forkless::begin(server, plan, id, target, purpose)?)));
    }
    let inherited = plan.descriptors();
    let child = child::fork_saver(server, target, &inherited, |server, pid, progress| {
        save_to(server, plan, &pid.to_string(), purpose, progress)?;
        if target == SaveTarget::Disk {
            server.notice("DB saved on disk");
        }
        Ok(())
    })?;
    Ok(Worker::Child(child))
}

/// What is to be written to, and where the server reads what goes through it.
fn prepare(
    server: &Server,
    target: SaveTarget,
    version: RdbVersion,
    mark: &str,
    channels: &[Token],
) -> io::Result<(Plan, Task)> {
    let mark = mark.to_string();
    Ok(match target {
        SaveTarget::Disk | SaveTarget::Aof { .. } => (file_plan(server), Task::File { version }),
        SaveTarget::RdbChannels => {
            let channels = RdbChannelWriter::new(server, channels)?;
            let plan = Plan::Channels { channels, mark: mark.clone() };
            (plan, Task::Channels { version, mark })
        }
        SaveTarget::Replicas => {
            let (sender, mut receiver) = mio::unix::pipe::new()?;
            sender.set_nonblocking(false)?;
            process::widen_pipe(&sender);
            server.net.register_readable(&mut receiver, super::SNAPSHOT_PIPE)?;
            (Plan::Pipe(sender), Task::Pipe { version, mark, pipe: Pipe::Open(receiver) })
        }
    })
}

/// Ends whoever saves, at once. `signal`: for a child.
pub(crate) fn end_saver(server: &mut Server, saver: &mut Saver, signal: i32) {
    match saver.worker_mut() {
        Worker::Child(child) => child::end_child(server, child, signal),
        Worker::Walk(walk) => {
            let gone = walk.cancel(&mut server.ks.dbs);
            server.memory.free_databases(gone, true);
        }
    }
}

/// Whoever saved has ended by himself.
fn saver_has_ended(server: &mut Server, saver: &mut Saver, end: ChildEnd) {
    let target = saver.target();
    match saver.worker_mut() {
        Worker::Child(_) => child::child_is_gone(server),
        Worker::Walk(walk) => {
            if let Some(complaint) = walk.take_complaint() {
                server.warning(&complaint);
            }
            if end == ChildEnd::Exited(0) && target == SaveTarget::Disk {
                server.notice("DB saved on disk");
            }
            // Of one that failed there are still walks under way.
            end_saver(server, saver, libc::SIGKILL);
        }
    }
}

/// Ends the one that saves, and forgets it: whoever waited for its snapshot is to be told. One that rewrites the
/// append-only file is left alone.
#[must_use]
pub(crate) fn kill_saver(server: &mut Server) -> Option<SaveEnd> {
    let is_snapshot = |target| !matches!(target, SaveTarget::Aof { .. });
    let mut saver = server.persistence.take_saver_if(is_snapshot)?;
    end_saver(server, &mut saver, libc::SIGKILL);
    remove_temporary(server, &saver);
    Some(SaveEnd { saver, ok: false })
}

/// Sees whether the saver has ended, and draws the consequences here: whoever waited for its snapshot is to be told.
#[must_use]
pub(crate) fn check_saver(server: &mut Server) -> Option<SaveEnd> {
    let end = server.persistence.saver_mut().and_then(Saver::finished)?;
    server.persistence.receive_reports(server.ks.now_ms);
    let mut saver = server.persistence.saver.take()?;
    saver_has_ended(server, &mut saver, end);
    if matches!(saver.target(), SaveTarget::Aof { .. }) {
        rewrite::background_rewrite_done(server, &saver, end);
        // A replica may have come meanwhile.
        return None;
    }
    background_save_done(server, &saver, end);
    Some(SaveEnd { saver, ok: end == ChildEnd::Exited(0) })
}

fn background_save_done(server: &mut Server, saver: &Saver, end: ChildEnd) {
    let ok = end == ChildEnd::Exited(0);
    server.persistence.snapshots.note_method(saver.method());
    match (saver.target(), end) {
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
            remove_temporary(server, saver);
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
    if saver.target() == SaveTarget::Disk {
        let seconds = server.now_seconds() - saver.started();
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
    if server.persistence.saver().is_some() || server.persistence.is_loading() {
        return;
    }
    let (now, dirty) = (server.now_seconds(), server.ks.changes.dirty);
    let mut method = server.config.snapshot_method;
    match server.persistence.snapshots.take_due(&server.config.save, dirty, now) {
        None => return,
        Some(SaveReason::Scheduled(wanted)) => method = wanted.unwrap_or(method),
        Some(SaveReason::Point(SavePoint { changes, seconds })) => {
            server.notice(&format!("{changes} changes in {seconds} seconds. Saving..."));
        }
    }
    // A failure has been logged and noted.
    let _ = rdb_save_background(server, SaveTarget::Disk, all_contents(server), &[], method);
}
