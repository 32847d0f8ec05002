//! Snapshots: written by a forked child or in the foreground, loaded in slices between turns of the loop.
#![forbid(unsafe_code)]

use super::Server;
use super::aof::AofState;
use super::child::{ChildReports, Progress, wait_after_key};
use super::config::io_reason;
use super::log::Level;
use super::replication::primary::dual_channel::RdbChannelWriter;
use super::replication::{Excluded, NO_ID};
use crate::db::{Db, Entry, ExpiryRole};
use crate::rdb::parser::{Entry as RdbEntry, Event, Origin};
use crate::rdb::writer::{RdbVersion, WriterOptions};
use crate::rdb::{ErrorKind, RdbError, RdbParser, RdbWriter};
use crate::resp::error::{CommandError, CommandResult};
use crate::script::library::Libraries;
use crate::sys::durable::{IncrementalSync, rename_durably};
use crate::sys::process::{self, ChildEnd};
use crate::util::alloc;
use crate::value::Value;
use mio::unix::pipe::{Receiver, Sender};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long one slice of loading may take before clients have their turn.
const LOAD_SLICE: Duration = Duration::from_millis(20);
/// How long to wait before another attempt by itself, after a background save failed, in seconds.
const RETRY_DELAY: i64 = 5;

/// So many keys without a value are named in the log.
const MAX_EMPTY_KEYS_LOGGED: u64 = 10;

const MISCONF_RDB: CommandError = CommandError::text(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
     may modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
     snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
     error.",
);

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

/// What a snapshot is written for.
#[derive(Clone, Copy, Debug)]
pub enum SnapshotUse<'a> {
    /// A file or a replica; with the replication state, if there is any.
    Snapshot { origin: Option<&'a SnapshotOrigin>, excluded: Excluded },
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
        SaveChild { pid, target, started, pipe, reports, ended: None }
    }

    /// How it ended; `None`: it is at work.
    pub fn end(&mut self) -> Option<ChildEnd> {
        self.ended = self.ended.or_else(|| process::try_wait(self.pid));
        self.ended
    }
}

/// What is known of snapshots.
#[derive(Debug)]
pub struct Persistence {
    pub child: Option<SaveChild>,
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

/// How a snapshot is loaded, where that is not as usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// A key that is there already is replaced; otherwise it is an error.
    pub merge: bool,
    /// The replication state in the file is none of ours: the server goes on in its own.
    pub ignore_origin: bool,
}

/// A snapshot that is being loaded.
pub struct Loading {
    pub options: LoadOptions,
    parser: RdbParser,
    source: LoadSource,
    db: usize,
    pub started_ms: i64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    /// The memory that the file's writer used, by its own word.
    pub rdb_used_mem: u64,
    started: Instant,
    pub origin: Option<SnapshotOrigin>,
    /// What takes the data while the old ones are still there, to be swapped in at the end.
    pub staging: Option<(Vec<Db>, Libraries)>,
    /// The old data is served meanwhile.
    pub is_async: bool,
    keys_loaded: u64,
    keys_expired: u64,
    /// Keys passed over because their values have no elements.
    empty_keys: u64,
    /// The parser has more, but a slice's time was over.
    behind: bool,
    finished: bool,
}

/// Where a snapshot comes from.
enum LoadSource {
    /// A file, read as fast as it can be parsed.
    File { file: File },
    /// Pieces that somebody feeds.
    Fed,
    /// None: an append-only file is being executed.
    Commands,
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadProgress {
    More,
    Done,
}

/// Why a snapshot could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    Io(io::Error),
    Format(RdbError),
    /// What is in the file makes no sense here.
    Content(String),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Io(error) => write!(f, "{error}"),
            LoadError::Format(error)
                if matches!(error.kind, ErrorKind::WrongSignature | ErrorKind::Version(_)) =>
            {
                write!(f, "{error} (offset {})", error.offset)
            }
            LoadError::Format(error) => write!(f, "{error}"),
            LoadError::Content(text) => f.write_str(text),
        }
    }
}

impl Loading {
    /// To be fed from a primary's link; `total_bytes` is 0 where the length is unknown.
    pub fn fed(checksum: bool, total_bytes: u64, now_ms: i64) -> Loading {
        Loading::new(LoadSource::Fed, checksum, total_bytes, now_ms)
    }

    /// An append-only file of so many bytes in all.
    pub fn commands(total_bytes: u64, now_ms: i64) -> Loading {
        Loading::new(LoadSource::Commands, false, total_bytes, now_ms)
    }

