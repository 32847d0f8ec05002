//! Loading: the files are executed again, in slices between turns of the loop, by a client that has no connection.

use super::AofState;
use crate::aof::manifest::manifest_name;
use crate::aof::reader::{Record, RecordFile, holds_a_command, is_rdb, next_record};
use crate::aof::{AofFile, Manifest};
use crate::db::ExpiryRole;
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::call::{Call, Propagation};
use crate::server::child::wait_after_key;
use crate::server::client::{Client, ClientFlags, Token};
use crate::server::connection::{Connection, Nobody};
use crate::server::persistence::load::{LoadError, LoadOptions, LoadProgress, Loading};
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

impl Server {
    /// Reads the manifest, if there is one. To be called before anything else is done with the append-only file.
    ///
    /// # Errors
    /// What to log before giving up.
    pub fn load_aof_manifest(&mut self) -> Result<(), String> {
        if self.config.appendonly {
            self.aof.state = AofState::On;
        }
        self.read_aof_manifest()
    }

    fn read_aof_manifest(&mut self) -> Result<(), String> {
        let path = self.aof_path(&manifest_name(&self.config.appendfilename));
        match fs::read(&path) {
            Ok(text) => {
                self.aof.manifest = Manifest::parse(&text).map_err(|error| error.to_string())?;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!(
                "Fatal error: can't open the AOF manifest file {} for reading: {}",
                path.display(),
                io_reason(&error)
            )),
        }
    }

    /// Begins to execute the append-only file; `false` if there is none, or nothing in it.
    ///
    /// # Errors
    /// What to log before giving up.
    pub fn begin_loading_aof(&mut self) -> Result<bool, String> {
        self.upgrade_old_aof()?;
        if self.aof.manifest.is_empty() {
            return Ok(false);
        }
        let mut total_bytes = 0;
        for file in self.aof.manifest.files() {
            let length = fs::metadata(self.aof_path(&file.name)).map_err(|error| {
                format!(
                    "Unable to obtain the AOF file {} length. stat: {}",
                    file.name,
                    io_reason(&error)
                )
            })?;
            total_bytes += length.len();
        }
        if total_bytes == 0 {
            return Ok(false);
        }
        let mut loading = Loading::commands(total_bytes, self.ks.now_ms);
        loading.options = LoadOptions { ignore_origin: true, ..LoadOptions::default() };
        self.begin_loading(loading);
        let nobody = Client::new(0, Connection::Virtual(Box::new(Nobody)), self.now_seconds());
        self.aof.is_replaying = true;
        self.aof.replay = Some(Box::new(Replay {
            files: self.aof.manifest.files().cloned().collect(),
            current: None,
            client: Some(nobody),
            has_base: self.aof.manifest.base.is_some(),
            total_bytes,
            started_ns: self.clock.nanos(),
        }));
        Ok(true)
    }

    /// A single file of Redis 6 or earlier becomes the base file in the directory. If this is interrupted, the next
    /// start goes on with it.
    fn upgrade_old_aof(&mut self) -> Result<(), String> {
        let name = self.config.appendfilename.clone();
        let (old, new) = (self.config.dir.join(&name), self.aof_path(&name));
        let manifest = &self.aof.manifest;
        let begun = manifest.incr.is_empty()
            && manifest.base.as_ref().is_some_and(|base| base.name == name)
            && !new.exists();
        if !old.exists() || !(manifest.is_empty() || begun) {
            return Ok(());
        }
        let dirname = self.config.appenddirname.clone();
        let moved = (|| {
            self.make_aof_dir()?;
            let mut manifest = self.aof.manifest.clone();
            manifest.base = Some(AofFile { name: name.clone(), seq: 1 });
            manifest.base_seq = 1;
            manifest.dirty = true;
            self.persist_aof_manifest(&mut manifest)?;
            crate::sys::durable::rename_durably(&old, &new)?;
            self.aof.manifest = manifest;
            io::Result::Ok(())
        })();
        moved.map_err(|error| {
            let reason = io_reason(&error);
            format!("Error trying to move the old AOF file {name} into dir {dirname}: {reason}")
        })?;
        self.notice(&format!("Successfully migrated an old-style AOF file ({name}) into the AOF directory ({dirname})."));
        Ok(())
    }

    /// Executes for a while.
    ///
    /// # Errors
    /// Why it can't go on, for the log. What was executed so far is in the keyspace.
    pub fn replay_some(&mut self) -> Result<LoadProgress, LoadError> {
        let Some(mut replay) = self.aof.replay.take() else { return Ok(LoadProgress::Done) };
        let outcome = self.replay_slice(&mut replay);
        match &outcome {
            Ok(LoadProgress::More) => self.aof.replay = Some(replay),
            Ok(LoadProgress::Done) => self.replay_done(&replay),
            Err(error) => {
                if !self.starting {
                    self.warning(&error.to_string());
                }
                self.loading = None;
                self.aof.is_replaying = false;
            }
        }
        outcome
    }

