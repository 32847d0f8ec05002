//! Loading: the files are executed again, in slices between turns of the loop, by a client that has no connection.

use super::{AofState, Replaying};
use crate::aof::manifest::manifest_name;
use crate::aof::reader::{Record, RecordFile, holds_a_command, is_rdb, next_record};
use crate::aof::{AofFile, Manifest};
use crate::db::ExpiryRole;
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::blocking;
use crate::server::call::{Call, Propagation};
use crate::server::client::{Client, ClientFlags, Token};
use crate::server::connection::{Connection, Nobody};
use crate::server::empty;
use crate::server::persistence::aof;
use crate::server::persistence::aof::write;
use crate::server::persistence::child::wait_after_key;
use crate::server::persistence::load;
use crate::server::persistence::load::{LoadError, LoadOptions, LoadProgress, Loading};
use crate::server::propagate;
use crate::server::tracking;
use crate::server::transaction;
use crate::spec::CommandFlags;
use crate::util::io_reason;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem;
use std::time::Duration;

/// How long one slice may take before clients have their turn.
const SLICE: Duration = Duration::from_millis(20);
/// Commands executed before the clock is looked at.
const COMMANDS_PER_LOOK: usize = 64;
/// Bytes that tell a snapshot from commands.
const MAGIC: usize = 9;

/// The files that are being executed.
pub struct Replay {
    /// Those that are to come.
    files: VecDeque<AofFile>,
    current: Option<OpenFile>,
    /// Who executes the commands; in the slab only while it does.
    client: Option<Client>,
    has_base: bool,
    total_bytes: u64,
    /// By [`Clock::nanos`](crate::util::clock::Clock::nanos).
    started_ns: u64,
}

/// A file that is being executed.
struct OpenFile {
    name: String,
    is_base: bool,
    /// `None` while its snapshot is being loaded, which has the file.
    records: Option<RecordFile>,
    /// The offset of the transaction that is being queued.
    multi_at: Option<u64>,
    /// By [`Clock::nanos`](crate::util::clock::Clock::nanos).
    started_ns: u64,
}

/// What replaying has put aside: the command that it runs in, if any (`DEBUG LOADAOF`), is none of its business.
struct Outer {
    in_turn: Option<Token>,
    role: ExpiryRole,
    no_touch: bool,
}

/// Reads the manifest, if there is one. To be called before anything else is done with the append-only file.
///
/// # Errors
/// If it can't be read or understood.
pub(crate) fn load_aof_manifest(server: &mut Server) -> Result<(), LoadError> {
    if server.config.appendonly {
        server.persistence.aof.state = AofState::On;
    }
    read_aof_manifest(server)
}