    /// Loads a snapshot from `file`, as a part of what is being loaded.
    pub fn begin_snapshot(&mut self, file: File, checksum: bool) {
        self.parser = RdbParser::new(checksum);
        self.source = LoadSource::File { file };
        self.finished = false;
        self.db = 0;
    }

    /// That snapshot is loaded: the file, at what follows it; the bytes that have been read of that; and where it
    /// starts in the file.
    pub fn end_snapshot(&mut self) -> Option<(File, Vec<u8>, u64)> {
        let rest = (self.parser.rest().to_vec(), self.parser.offset());
        match std::mem::replace(&mut self.source, LoadSource::Commands) {
            LoadSource::File { file } => Some((file, rest.0, rest.1)),
            LoadSource::Fed | LoadSource::Commands => None,
        }
    }

    /// Whether somebody feeds it, so that there is nothing to do in between.
    pub fn is_fed(&self) -> bool {
        matches!(self.source, LoadSource::Fed)
    }

    fn new(source: LoadSource, checksum: bool, total_bytes: u64, now_ms: i64) -> Loading {
        Loading {
            options: LoadOptions::default(),
            parser: RdbParser::new(checksum),
            source,
            db: 0,
            started_ms: now_ms,
            total_bytes,
            loaded_bytes: 0,
            rdb_used_mem: 0,
            started: Instant::now(),
            origin: None,
            staging: None,
            is_async: false,
            keys_loaded: 0,
            keys_expired: 0,
            empty_keys: 0,
            behind: false,
            finished: false,
        }
    }
}

impl Server {
    /// The path of the snapshot file.
    pub fn rdb_path(&self) -> PathBuf {
        self.config.dir.join(&self.config.dbfilename)
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
        let options = WriterOptions {
            version: RdbVersion::V10,
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
        let excluded = match purpose {
            SnapshotUse::Snapshot { excluded, .. } => excluded,
            SnapshotUse::AofBase => Excluded::empty(),
        };
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
            Some(link) => link.selected_db(&self.clients),
            None => self.repl.selected_db.unwrap_or(0),
        };
        Some(SnapshotOrigin { id: self.repl.id.clone(), offset: self.repl.offset, stream_db })
    }

    /// Writes the snapshot file: to a temporary file, made durable, and only then in place of the old one.
    fn write_rdb_file(
        &self,
        pid: i32,
        origin: Option<&SnapshotOrigin>,
        progress: &mut Progress,
    ) -> io::Result<()> {
        let temporary = self.temporary_rdb(pid);
        let outcome = (|| {
            let file = File::create(&temporary)?;
            let file = IncrementalSync::new(file, self.config.rdb_save_incremental_fsync);
            let purpose = SnapshotUse::Snapshot { origin, excluded: Excluded::empty() };
            let file = self.write_snapshot(file, purpose, progress)?;
            file.file.sync_all()?;
            rename_durably(&temporary, &self.rdb_path())
        })();
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
        let origin = self.snapshot_origin();
        let pid = std::process::id() as i32;
        match self.write_rdb_file(pid, origin.as_ref(), &mut Progress::until(signals)) {
            Ok(()) => {
                self.notice("DB saved on disk");
                self.note_saved();
                true
            }
            Err(error) => {
                let text = format!(
                    "Failed opening the temp RDB file {} (in server root dir {}) for saving: {}",
                    self.temporary_rdb(pid).display(),
                    self.config.dir.display(),
                    io_reason(&error)
                );
                self.warning(&text);
                false
            }
        }
    }

    fn note_saved(&mut self) {
        self.ks.changes.dirty = 0;
        self.persistence.last_save = self.now_seconds();
        self.persistence.last_bgsave_ok = true;
        self.persistence.saves += 1;
    }