    fn replay_done(&mut self, replay: &Replay) {
        self.loading = None;
        self.aof.is_replaying = false;
        self.touch_all_watched_keys();
        self.signal_all_databases();
        self.aof.current_size = replay.total_bytes;
        let size = |file: &AofFile| fs::metadata(self.aof_path(&file.name)).map_or(0, |m| m.len());
        self.aof.rewrite_base_size = self.aof.manifest.base.as_ref().map_or(0, size);
        if self.starting {
            let seconds = self.clock.since(replay.started_ns).as_secs_f64();
            self.notice(&format!("DB loaded from append only file: {seconds:.3} seconds"));
        }
    }

    fn replay_slice(&mut self, replay: &mut Replay) -> Result<LoadProgress, LoadError> {
        let started = self.clock.nanos();
        loop {
            let Some(mut file) = replay.current.take() else {
                let Some(next) = replay.files.pop_front() else { return Ok(LoadProgress::Done) };
                replay.current = Some(self.open_aof(next, mem::take(&mut replay.has_base))?);
                continue;
            };
            let Some(mut records) = file.records.take() else {
                if self.load_preamble(&file)? {
                    // The snapshot has been loaded; commands may follow it.
                    file.records = self.take_preamble();
                    if file.name == self.config.appendfilename {
                        self.notice("Reading the remaining AOF tail...");
                    }
                }
                let more = file.records.is_none();
                replay.current = Some(file);
                if more {
                    return Ok(LoadProgress::More);
                }
                continue;
            };
            if self.replay_commands(replay, &mut file, &mut records, started)? {
                self.finish_aof_file(replay, &file, &records)?;
            } else {
                file.records = Some(records);
                replay.current = Some(file);
                return Ok(LoadProgress::More);
            }
        }
    }

