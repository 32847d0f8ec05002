//! A full resynchronisation: the snapshot comes, to a file or straight into memory, and is loaded.

use super::super::trace::Direction;
use super::LinkState;
use super::dual_channel::RdbChannelState;
use crate::rdb::format::HEADER_LEN;
use crate::rdb::parser::check_header;
use crate::script::library::Libraries;
use crate::server::Server;
use crate::server::client::Token;
use crate::server::config::ReplDisklessLoad;
use crate::server::persistence::load::{LoadProgress, Loading};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// The length of the mark behind a snapshot of unknown length.
const MARK_LEN: usize = 40;

/// How a snapshot's end is known.
#[derive(Clone, Debug)]
enum Ending {
    /// The `$` line has not come.
    Unknown,
    Length(u64),
    Mark([u8; MARK_LEN]),
}

/// A snapshot on its way here.
pub(super) struct Download {
    ending: Ending,
    received: u64,
    /// The last bytes received, where a mark has to be found.
    tail: Vec<u8>,
    target: Target,
}

enum Target {
    /// Nowhere yet.
    Undecided,
    /// Nowhere, until its first bytes say that it can be read: what is here is not given up for less.
    Checked {
        head: Vec<u8>,
        memory: bool,
    },
    File(File, PathBuf),
    /// The keyspace, as it comes.
    Memory,
}

impl Download {
    /// A snapshot of which nothing is known yet.
    fn new() -> Download {
        Download {
            ending: Ending::Unknown,
            received: 0,
            tail: Vec::new(),
            target: Target::Undecided,
        }
    }

    /// Bytes: all (0: it will be seen; -1: nothing is known yet), and those that have come.
    pub(super) fn progress(&self) -> (i64, u64) {
        let total = match self.ending {
            Ending::Length(total) => i64::try_from(total).unwrap_or(i64::MAX),
            Ending::Mark(_) => 0,
            Ending::Unknown => -1,
        };
        (total, self.received)
    }

