//! Snapshots are loaded in slices between turns of the loop, from a file or from what a primary sends.

use super::SnapshotOrigin;
use crate::db::{Db, Entry, ExpiryRole};
use crate::lua::library::Libraries;
use crate::rdb::parser::{Event, Origin, RdbEntry};
use crate::rdb::{ErrorKind, RdbError, RdbParser};
use crate::server::Server;
use crate::server::blocking;
use crate::server::empty;
use crate::server::links::NO_ID;
use crate::server::observe::log::Level;
use crate::server::persistence::child::wait_after_key;
use crate::server::scripting;
use crate::server::transaction;
use crate::util::io_reason;
use crate::util::slot::SLOTS;
use crate::util::slot_set::SlotSet;
use crate::value::Value;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// How long one slice of loading may take before clients have their turn.
const LOAD_SLICE: Duration = Duration::from_millis(20);
/// So many keys without a value are named in the log.
const MAX_EMPTY_KEYS_LOGGED: u64 = 10;

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
    options: LoadOptions,
    parser: RdbParser,
    source: LoadSource,
    db: usize,
    started_ms: i64,
    total_bytes: u64,
    loaded_bytes: u64,
    /// The memory that the file's writer used, by its own word.
    rdb_used_mem: u64,
    /// By [`Clock::nanos`](crate::util::clock::Clock::nanos); 0 until it begins.
    started_ns: u64,
    origin: Option<SnapshotOrigin>,
    /// What takes the data while the old ones are still there, to be swapped in at the end.
    staging: Option<(Vec<Db>, Libraries)>,
    /// The old data is served meanwhile.
    is_async: bool,
    keys_loaded: u64,
    keys_expired: u64,
    /// Keys passed over because their values have no elements.
    empty_keys: u64,
    /// The parser has more, but a slice's time was over.
    behind: bool,
    finished: bool,
}

/// What is found while loading that concerns replication and the cluster.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Where in whose history the snapshot stands.
    pub origin: Option<SnapshotOrigin>,
    /// Keys, with their databases, that a restarted primary has left out because their time had come. Replicas that go
    /// on in its old history have them still, and must be told.
    pub stale: Vec<(usize, Box<[u8]>)>,
    /// Which slots of a cluster were about to move, as the primary tells it.
    pub open_slots: Option<Vec<u8>>,
    /// Slots that were on their way to the snapshot's writer, with the names of their moves.
    pub slot_imports: Vec<(String, SlotSet)>,
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

/// Why what is on disk could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    Io(io::Error),
    Format(RdbError),
    /// What the files hold makes no sense here, or one is missing.
    Content(String),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Io(error) => f.write_str(&io_reason(error)),
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

impl std::error::Error for LoadError {}