fn read_aof_manifest(server: &mut Server) -> Result<(), LoadError> {
    let path = aof::aof_path(server, &manifest_name(&server.config.appendfilename));
    match fs::read(&path) {
        Ok(text) => {
            let parsed = Manifest::parse(&text);
            server.persistence.aof.manifest =
                parsed.map_err(|error| LoadError::Content(error.to_string()))?;
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(LoadError::Content(format!(
            "Fatal error: can't open the AOF manifest file {} for reading: {}",
            path.display(),
            io_reason(&error)
        ))),
    }
}

/// Begins to execute the append-only file; `false` if there is none, or nothing in it.
///
/// # Errors
/// If a file is missing.
pub(crate) fn begin_loading_aof(server: &mut Server) -> Result<bool, LoadError> {
    upgrade_old_aof(server)?;
    if server.persistence.aof.manifest.is_empty() {
        return Ok(false);
    }
    let mut total_bytes = 0;
    for file in server.persistence.aof.manifest.files() {
        let length = fs::metadata(aof::aof_path(server, &file.name)).map_err(|error| {
            LoadError::Content(format!(
                "Unable to obtain the AOF file {} length. stat: {}",
                file.name,
                io_reason(&error)
            ))
        })?;
        total_bytes += length.len();
    }
    if total_bytes == 0 {
        return Ok(false);
    }
    let mut loading = Loading::commands(total_bytes, server.ks.now_ms);
    loading.set_options(LoadOptions { ignore_origin: true, ..LoadOptions::default() });
    load::begin_loading(server, loading);
    let nobody = Client::new(0, Connection::Virtual(Box::new(Nobody)), server.now_seconds());
    let replay = Replay {
        files: server.persistence.aof.manifest.files().cloned().collect(),
        current: None,
        client: Some(nobody),
        has_base: server.persistence.aof.manifest.base.is_some(),
        total_bytes,
        started_ns: server.ks.clock.nanos(),
    };
    server.persistence.aof.replaying = Replaying::Paused(Box::new(replay));
    Ok(true)
}

/// A single file of Redis 6 or earlier becomes the base file in the directory. If this is interrupted, the next
/// start goes on with it.
fn upgrade_old_aof(server: &mut Server) -> Result<(), LoadError> {
    let name = server.config.appendfilename.clone();
    let (old, new) = (server.config.dir.join(&name), aof::aof_path(server, &name));
    let manifest = &server.persistence.aof.manifest;
    let begun = manifest.incr.is_empty()
        && manifest.base.as_ref().is_some_and(|base| base.name == name)
        && !new.exists();
    if !old.exists() || !(manifest.is_empty() || begun) {
        return Ok(());
    }
    let dirname = server.config.appenddirname.clone();
    let moved = (|| {
        aof::make_aof_dir(server)?;
        let mut manifest = server.persistence.aof.manifest.clone();
        manifest.base = Some(AofFile { name: name.clone(), seq: 1 });
        manifest.base_seq = 1;
        manifest.dirty = true;
        aof::persist_aof_manifest(server, &mut manifest)?;
        crate::sys::durable::rename_durably(&old, &new)?;
        server.persistence.aof.manifest = manifest;
        io::Result::Ok(())
    })();
    moved.map_err(|error| {
        let reason = io_reason(&error);
        LoadError::Content(format!(
            "Error trying to move the old AOF file {name} into dir {dirname}: {reason}"
        ))
    })?;
    server.notice(&format!(
        "Successfully migrated an old-style AOF file ({name}) into the AOF directory ({dirname})."
    ));
    Ok(())
}

/// Executes for a while.
///
/// # Errors
/// Why it can't go on, for the log. What was executed so far is in the keyspace.
pub(crate) fn replay_some(server: &mut Server) -> Result<LoadProgress, LoadError> {
    let replaying = mem::replace(&mut server.persistence.aof.replaying, Replaying::Running);
    let Replaying::Paused(mut replay) = replaying else {
        server.persistence.aof.replaying = replaying;
        return Ok(LoadProgress::Done);
    };
    let outcome = replay_slice(server, &mut replay);
    match &outcome {
        Ok(LoadProgress::More) => server.persistence.aof.replaying = Replaying::Paused(replay),
        Ok(LoadProgress::Done) => replay_done(server, &replay),
        Err(error) => {
            if !server.lifecycle.is_starting() {
                server.warning(&error.to_string());
            }
            server.persistence.loading = None;
            server.persistence.aof.replaying = Replaying::No;
        }
    }
    outcome
}

fn replay_done(server: &mut Server, replay: &Replay) {
    server.persistence.loading = None;
    server.persistence.aof.replaying = Replaying::No;
    transaction::touch_all_watched_keys(server);
    blocking::signal_all_databases(server);
    let size =
        |file: &AofFile| fs::metadata(aof::aof_path(server, &file.name)).map_or(0, |m| m.len());
    let base_size = server.persistence.aof.manifest.base.as_ref().map_or(0, size);
    server.persistence.aof.rewrites.set_sizes(replay.total_bytes, base_size);
    if server.lifecycle.is_starting() {
        let seconds = server.ks.clock.since(replay.started_ns).as_secs_f64();
        server.notice(&format!("DB loaded from append only file: {seconds:.3} seconds"));
    }
}

fn replay_slice(server: &mut Server, replay: &mut Replay) -> Result<LoadProgress, LoadError> {
    let started = server.ks.clock.nanos();
    loop {
        let Some(mut file) = replay.current.take() else {
            let Some(next) = replay.files.pop_front() else { return Ok(LoadProgress::Done) };
            replay.current = Some(open_aof(server, next, mem::take(&mut replay.has_base))?);
            continue;
        };
        let Some(mut records) = file.records.take() else {
            if load_preamble(server, &file)? {
                // The snapshot has been loaded; commands may follow it.
                file.records = take_preamble(server);
                if file.name == server.config.appendfilename {
                    server.notice("Reading the remaining AOF tail...");
                }
            }
            let more = file.records.is_none();
            replay.current = Some(file);
            if more {
                return Ok(LoadProgress::More);
            }
            continue;
        };
        if replay_commands(server, replay, &mut file, &mut records, started)? {
            finish_aof_file(server, replay, &file, &records)?;
        } else {
            file.records = Some(records);
            replay.current = Some(file);
            return Ok(LoadProgress::More);
        }
    }
}

fn open_aof(
    server: &mut Server,
    AofFile { name, .. }: AofFile,
    is_base: bool,
) -> Result<OpenFile, LoadError> {
    let opened = File::open(aof::aof_path(server, &name)).map_err(|error| {
        LoadError::Content(format!(
            "Fatal error: can't open the append log file {name} for reading: {}",
            io_reason(&error)
        ))
    })?;
    let mut records = RecordFile::new(opened);
    while records.rest().len() < MAGIC && !records.is_at_end() {
        records.read_more(MAGIC).map_err(LoadError::Io)?;
    }
    let mut file = OpenFile {
        name,
        is_base,
        records: None,
        multi_at: None,
        started_ns: server.ks.clock.nanos(),
    };
    if is_rdb(records.rest()) {
        server.notice(if file.name == server.config.appendfilename {
            "Reading RDB preamble from AOF file..."
        } else {
            "Reading RDB base file on AOF loading..."
        });
        let again = File::open(aof::aof_path(server, &file.name)).map_err(LoadError::Io)?;
        let checksum =
            server.config.rdbchecksum && !server.lifecycle.debug.skip_checksum_validation;
        if let Some(loading) = &mut server.persistence.loading {
            loading.begin_snapshot(again, checksum);
        }
    } else {
        if let Some(loading) = &mut server.persistence.loading {
            loading.add_loaded(records.end());
        }
        file.records = Some(records);
    }
    Ok(file)
}

/// Loads the snapshot that a file starts with; answers whether all of it is there.
fn load_preamble(server: &mut Server, file: &OpenFile) -> Result<bool, LoadError> {
    match load::load_snapshot_slice(server) {
        Ok(progress) => Ok(progress == LoadProgress::Done),
        Err(error) => {
            load::log_load_error(server, &error);
            let what = if file.name == server.config.appendfilename {
                "RDB preamble of the AOF file"
            } else {
                "RDB base file"
            };
            let name = &file.name;
            Err(LoadError::Content(format!("Error reading the {what} {name}, AOF loading aborted")))
        }
    }
}

fn take_preamble(server: &mut Server) -> Option<RecordFile> {
    let mut loading = server.persistence.loading.take()?;
    load::note_snapshot_loaded(server, &loading);
    let rest = loading.end_snapshot();
    server.persistence.loading = Some(loading);
    rest.map(|(file, rest, offset)| RecordFile::resume(file, rest, offset))
}

/// Executes commands until the file ends or the slice's time is over; answers whether the file has ended.
fn replay_commands(
    server: &mut Server,
    replay: &mut Replay,
    file: &mut OpenFile,
    records: &mut RecordFile,
    started: u64,
) -> Result<bool, LoadError> {
    let Some(client) = replay.client.take() else { return Ok(true) };
    let db = client.db;
    let token = server.clients.insert(client);
    let outer = Outer {
        in_turn: server.clients.begin_turn(token),
        role: mem::replace(&mut server.ks.role, ExpiryRole::Keep),
        no_touch: mem::replace(&mut server.ks.no_touch, false),
    };
    let mut call = Call::of_file(token, db, Protocol::Resp2);

    let outcome = execute_records(server, &mut call, file, records, started);

    server.clients.end_turn(outer.in_turn);
    (server.ks.role, server.ks.no_touch) = (outer.role, outer.no_touch);
    if outcome.is_err() {
        transaction::discard_transaction(server, token);
    }
    // Nobody else may find a client that is not in its place.
    transaction::unwatch_all_keys(server, token);
    tracking::disable_tracking(server, token);
    replay.client = Some(server.clients.remove(token));
    outcome
}

fn execute_records(
    server: &mut Server,
    call: &mut Call,
    file: &mut OpenFile,
    records: &mut RecordFile,
    started: u64,
) -> Result<bool, LoadError> {
    for n in 1.. {
        if n % COMMANDS_PER_LOOK == 0 && server.ks.clock.since(started) > SLICE {
            return Ok(false);
        }
        match next_record(records.rest()) {
            Ok(Record::Annotation { end, .. }) => records.advance(end),
            Ok(Record::Command { args, end }) => {
                let rest = records.rest();
                let args: Vec<&[u8]> = args.into_iter().map(|range| &rest[range]).collect();
                let was_multi = server.clients[call.client].is(ClientFlags::MULTI);
                replay_command(server, call, &file.name, &args)?;
                match server.clients[call.client].is(ClientFlags::MULTI) {
                    true if !was_multi => file.multi_at = Some(records.offset()),
                    true => {}
                    false => file.multi_at = None,
                }
                records.advance(end);
            }
            Ok(Record::Incomplete(_)) if records.is_at_end() => return Ok(true),
            Ok(Record::Incomplete(need)) => {
                let n = records.read_more(need).map_err(|error| {
                    LoadError::Content(format!(
                        "Unrecoverable error reading the append only file {}: {}",
                        file.name,
                        io_reason(&error)
                    ))
                })?;
                if let Some(loading) = &mut server.persistence.loading {
                    loading.add_loaded(n as u64);
                }
            }
            Err(bad) => {
                return Err(bad_format(&file.name, records.offset() + bad.0 as u64));
            }
        }
    }
    Ok(false)
}

/// Executes a command of the file. What it answers is of no interest, unless it is an error.
fn replay_command(
    server: &mut Server,
    call: &mut Call,
    file: &str,
    args: &[&[u8]],
) -> Result<(), LoadError> {
    let Some(id) = server.commands.find(args[0]) else {
        let name = args[0].escape_ascii();
        return Err(LoadError::Content(format!(
            "Unknown command '{name}' reading the append only file {file}"
        )));
    };
    let id = server.commands.resolve(id, args).map_err(|(_, error)| {
        LoadError::Content(format!("{error} reading the append only file {file}"))
    })?;
    let command = server.commands.get(id);
    let (handler, name) = (command.handler, command.name);
    let queued = server.clients[call.client].is(ClientFlags::MULTI)
        && !command.is(CommandFlags::NEVER_QUEUED);
    let outcome = if queued {
        let flags = server.commands.get(id).flags;
        transaction::queue_multi_command(server, call, id, flags, args);
        Ok(())
    } else {
        handler(server, call, args)
    };
    let error = match outcome {
        Err(error) => Some(error.to_string()),
        Ok(()) => call
            .reply
            .as_bytes()
            .strip_prefix(b"-")
            .map(|text| String::from_utf8_lossy(text.trim_ascii_end()).into_owned()),
    };
    if let Some(error) = error {
        server.observer.count_unexpected_error();
        server.warning(&format!("== CRITICAL == This server is sending an error to its AOF-loading-client: '{error}' after processing the command '{name}'"));
    }
    call.reply.clear();
    call.propagation = Propagation::Automatic;
    if server.ks.changes.needs_attention() {
        propagate::propagate_deletions(server);
        propagate::tell_changes(server);
    }
    if server.config.key_load_delay != 0 {
        wait_after_key(server.config.key_load_delay, 1);
    }
    Ok(())
}

/// A file has ended: in the middle of a command or transaction, or as it should.
fn finish_aof_file(
    server: &mut Server,
    replay: &mut Replay,
    file: &OpenFile,
    records: &RecordFile,
) -> Result<(), LoadError> {
    let tail = records.rest();
    if holds_a_command(tail) {
        return Err(bad_format(&file.name, records.offset()));
    }
    if tail.is_empty() && file.multi_at.is_some() {
        let name = &file.name;
        server.warning(&format!("Revert incomplete MULTI/EXEC transaction in AOF file {name}"));
    }
    if !tail.is_empty() || file.multi_at.is_some() {
        truncate_aof(server, replay, file, records)?;
    }
    let kind = if file.is_base { "base" } else { "incr" };
    let seconds = server.ks.clock.since(file.started_ns).as_secs_f64();
    server.notice(&format!("DB loaded from {kind} file {}: {seconds:.3} seconds", file.name));
    Ok(())
}

/// The end of the last file is missing: cuts off what is there of the last command or transaction, if
/// `aof-load-truncated` allows it.
fn truncate_aof(
    server: &mut Server,
    replay: &mut Replay,
    file: &OpenFile,
    records: &RecordFile,
) -> Result<(), LoadError> {
    let name = &file.name;
    let valid_up_to = file.multi_at.unwrap_or(records.offset());
    let size = records.end();
    if server.config.aof_load_truncated {
        server.warning(&format!("!!! Warning: short read while loading the AOF file {name}!!!"));
        if !replay.files.is_empty() {
            let text = "Fatal error: the truncated file is not the last file";
            return Err(LoadError::Content(text.to_string()));
        }
        server.warning(&format!("!!! Truncating the AOF {name} at offset {valid_up_to} !!!"));
        let cut = (|| {
            let file = OpenOptions::new().write(true).open(aof::aof_path(server, name))?;
            file.set_len(valid_up_to)?;
            file.sync_all()
        })();
        match cut {
            Ok(()) => {
                server.warning(&format!(
                    "AOF {name} loaded anyway because aof-load-truncated is enabled"
                ));
                if let Some(client) = &mut replay.client {
                    // What was queued of a transaction is forgotten.
                    client.flags.remove(ClientFlags::MULTI);
                    client.transaction = None;
                }
                replay.total_bytes -= size - valid_up_to;
                return Ok(());
            }
            Err(error) => server
                .warning(&format!("Error truncating the AOF file {name}: {}", io_reason(&error))),
        }
    }
    Err(LoadError::Content(format!(
        "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, \
         then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
         'aof-load-truncated' configuration option to yes and restart the server."
    )))
}

/// `DEBUG LOADAOF`: the data is what the append-only file says. `false` if it can't be loaded.
pub(crate) fn reload_aof(server: &mut Server) -> bool {
    write::flush_append_only_file(server, true);
    server.persistence.aof.manifest = Manifest::default();
    if let Err(error) = read_aof_manifest(server) {
        server.warning(&error.to_string());
        return false;
    }
    let fresh = server.ks.new_dbs();
    let old = mem::replace(&mut server.ks.dbs, fresh);
    empty::free_databases(server, old, false);
    server.scripting.libraries.clear();
    match begin_loading_aof(server) {
        // Files without anything in them are no error.
        Ok(false) => return !server.persistence.aof.manifest.is_empty(),
        Ok(true) => {}
        Err(error) => {
            server.warning(&error.to_string());
            return false;
        }
    }
    loop {
        match replay_some(server) {
            Ok(LoadProgress::More) => {}
            Ok(LoadProgress::Done) => return true,
            Err(_) => return false,
        }
    }
}

fn bad_format(name: &str, offset: u64) -> LoadError {
    LoadError::Content(format!(
        "Bad file format reading the append only file {name} (offset {offset}): make a backup of your AOF file, then \
         use ./redis-check-aof --fix <filename.manifest>"
    ))
}