    /// Half a snapshot is of no use.
    pub(super) fn discard(self) {
        if let Target::File(_, path) = self.target {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Server {
    pub(super) fn begin_transfer(&mut self) {
        self.enter_link_state(LinkState::Transfer);
        self.begin_download();
    }

    pub(super) fn begin_download(&mut self) {
        self.link().download = Some(Download::new());
    }

    /// The snapshot's connection has another state by now.
    fn enter_snapshot_state(&mut self, state: LinkState, of_channel: RdbChannelState) {
        if self.link().rdb_channel.is_some() {
            self.enter_rdb_channel_state(of_channel);
        } else {
            self.enter_link_state(state);
        }
    }

    pub(super) fn receive_snapshot(&mut self, token: Token) -> Result<(), String> {
        // Bounded, so that a fast primary does not keep everybody else waiting.
        let mut budget = self.config.loading_process_events_interval_bytes as usize;
        while budget > 0 {
            if self.link_input(token).is_empty() && !self.read_link(token, budget)? {
                return Ok(());
            }
            let unknown =
                matches!(self.link().download, Some(Download { ending: Ending::Unknown, .. }));
            if unknown {
                let Some(line) = self.read_line(token)? else { return Ok(()) };
                self.snapshot_announced(&line)?;
                continue;
            }
            let bytes = std::mem::take(self.link_input(token));
            budget = budget.saturating_sub(bytes.len());
            if self.snapshot_bytes(token, bytes)? {
                return Ok(());
            }
        }
        self.clients.queue_input(token);
        Ok(())
    }

    /// The `$` line: the snapshot's length, or the mark behind it.
    pub(super) fn snapshot_announced(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(error) = line.strip_prefix('-') {
            return Err(format!("MASTER aborted replication with an error: {error}"));
        }
        let Some(head) = line.strip_prefix('$') else {
            return Err(format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{line}'), are you sure the host and port are right?"
            ));
        };
        let ending = match head.strip_prefix("EOF:") {
            Some(mark) => Ending::Mark(
                mark.as_bytes().try_into().map_err(|_| "Bad end mark from MASTER".to_string())?,
            ),
            None => match head.parse() {
                Ok(length) if length > 0 => Ending::Length(length),
                _ => return Err(format!("Bad snapshot length from MASTER: {head}")),
            },
        };
        let memory = match self.config.repl_diskless_load {
            ReplDisklessLoad::Disabled => false,
            ReplDisklessLoad::OnEmptyDb => self.ks.is_empty(),
            ReplDisklessLoad::Swapdb => true,
        };
        let place = if memory { "to parser" } else { "to disk" };
        self.notice(&match &ending {
            Ending::Length(n) => {
                format!("MASTER <-> REPLICA sync: receiving {n} bytes from master {place}")
            }
            _ => format!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {place}"
            ),
        });
        if let Some(download) = &mut self.link().download {
            download.ending = ending;
            download.target = Target::Checked { head: Vec::new(), memory };
        }
        Ok(())
    }

    /// Where the snapshot goes, now that it can be read.
    fn open_target(&mut self, memory: bool, total: u64) -> Result<Target, String> {
        Ok(if memory {
            let mut loading = Loading::fed(self.config.rdbchecksum, total, self.ks.now_ms);
            if self.config.repl_diskless_load == ReplDisklessLoad::Swapdb {
                let fresh = (0..self.ks.dbs.len()).map(|_| self.ks.new_db()).collect();
                loading.staging = Some((fresh, Libraries::default()));
                // What is here is an earlier state of the same data: good enough to be read meanwhile.
                let announced = self.link().announced.0.clone();
                loading.is_async = self.repl.id == announced;
            } else {
                self.prepare_for_new_data();
            }
            self.notice("MASTER <-> REPLICA sync: Loading DB in memory");
            self.begin_loading(loading);
            Target::Memory
        } else {
            let name = format!("temp-{}.{}.rdb", self.now_seconds(), std::process::id());
            let path = self.config.dir.join(name);
            let file = File::create(&path).map_err(|e| {
                format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {e}")
            })?;
            Target::File(file, path)
        })
    }

    /// What was known before gives way to the primary's data, and so do those who followed it.
    pub(super) fn prepare_for_new_data(&mut self) {
        // What is in the append-only file is history that the primary does not share.
        self.stop_append_only();
        self.attach_to_new_primary();
        self.notice("MASTER <-> REPLICA sync: Flushing old data");
        self.flush_all_for_resync();
    }

    /// The old history ends here, and nobody can resume it. As long as a full resynchronisation may still fail with the
    /// old data in place, it goes on: our replicas stay, and the link may be resumed with whoever continues it.
    fn attach_to_new_primary(&mut self) {
        if self.repl.cached.take().is_some() {
            self.notice("Discarding previously cached master state.");
        }
        self.disconnect_replicas();
        self.repl.stream = None;
    }

    /// Takes bytes of the snapshot; answers whether that was all of it.
    pub(super) fn snapshot_bytes(
        &mut self,
        token: Token,
        mut bytes: Vec<u8>,
    ) -> Result<bool, String> {
        let Some(mut download) = self.link().download.take() else { return Ok(true) };
        let mut beyond = Vec::new();
        if let Ending::Length(total) = download.ending {
            let left = (total - download.received) as usize;
            if bytes.len() > left {
                beyond = bytes.split_off(left);
            }
        }
        download.received += bytes.len() as u64;
        let complete = match &download.ending {
            Ending::Length(total) => download.received == *total,
            Ending::Mark(mark) => {
                download.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(MARK_LEN)..]);
                let excess = download.tail.len().saturating_sub(MARK_LEN);
                download.tail.drain(..excess);
                download.tail == mark
            }
            Ending::Unknown => false,
        };
        if let Target::Checked { head, memory } = &mut download.target {
            head.append(&mut bytes);
            if head.len() < HEADER_LEN && !complete {
                self.link().download = Some(download);
                return Ok(false);
            }
            check_header(head).map_err(|error| {
                format!("The snapshot from MASTER can't be loaded, what is here stays: {error}")
            })?;
            let total = if let Ending::Length(total) = download.ending { total } else { 0 };
            bytes = std::mem::take(head);
            download.target = self.open_target(*memory, total)?;
        }
        let outcome = match &mut download.target {
            Target::File(file, _) => file
                .write_all(&bytes)
                .map_err(|e| format!("Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {e}")),
            Target::Memory => match self.load_fed(&bytes) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("Failed trying to load the MASTER synchronization DB from socket: {error}")),
            },
            Target::Undecided | Target::Checked { .. } => Ok(()),
        };
        let marked = matches!(download.ending, Ending::Mark(_));
        self.link().download = Some(download);
        outcome?;
        if complete {
            *self.link_input(token) = beyond;
            self.snapshot_complete(marked)?;
        }
        Ok(complete)
    }

    pub(super) fn snapshot_complete(&mut self, marked: bool) -> Result<(), String> {
        let Some(download) = self.link().download.take() else { return Ok(()) };
        self.link().wants_ack = marked;
        let text = format!("snapshot has come: {} bytes", download.received);
        self.trace_primary(Direction::Here, &text);
        match download.target {
            Target::File(file, path) => {
                if marked {
                    let size = download.received - MARK_LEN as u64;
                    file.set_len(size).map_err(|e| {
                        format!(
                            "Error truncating the RDB file received from the master for SYNC: {e}"
                        )
                    })?;
                }
                file.sync_all().map_err(|e| format!("Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {e}"))?;
                // A snapshot of our own that ends now would take the file's place, and be loaded instead.
                self.kill_save_child();
                let target = self.rdb_path();
                std::fs::rename(&path, &target)
                    .map_err(|e| format!("Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {e}", self.config.dbfilename))?;
                self.prepare_for_new_data();
                self.notice("MASTER <-> REPLICA sync: Loading DB in memory");
                self.enter_snapshot_state(LinkState::Loading, RdbChannelState::Loading);
                self.begin_loading_file(&target).map_err(|e| {
                    format!("Failed trying to load the MASTER synchronization DB from disk: {e}")
                })?;
                self.continue_loading_snapshot();
            }
            Target::Memory => {
                if !self.finish_loading() {
                    return Err("Failed trying to load the MASTER synchronization DB from socket: it ends too early".to_string());
                }
                self.snapshot_loaded();
            }
            Target::Undecided | Target::Checked { .. } => {
                return Err("MASTER sent no snapshot".to_string());
            }
        }
        Ok(())
    }

    /// Loads on for a while; to be called in every turn of the loop while a snapshot from the primary is loaded.
    pub fn continue_loading_snapshot(&mut self) {
        let Some(link) = &self.repl.primary else { return };
        if !link.is_loading() {
            return;
        }
        match self.load_some() {
            Ok(LoadProgress::More) => {}
            Ok(LoadProgress::Done) => {
                if self.config.rdb_del_sync_files && self.persists_nothing() {
                    self.notice("Removing the RDB file obtained from the master. This replica has persistence disabled");
                    let _ = std::fs::remove_file(self.rdb_path());
                }
                self.snapshot_loaded();
            }
            Err(error) => {
                let text = format!(
                    "Failed trying to load the MASTER synchronization DB from disk: {error}"
                );
                self.warning(&text);
                self.trace_primary(Direction::Here, &format!("given up: {text}"));
                self.flush_all_for_resync();
                self.cancel_replication_handshake();
            }
        }
    }

    /// The snapshot is loaded; the stream behind it comes over this link, or over the main channel.
    fn snapshot_loaded(&mut self) {
        if self.link().rdb_channel.is_some() {
            self.rdb_channel_loaded();
        } else if let Some(token) = self.link().token {
            self.full_sync_loaded(token);
        }
    }

    /// The data is the primary's: its history is ours now, and the stream goes on from there.
    pub(super) fn full_sync_loaded(&mut self, token: Token) {
        let (id, offset) = self.link().announced.clone();
        let db = self.link().stream_db;
        // If old data was served until now, it has been replaced under those who followed it.
        self.attach_to_new_primary();
        self.repl.id = id;
        self.repl.offset = offset;
        self.repl.clear_second_id();
        self.create_replication_stream();
        self.repl.selected_db = None;
        self.ks.changes.dirty = 0;
        self.notice("MASTER <-> REPLICA sync: Finished with success");
        let text = format!("snapshot is loaded: online from offset {offset} on");
        self.trace_primary(Direction::Here, &text);
        self.restart_aof_after_sync();
        let wants_ack = self.link().wants_ack;
        self.link_becomes_primary_client(token, offset, db);
        if wants_ack {
            // The primary can't see by itself that the mark was found; it holds the stream back until it hears.
            self.replication_send_ack();
        }
    }
}