/// Logs why something could not be loaded.
pub(crate) fn log_load_error(server: &Server, error: &LoadError) {
    if let LoadError::Format(RdbError { kind: ErrorKind::UnexpectedEof, .. }) = error {
        server.warning("Short read or OOM loading DB. Unrecoverable error, aborting now.");
    }
    server.warning(&error.to_string());
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

    /// It is to be loaded in another way than usual.
    pub(crate) fn set_options(&mut self, options: LoadOptions) {
        self.options = options;
    }

    /// The data goes into these databases and libraries, to be swapped in at the end. `serves`: what is there is good
    /// enough to be read meanwhile.
    pub(crate) fn stage(&mut self, dbs: Vec<Db>, libraries: Libraries, serves: bool) {
        self.staging = Some((dbs, libraries));
        self.is_async = serves;
    }

    /// What the rest of the input may hold at most. It bounds the hints that the input itself gives.
    fn keys_to_come(&self) -> u64 {
        self.total_bytes.saturating_sub(self.loaded_bytes) / 4 + 65_536
    }

    /// Whether the old data is still there.
    pub(crate) fn is_staged(&self) -> bool {
        self.staging.is_some()
    }

    /// Whether the old data is served meanwhile.
    pub(crate) fn is_async(&self) -> bool {
        self.is_async
    }

    /// So much more has been read.
    pub(crate) fn add_loaded(&mut self, bytes: u64) {
        self.loaded_bytes += bytes;
    }

    /// When it began, in milliseconds since 1970.
    pub(crate) fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Bytes in all, as far as is known, and how many of them have been read.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.total_bytes, self.loaded_bytes)
    }

    /// The memory that the file's writer used, by its own word.
    pub(crate) fn rdb_used_mem(&self) -> u64 {
        self.rdb_used_mem
    }

    /// How many seconds it will take, at the speed that it had so far; one where nothing can be said.
    pub(crate) fn eta_seconds(&self, now_ms: i64) -> i64 {
        let elapsed = (now_ms - self.started_ms).max(0) / 1000;
        let left = self.total_bytes.saturating_sub(self.loaded_bytes);
        match self.loaded_bytes {
            0 => 1,
            loaded => (elapsed as f64 / loaded as f64 * left as f64) as i64,
        }
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
            started_ns: 0,
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

/// Begins to load the snapshot file; `false` if there is none.
///
/// # Errors
/// If there is one that can't be opened.
pub(crate) fn begin_loading_file(server: &mut Server, path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    let source = LoadSource::File { file };
    let checksum = server.config.rdbchecksum && !server.lifecycle.debug.skip_checksum_validation;
    begin_loading(server, Loading::new(source, checksum, size, server.ks.now_ms));
    Ok(true)
}

/// Begins to load a snapshot.
pub(crate) fn begin_loading(server: &mut Server, mut loading: Loading) {
    loading.started_ns = server.ks.clock.nanos();
    // Of a snapshot that could not be loaded.
    server.persistence.found.open_slots = None;
    server.persistence.found.slot_imports.clear();
    server.persistence.loading = Some(Box::new(loading));
}

/// Loads on for a while from a snapshot file; at its end, the data is what is served.
///
/// # Errors
/// Why the snapshot can't be loaded; loading has ended, and what was loaded so far is in the keyspace.
pub(super) fn load_file_some(server: &mut Server) -> Result<LoadProgress, LoadError> {
    let progress = load_snapshot_slice(server)?;
    if progress == LoadProgress::Done {
        finish_loading(server);
    }
    Ok(progress)
}

/// Loads on for a while from a snapshot file. When all of it is there, what follows is up to the caller.
///
/// # Errors
/// As for [`load_file_some`].
pub(crate) fn load_snapshot_slice(server: &mut Server) -> Result<LoadProgress, LoadError> {
    let slice = server.ks.clock.nanos();
    loop {
        load_parsed(server).map_err(|e| abort_loading(server, e))?;
        let Some(loading) = &mut server.persistence.loading else { return Ok(LoadProgress::Done) };
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
                return Err(abort_loading(
                    server,
                    outcome.err().map_or_else(
                        || LoadError::Content("Unexpected end of file".to_string()),
                        LoadError::Format,
                    ),
                ));
            }
            Ok(n) => {
                loading.parser.filled(n);
                loading.loaded_bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(abort_loading(server, LoadError::Io(error))),
        }
        if server.ks.clock.since(slice) > LOAD_SLICE {
            return Ok(LoadProgress::More);
        }
    }
}

/// Loads a piece that came from the primary. Who feeds knows the end, and calls [`finish_loading`].
///
/// # Errors
/// As for [`load_file_some`], but what was loaded so far has to be abandoned by the caller.
pub(crate) fn load_fed(server: &mut Server, bytes: &[u8]) -> Result<(), LoadError> {
    let Some(loading) = server.persistence.loading.as_mut().filter(|l| !l.finished) else {
        return Ok(());
    };
    loading.parser.feed(bytes);
    loading.loaded_bytes += bytes.len() as u64;
    load_parsed(server)
}

fn abort_loading(server: &mut Server, error: LoadError) -> LoadError {
    server.persistence.loading = None;
    error
}

/// Puts into the keyspace what the parser has.
fn load_parsed(server: &mut Server) -> Result<(), LoadError> {
    let Some(mut loading) = server.persistence.loading.take() else { return Ok(()) };
    loading.behind = false;
    // While this runs the databases that take the data are in the keyspace's place.
    swap_staging(server, &mut loading);
    let outcome = load_events(server, &mut loading);
    swap_staging(server, &mut loading);
    let offset = loading.parser.offset();
    server.persistence.loading = Some(loading);
    outcome.map_err(|error| match error {
        LoadError::Content(text) => LoadError::Content(format!("{text} (offset {offset})")),
        error => error,
    })
}