    fn open_aof(
        &mut self,
        AofFile { name, .. }: AofFile,
        is_base: bool,
    ) -> Result<OpenFile, LoadError> {
        let opened = File::open(self.aof_path(&name)).map_err(|error| {
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
            started_ns: self.clock.nanos(),
        };
        if is_rdb(records.rest()) {
            self.notice(if file.name == self.config.appendfilename {
                "Reading RDB preamble from AOF file..."
            } else {
                "Reading RDB base file on AOF loading..."
            });
            let again = File::open(self.aof_path(&file.name)).map_err(LoadError::Io)?;
            let checksum = self.config.rdbchecksum && !self.skip_checksum_validation;
            if let Some(loading) = &mut self.loading {
                loading.begin_snapshot(again, checksum);
            }
        } else {
            if let Some(loading) = &mut self.loading {
                loading.loaded_bytes += records.end();
            }
            file.records = Some(records);
        }
        Ok(file)
    }

    /// Loads the snapshot that a file starts with; answers whether all of it is there.
    fn load_preamble(&mut self, file: &OpenFile) -> Result<bool, LoadError> {
        match self.load_snapshot_slice() {
            Ok(progress) => Ok(progress == LoadProgress::Done),
            Err(error) => {
                self.log_load_error(&error);
                let what = if file.name == self.config.appendfilename {
                    "RDB preamble of the AOF file"
                } else {
                    "RDB base file"
                };
                let name = &file.name;
                Err(LoadError::Content(format!(
                    "Error reading the {what} {name}, AOF loading aborted"
                )))
            }
        }
    }

    fn take_preamble(&mut self) -> Option<RecordFile> {
        let mut loading = self.loading.take()?;
        self.note_snapshot_loaded(&loading);
        let rest = loading.end_snapshot();
        self.loading = Some(loading);
        rest.map(|(file, rest, offset)| RecordFile::resume(file, rest, offset))
    }

    /// Executes commands until the file ends or the slice's time is over; answers whether the file has ended.
    fn replay_commands(
        &mut self,
        replay: &mut Replay,
        file: &mut OpenFile,
        records: &mut RecordFile,
        started: u64,
    ) -> Result<bool, LoadError> {
        let Some(client) = replay.client.take() else { return Ok(true) };
        let db = client.db;
        let token = self.clients.insert(client);
        let outer = Outer {
            in_turn: self.clients.begin_turn(token),
            role: mem::replace(&mut self.ks.role, ExpiryRole::Keep),
            no_touch: mem::replace(&mut self.ks.no_touch, false),
        };
        let mut call = Call::of_file(token, db, Protocol::Resp2);

        let outcome = self.execute_records(&mut call, file, records, started);

        self.clients.end_turn(outer.in_turn);
        (self.ks.role, self.ks.no_touch) = (outer.role, outer.no_touch);
        if outcome.is_err() {
            self.discard_transaction(token);
        }
        // Nobody else may find a client that is not in its place.
        self.unwatch_all_keys(token);
        self.disable_tracking(token);
        replay.client = Some(self.clients.remove(token));
        outcome
    }

    fn execute_records(
        &mut self,
        call: &mut Call,
        file: &mut OpenFile,
        records: &mut RecordFile,
        started: u64,
    ) -> Result<bool, LoadError> {
        for n in 1.. {
            if n % COMMANDS_PER_LOOK == 0 && self.clock.since(started) > SLICE {
                return Ok(false);
            }
            match next_record(records.rest()) {
                Ok(Record::Annotation { end, .. }) => records.advance(end),
                Ok(Record::Command { args, end }) => {
                    let rest = records.rest();
                    let args: Vec<&[u8]> = args.into_iter().map(|range| &rest[range]).collect();
                    let was_multi = self.clients[call.client].is(ClientFlags::MULTI);
                    self.replay_command(call, &file.name, &args)?;
                    match self.clients[call.client].is(ClientFlags::MULTI) {
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
                    if let Some(loading) = &mut self.loading {
                        loading.loaded_bytes += n as u64;
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
        &mut self,
        call: &mut Call,
        file: &str,
        args: &[&[u8]],
    ) -> Result<(), LoadError> {
        let Some(id) = self.commands.find(args[0]) else {
            let name = args[0].escape_ascii();
            return Err(LoadError::Content(format!(
                "Unknown command '{name}' reading the append only file {file}"
            )));
        };
        let id = self.resolve(id, args).map_err(|(_, error)| {
            LoadError::Content(format!("{error} reading the append only file {file}"))
        })?;
        let command = self.commands.get(id);
        let (handler, name) = (command.handler, command.name);
        let queued = self.clients[call.client].is(ClientFlags::MULTI)
            && !command.is(CommandFlags::NEVER_QUEUED);
        let outcome = if queued {
            let flags = self.commands.get(id).flags;
            self.queue_multi_command(call, id, flags, args);
            Ok(())
        } else {
            handler(self, call, args)
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
            self.stats.unexpected_error_replies += 1;
            self.warning(&format!("== CRITICAL == This server is sending an error to its AOF-loading-client: '{error}' after processing the command '{name}'"));
        }
        call.reply.clear();
        call.propagation = Propagation::Automatic;
        if self.ks.changes.needs_attention() {
            self.propagate_deletions();
            self.tell_changes();
        }
        if self.config.key_load_delay != 0 {
            wait_after_key(self.config.key_load_delay, 1);
        }
        Ok(())
    }

    /// A file has ended: in the middle of a command or transaction, or as it should.
    fn finish_aof_file(
        &mut self,
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
            self.warning(&format!("Revert incomplete MULTI/EXEC transaction in AOF file {name}"));
        }
        if !tail.is_empty() || file.multi_at.is_some() {
            self.truncate_aof(replay, file, records)?;
        }
        let kind = if file.is_base { "base" } else { "incr" };
        let seconds = self.clock.since(file.started_ns).as_secs_f64();
        self.notice(&format!("DB loaded from {kind} file {}: {seconds:.3} seconds", file.name));
        Ok(())
    }

    /// The end of the last file is missing: cuts off what is there of the last command or transaction, if
    /// `aof-load-truncated` allows it.
    fn truncate_aof(
        &mut self,
        replay: &mut Replay,
        file: &OpenFile,
        records: &RecordFile,
    ) -> Result<(), LoadError> {
        let name = &file.name;
        let valid_up_to = file.multi_at.unwrap_or(records.offset());
        let size = records.end();
        if self.config.aof_load_truncated {
            self.warning(&format!("!!! Warning: short read while loading the AOF file {name}!!!"));
            if !replay.files.is_empty() {
                let text = "Fatal error: the truncated file is not the last file";
                return Err(LoadError::Content(text.to_string()));
            }
            self.warning(&format!("!!! Truncating the AOF {name} at offset {valid_up_to} !!!"));
            let cut = (|| {
                let file = OpenOptions::new().write(true).open(self.aof_path(name))?;
                file.set_len(valid_up_to)?;
                file.sync_all()
            })();
            match cut {
                Ok(()) => {
                    self.warning(&format!(
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
                Err(error) => self.warning(&format!(
                    "Error truncating the AOF file {name}: {}",
                    io_reason(&error)
                )),
            }
        }
        Err(LoadError::Content(format!(
            "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, \
             then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
             'aof-load-truncated' configuration option to yes and restart the server."
        )))
    }

    /// `DEBUG LOADAOF`: the data is what the append-only file says. `false` if it can't be loaded.
    pub fn reload_aof(&mut self) -> bool {
        self.flush_append_only_file(true);
        self.aof.manifest = Manifest::default();
        if let Err(text) = self.read_aof_manifest() {
            self.warning(&text);
            return false;
        }
        for db in 0..self.ks.dbs.len() {
            self.ks.dbs[db] = self.ks.new_db();
        }
        self.libraries = Default::default();
        match self.begin_loading_aof() {
            // Files without anything in them are no error.
            Ok(false) => return !self.aof.manifest.is_empty(),
            Ok(true) => {}
            Err(text) => {
                self.warning(&text);
                return false;
            }
        }
        loop {
            match self.load_some() {
                Ok(LoadProgress::More) => {}
                Ok(LoadProgress::Done) => return true,
                Err(_) => return false,
            }
        }
    }
}

fn bad_format(name: &str, offset: u64) -> LoadError {
    LoadError::Content(format!(
        "Bad file format reading the append only file {name} (offset {offset}): make a backup of your AOF file, then \
         use ./redis-check-aof --fix <filename.manifest>"
    ))
}