    /// Starts a child that saves, without what is `excluded` if it is for replicas; the loop goes on.
    ///
    /// # Errors
    /// If there is a child already, or none can be made.
    pub fn rdb_save_background(
        &mut self,
        target: SaveTarget,
        excluded: Excluded,
    ) -> io::Result<()> {
        if self.persistence.child.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.persistence.dirty_before_bgsave = self.ks.changes.dirty;
        self.persistence.last_bgsave_try = self.now_seconds();
        let origin = self.snapshot_origin();
        let forked = self.output_for(target).and_then(|(output, receiver)| {
            let inherited = output.descriptors();
            self.fork_saver(target, &inherited, receiver, |server, pid, progress| {
                let origin = origin.as_ref();
                let purpose = SnapshotUse::Snapshot { origin, excluded };
                let outcome = match output {
                    Output::File => server.write_rdb_file(pid, origin, progress),
                    Output::Pipe(pipe) => server.write_snapshot(pipe, purpose, progress).map(drop),
                    Output::Channels(channels) => {
                        server.write_marked_snapshot(channels, purpose, progress)
                    }
                };
                match &outcome {
                    Ok(()) if target == SaveTarget::Disk => server.notice("DB saved on disk"),
                    Ok(()) => {}
                    Err(error) => {
                        server.warning(&format!("Write error saving DB: {}", io_reason(error)));
                    }
                }
                outcome
            })
        });
        let pid = forked.inspect_err(|error| {
            self.persistence.last_bgsave_ok = false;
            self.warning(&format!("Can't save in background: fork: {}", io_reason(error)));
        })?;
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
                let _ = fs::remove_file(self.temporary_rdb(child.pid));
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
            let _ = self.rdb_save_background(SaveTarget::Disk, Excluded::empty());
        }
    }

    /// Whether the disk has refused something lately. Cheap, unlike to say what.
    #[inline]
    pub fn has_disk_error(&self) -> bool {
        !self.persistence.last_bgsave_ok
            || self.aof.write_error.is_some()
            || self.aof.fsync_error.is_some()
    }

    /// Whether writes may go on.
    ///
    /// # Errors
    /// If not, because the last background save failed, or writing the append-only file.
    pub fn check_disk(&self) -> CommandResult {
        if !self.persistence.last_bgsave_ok
            && self.config.stop_writes_on_bgsave_error
            && !self.config.save.is_empty()
        {
            return Err(MISCONF_RDB);
        }
        match self.aof.write_error.as_ref().or(self.aof.fsync_error.as_ref()) {
            Some(reason) if self.aof.state != AofState::Off => {
                let text = format!("MISCONF Errors writing to the AOF file: {reason}");
                Err(CommandError(text.into()))
            }
            _ => Ok(()),
        }
    }

    /// Begins to load the snapshot file; `false` if there is none.
    ///
    /// # Errors
    /// If there is one that can't be opened.
    pub fn begin_loading_file(&mut self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        let source = LoadSource::File { file };
        let checksum = self.config.rdbchecksum && !self.skip_checksum_validation;
        self.begin_loading(Loading::new(source, checksum, size, self.ks.now_ms));
        Ok(true)
    }

    /// Begins to load a snapshot.
    pub fn begin_loading(&mut self, loading: Loading) {
        self.loading = Some(Box::new(loading));
    }

    /// Loads on for a while from a file.
    ///
    /// # Errors
    /// Why the snapshot can't be loaded; loading has ended, and what was loaded so far is in the keyspace.
    pub fn load_some(&mut self) -> Result<LoadProgress, LoadError> {
        if self.aof.is_replaying {
            return self.replay_some();
        }
        let progress = self.load_snapshot_slice()?;
        if progress == LoadProgress::Done {
            self.finish_loading();
        }
        Ok(progress)
    }

    /// Loads on for a while from a snapshot file. When all of it is there, what follows is up to the caller.
    ///
    /// # Errors
    /// As for [`Server::load_some`].
    pub fn load_snapshot_slice(&mut self) -> Result<LoadProgress, LoadError> {
        let slice = Instant::now();
        loop {
            self.load_parsed().map_err(|e| self.abort_loading(e))?;
            let Some(loading) = &mut self.loading else { return Ok(LoadProgress::Done) };
            if loading.finished {
                return Ok(LoadProgress::Done);
            }
            if loading.behind {
                return Ok(LoadProgress::More);
            }
            let LoadSource::File { file } = &mut loading.source else {
                return Ok(LoadProgress::More);
            };
            match file.read(loading.parser.space()) {
                Ok(0) => {
                    let outcome = loading.parser.finish();
                    return Err(self.abort_loading(outcome.err().map_or_else(
                        || LoadError::Content("Unexpected end of file".to_string()),
                        LoadError::Format,
                    )));
                }
                Ok(n) => {
                    loading.parser.filled(n);
                    loading.loaded_bytes += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.abort_loading(LoadError::Io(error))),
            }
            if slice.elapsed() > LOAD_SLICE {
                return Ok(LoadProgress::More);
            }
        }
    }

    /// Loads a piece that came from the primary. Who feeds knows the end, and calls [`Server::finish_loading`].
    ///
    /// # Errors
    /// As for [`Server::load_some`], but what was loaded so far has to be abandoned by the caller.
    pub fn load_fed(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        let Some(loading) = self.loading.as_mut().filter(|l| !l.finished) else { return Ok(()) };
        loading.parser.feed(bytes);
        loading.loaded_bytes += bytes.len() as u64;
        self.load_parsed()
    }

    fn abort_loading(&mut self, error: LoadError) -> LoadError {
        self.loading = None;
        error
    }

    /// Puts into the keyspace what the parser has.
    fn load_parsed(&mut self) -> Result<(), LoadError> {
        let Some(mut loading) = self.loading.take() else { return Ok(()) };
        loading.behind = false;
        // While this runs the databases that take the data are in the keyspace's place.
        self.swap_staging(&mut loading);
        let outcome = self.load_events(&mut loading);
        self.swap_staging(&mut loading);
        let offset = loading.parser.offset();
        self.loading = Some(loading);
        outcome.map_err(|error| match error {
            LoadError::Content(text) => LoadError::Content(format!("{text} (offset {offset})")),
            error => error,
        })
    }

    fn swap_staging(&mut self, loading: &mut Loading) {
        if let Some((dbs, libraries)) = &mut loading.staging {
            std::mem::swap(&mut self.ks.dbs, dbs);
            std::mem::swap(&mut self.libraries, libraries);
        }
    }

    fn load_events(&mut self, loading: &mut Loading) -> Result<(), LoadError> {
        let start = Instant::now();
        while !loading.finished && !loading.behind {
            let Some(event) = loading.parser.next_event().map_err(LoadError::Format)? else {
                break;
            };
            match event {
                Event::Header { version, origin } => {
                    let whose = match origin {
                        Origin::Redis => "",
                        Origin::Valkey => " (Valkey)",
                    };
                    self.log(Level::Debug, &format!("Loading RDB version {version}{whose}"));
                }
                Event::Aux { name, value } => {
                    let text = String::from_utf8_lossy(&value);
                    let origin = &mut loading.origin;
                    match &*name {
                        b"redis-ver" | b"valkey-ver" => {
                            self.notice(&format!("Loading RDB produced by version {text}"));
                        }
                        b"ctime" => {
                            let age = text
                                .parse::<i64>()
                                .map_or(0, |t| (self.ks.now_ms / 1000 - t).max(0));
                            self.notice(&format!("RDB age {age} seconds"));
                        }
                        b"used-mem" => {
                            loading.rdb_used_mem = text.parse().unwrap_or(0);
                            let mb = loading.rdb_used_mem as f64 / (1 << 20) as f64;
                            self.notice(&format!("RDB memory usage when created {mb:.2} Mb"));
                        }
                        b"repl-stream-db" => {
                            origin.get_or_insert_default().stream_db = text.parse().unwrap_or(0);
                        }
                        b"repl-id" if value.len() == NO_ID.len() => {
                            origin.get_or_insert_default().id = text.into_owned();
                        }
                        b"repl-offset" => {
                            origin.get_or_insert_default().offset = text.parse().unwrap_or(0);
                        }
                        _ => {}
                    }
                }
                Event::SelectDb(n) => {
                    let known = usize::try_from(n).ok().filter(|n| *n < self.ks.dbs.len());
                    loading.db = known.ok_or_else(|| {
                        LoadError::Content(format!(
                            "FATAL: Data file was created with a server configured to handle more than {} databases. Exiting",
                            self.ks.dbs.len()
                        ))
                    })?;
                }
                Event::ResizeDb { keys, .. } => {
                    // A hint from outside: what the rest of the input can hold bounds it.
                    let bound =
                        loading.total_bytes.saturating_sub(loading.loaded_bytes) / 4 + 65_536;
                    self.ks.dbs[loading.db].table.reserve(keys.min(bound) as usize);
                }
                Event::Entry(entry) if self.is_stale(&entry) => {
                    loading.keys_expired += 1;
                    let key = entry.key.to_vec();
                    self.stale_key_skipped(loading, &key);
                }
                Event::Entry(entry) => {
                    load_entry(
                        &mut self.ks,
                        loading.db,
                        entry,
                        loading.options,
                        &self.config.value_limits(),
                        &mut loading.keys_loaded,
                    )?;
                    if self.config.key_load_delay != 0 {
                        wait_after_key(self.config.key_load_delay, loading.keys_loaded);
                        loading.behind = !loading.is_fed() && start.elapsed() > LOAD_SLICE;
                    }
                }
                Event::EmptyKey { key } => {
                    loading.empty_keys += 1;
                    if loading.empty_keys <= MAX_EMPTY_KEYS_LOGGED {
                        let key = String::from_utf8_lossy(&key);
                        self.notice(&format!("rdbLoadObject skipping empty key: {key}"));
                    }
                }
                Event::SlotInfo { .. } => {}
                Event::Function(code) => {
                    self.reload_library(&code, loading.options.merge).map_err(|error| {
                        LoadError::Content(format!("Failed creating the library: {}", error.0))
                    })?;
                }
                Event::ModuleAux { module } => {
                    return Err(LoadError::Content(format!(
                        "The RDB file contains AUX module data I can't load: no matching module '{module}'"
                    )));
                }
                Event::Eof { .. } => loading.finished = true,
            }
        }
        Ok(())
    }

    /// Whether a key in a snapshot has expired, and it is for this server to say so.
    fn is_stale(&self, entry: &RdbEntry<'_>) -> bool {
        let is_base = self.aof.is_replaying;
        self.ks.role == ExpiryRole::Delete
            && !is_base
            && entry.expire_ms.is_some_and(|at| at < self.ks.now_ms)
    }

    /// A restarted primary has left out a key whose time had come. Replicas that go on in its old history have the
    /// key still, and must be told.
    fn stale_key_skipped(&mut self, loading: &mut Loading, key: &[u8]) {
        if !self.starting || loading.options.ignore_origin {
            return;
        }
        if let Some(origin) = loading.origin.take() {
            self.persistence_origin_loaded(Some(origin));
        }
        if self.repl.stream.is_some() {
            self.ks.changes.deleted.push((loading.db, key.into()));
            self.propagate_deletions();
            self.trim_stream();
        }
    }

    /// Takes down how many keys a snapshot had.
    pub fn note_snapshot_loaded(&mut self, loading: &Loading) {
        self.persistence.keys_loaded = loading.keys_loaded;
        self.persistence.keys_expired = loading.keys_expired;
        let mut summary = format!(
            "Done loading RDB, keys loaded: {}, keys expired: {}",
            loading.keys_loaded, loading.keys_expired
        );
        if loading.empty_keys > 0 {
            summary += &format!(", empty keys skipped: {}", loading.empty_keys);
        }
        self.notice(&(summary + "."));
    }

    /// Ends loading: the data is what is served from now on. `false` if the snapshot is not complete.
    pub fn finish_loading(&mut self) -> bool {
        let Some(mut loading) = self.loading.take_if(|l| l.finished) else { return false };
        if let Some((dbs, libraries)) = loading.staging.take() {
            self.touch_all_watched_keys();
            let old = std::mem::replace(&mut self.ks.dbs, dbs);
            self.lazy_free(old);
            self.libraries = libraries;
        }
        self.ks.replica_keys.clear();
        self.touch_all_watched_keys();
        self.signal_all_databases();
        self.note_snapshot_loaded(&loading);
        if let LoadSource::File { .. } = &loading.source {
            let seconds = loading.started.elapsed().as_secs_f64();
            self.notice(&format!("DB loaded from disk: {seconds:.3} seconds"));
        }
        if !loading.options.ignore_origin {
            self.persistence_origin_loaded(loading.origin);
        }
        true
    }
}

fn load_entry(
    ks: &mut crate::db::Keyspace,
    db: usize,
    loaded: RdbEntry<'_>,
    options: LoadOptions,
    limits: &crate::value::Limits,
    keys_loaded: &mut u64,
) -> Result<(), LoadError> {
    let mut value: Value = loaded.value.into();
    value.adopt(limits);
    let entry = Entry::new(&loaded.key, value, loaded.expire_ms);
    let access = &ks.access;
    entry.view().set_lru(match (loaded.freq, loaded.idle_secs) {
        (Some(freq), _) if access.lfu => access.lfu_bits(freq),
        (_, Some(idle)) if !access.lfu => access.bits_idle(idle),
        _ => access.fresh(),
    });
    if ks.put(db, entry).is_some() && !options.merge {
        return Err(LoadError::Content(format!(
            "RDB has duplicated key '{}' in DB {db}",
            loaded.key.escape_ascii()
        )));
    }
    *keys_loaded += 1;
    Ok(())
}