fn swap_staging(server: &mut Server, loading: &mut Loading) {
    if let Some((dbs, libraries)) = &mut loading.staging {
        std::mem::swap(&mut server.ks.dbs, dbs);
        std::mem::swap(&mut server.scripting.libraries, libraries);
    }
}

fn load_events(server: &mut Server, loading: &mut Loading) -> Result<(), LoadError> {
    let start = server.ks.clock.nanos();
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
                server.log(Level::Debug, &format!("Loading RDB version {version}{whose}"));
            }
            Event::Aux { name, value } if *name == *b"cluster-slot-states" => {
                server.persistence.found.open_slots = Some(value.into_owned());
            }
            Event::Aux { name, value } => {
                note_aux(server, &name, &value, &mut loading.origin, &mut loading.rdb_used_mem);
            }
            Event::SelectDb(n) => loading.db = known_db(server, n)?,
            Event::ResizeDb { keys, .. } => {
                let bound = loading.keys_to_come();
                server.ks.dbs[loading.db].table.reserve(keys.min(bound) as usize);
            }
            Event::Entry(entry) if is_stale(server, &entry) => {
                loading.keys_expired += 1;
                let key = entry.key.to_vec();
                stale_key_skipped(server, loading, &key);
            }
            Event::Entry(entry) => {
                let limits = server.config.value_limits();
                load_entry(&mut server.ks, loading.db, entry, loading.options, &limits)?;
                loading.keys_loaded += 1;
                if server.config.key_load_delay != 0 {
                    wait_after_key(server.config.key_load_delay, loading.keys_loaded);
                    loading.behind = !loading.is_fed() && server.ks.clock.since(start) > LOAD_SLICE;
                }
            }
            Event::EmptyKey { key } => skip_empty_key(server, &mut loading.empty_keys, &key),
            // A table grows fast enough as its keys come.
            Event::SlotInfo { .. } => {}
            Event::SlotImport { name, ranges } => {
                let import = slot_import(&name, &ranges)?;
                server.persistence.found.slot_imports.push(import);
            }
            Event::Function(code) => {
                scripting::load_library(server, &code, loading.options.merge, true)
                    .map(drop)
                    .map_err(|error| {
                        LoadError::Content(format!("Failed creating the library: {error}"))
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

/// Logs what a snapshot says about itself, or keeps it for the end of loading.
fn note_aux(
    server: &Server,
    name: &[u8],
    value: &[u8],
    origin: &mut Option<SnapshotOrigin>,
    used_mem: &mut u64,
) {
    let text = String::from_utf8_lossy(value);
    match name {
        b"redis-ver" | b"valkey-ver" => {
            server.notice(&format!("Loading RDB produced by version {text}"));
        }
        b"ctime" => {
            let age = text.parse::<i64>().map_or(0, |t| (server.now_seconds() - t).max(0));
            server.notice(&format!("RDB age {age} seconds"));
        }
        b"used-mem" => {
            *used_mem = text.parse().unwrap_or(0);
            let mb = *used_mem as f64 / (1 << 20) as f64;
            server.notice(&format!("RDB memory usage when created {mb:.2} Mb"));
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

/// A key without a value is left out; the first few are named in the log.
fn skip_empty_key(server: &Server, skipped: &mut u64, key: &[u8]) {
    *skipped += 1;
    if *skipped <= MAX_EMPTY_KEYS_LOGGED {
        let key = String::from_utf8_lossy(key);
        server.notice(&format!("rdbLoadObject skipping empty key: {key}"));
    }
}

/// A move of slots that a snapshot tells of.
fn slot_import(name: &[u8], ranges: &[(u64, u64)]) -> Result<(String, SlotSet), LoadError> {
    let name = str::from_utf8(name).ok().filter(|name| name.len() == NO_ID.len());
    let name = name.ok_or_else(|| {
        LoadError::Content("Invalid slot import job name length in RDB".to_string())
    })?;
    let mut slots = SlotSet::default();
    for &(start, end) in ranges {
        if start > end || end >= SLOTS.into() {
            let text = format!("Invalid slot import range in RDB: start={start} end={end}");
            return Err(LoadError::Content(text));
        }
        (start..=end).for_each(|slot| _ = slots.insert(slot as u16));
    }
    Ok((name.to_string(), slots))
}

/// The place of a database that a snapshot has.
fn known_db(server: &Server, n: u64) -> Result<usize, LoadError> {
    let known = usize::try_from(n).ok().filter(|n| *n < server.ks.dbs.len());
    known.ok_or_else(|| {
        LoadError::Content(format!(
            "FATAL: Data file was created with a server configured to handle more than {} databases. Exiting",
            server.ks.dbs.len()
        ))
    })
}

/// Whether a key in a snapshot has expired, and it is for this server to say so.
fn is_stale(server: &Server, entry: &RdbEntry<'_>) -> bool {
    let is_base = server.persistence.aof.is_replaying();
    server.ks.role == ExpiryRole::Delete
        && !is_base
        && entry.expire_ms.is_some_and(|at| at < server.ks.now_ms)
}

/// A key is left out because its time had come.
fn stale_key_skipped(server: &mut Server, loading: &mut Loading, key: &[u8]) {
    if !server.lifecycle.is_starting() || loading.options.ignore_origin {
        return;
    }
    let found = &mut server.persistence.found;
    if let Some(origin) = loading.origin.take() {
        found.origin = Some(origin);
    }
    if found.origin.is_some() || server.repl.stream().is_some() {
        found.stale.push((loading.db, key.into()));
    }
}

/// Takes down how many keys a snapshot had.
pub(crate) fn note_snapshot_loaded(server: &mut Server, loading: &Loading) {
    server.persistence.snapshots.note_loaded(loading.keys_loaded, loading.keys_expired);
    let mut summary = format!(
        "Done loading RDB, keys loaded: {}, keys expired: {}",
        loading.keys_loaded, loading.keys_expired
    );
    if loading.empty_keys > 0 {
        summary += &format!(", empty keys skipped: {}", loading.empty_keys);
    }
    server.notice(&(summary + "."));
}

/// Ends loading: the data is what is served from now on. `false` if the snapshot is not complete.
pub(crate) fn finish_loading(server: &mut Server) -> bool {
    let Some(mut loading) = server.persistence.loading.take_if(|l| l.finished) else {
        return false;
    };
    if let Some((dbs, libraries)) = loading.staging.take() {
        transaction::touch_all_watched_keys(server);
        let old = std::mem::replace(&mut server.ks.dbs, dbs);
        empty::free_databases(server, old, true);
        server.scripting.libraries = libraries;
    }
    server.ks.replica_keys.clear();
    transaction::touch_all_watched_keys(server);
    blocking::signal_all_databases(server);
    note_snapshot_loaded(server, &loading);
    if let LoadSource::File { .. } = &loading.source {
        let seconds = server.ks.clock.since(loading.started_ns).as_secs_f64();
        server.notice(&format!("DB loaded from disk: {seconds:.3} seconds"));
    }
    if !loading.options.ignore_origin {
        let found = &mut server.persistence.found.origin;
        *found = loading.origin.or(found.take());
    }
    true
}

fn load_entry(
    ks: &mut crate::db::Keyspace,
    db: usize,
    loaded: RdbEntry<'_>,
    options: LoadOptions,
    limits: &crate::value::Limits,
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_speed_so_far() {
        let mut loading = Loading::fed(false, 1000, 50_000);
        assert_eq!(loading.eta_seconds(60_000), 1, "nothing has been read");
        loading.add_loaded(250);
        assert_eq!(loading.eta_seconds(60_000), 30);
        loading.add_loaded(1000);
        assert_eq!(loading.eta_seconds(60_000), 0, "there is more than was announced");
        assert_eq!(loading.bytes(), (1000, 1250));
    }

    #[test]
    fn a_file_within_an_append_only_file_gives_itself_back() {
        let mut loading = Loading::commands(9, 0);
        assert!(loading.end_snapshot().is_none());
        let file = File::open("/dev/null").expect("a file");
        loading.begin_snapshot(file, false);
        assert!(!loading.is_fed());
        let (_, rest, offset) = loading.end_snapshot().expect("the file");
        assert_eq!((rest.len(), offset), (0, 0));
        assert!(loading.end_snapshot().is_none());
    }
}
