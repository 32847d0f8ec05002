//! A full resynchronisation: the snapshot comes, to a file or straight into memory, and is loaded.

use super::super::trace::Direction;
use super::LinkState;
use super::dual_channel::RdbChannelState;
use crate::rdb::format::HEADER_LEN;
use crate::rdb::parser::check_header;
use crate::server::Server;
use crate::server::client::Token;
use crate::server::config::ReplDisklessLoad;
use crate::server::persistence;
use crate::server::persistence::aof::rewrite;
use crate::server::persistence::load;
use crate::server::persistence::load::{LoadProgress, Loading};
use crate::server::replication::primary;
use crate::server::replication::primary::psync;
use crate::server::replication::replica;
use crate::server::replication::replica::dual_channel;
use crate::server::replication::replica::follow;
use crate::server::replication::replica::handshake;
use crate::server::replication::trace;
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

pub(super) fn begin_transfer(server: &mut Server) {
    replica::enter_link_state(server, LinkState::Transfer);
    begin_download(server);
}

pub(super) fn begin_download(server: &mut Server) {
    replica::link(server).download = Some(Download::new());
}

/// The snapshot's connection has another state by now.
fn enter_snapshot_state(server: &mut Server, state: LinkState, of_channel: RdbChannelState) {
    if replica::link(server).rdb_channel.is_some() {
        dual_channel::enter_rdb_channel_state(server, of_channel);
    } else {
        replica::enter_link_state(server, state);
    }
}

pub(super) fn receive_snapshot(server: &mut Server, token: Token) -> Result<(), String> {
    // Bounded, so that a fast primary does not keep everybody else waiting.
    let mut budget = server.config.loading_process_events_interval_bytes as usize;
    while budget > 0 {
        if handshake::link_input(server, token).is_empty()
            && !handshake::read_link(server, token, budget)?
        {
            return Ok(());
        }
        let unknown = matches!(
            replica::link(server).download,
            Some(Download { ending: Ending::Unknown, .. })
        );
        if unknown {
            let Some(line) = handshake::read_line(server, token)? else { return Ok(()) };
            snapshot_announced(server, &line)?;
            continue;
        }
        let bytes = std::mem::take(handshake::link_input(server, token));
        budget = budget.saturating_sub(bytes.len());
        if snapshot_bytes(server, token, bytes)? {
            return Ok(());
        }
    }
    server.clients.queue_input(token);
    Ok(())
}

/// The `$` line: the snapshot's length, or the mark behind it.
pub(super) fn snapshot_announced(server: &mut Server, line: &str) -> Result<(), String> {
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
    let memory = match server.config.repl_diskless_load {
        ReplDisklessLoad::Disabled => false,
        ReplDisklessLoad::OnEmptyDb => server.ks.is_empty(),
        ReplDisklessLoad::Swapdb => true,
    };
    let place = if memory { "to parser" } else { "to disk" };
    server.notice(&match &ending {
        Ending::Length(n) => {
            format!("MASTER <-> REPLICA sync: receiving {n} bytes from master {place}")
        }
        _ => {
            format!("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {place}")
        }
    });
    if let Some(download) = &mut replica::link(server).download {
        download.ending = ending;
        download.target = Target::Checked { head: Vec::new(), memory };
    }
    Ok(())
}

/// Where the snapshot goes, now that it can be read.
fn open_target(server: &mut Server, memory: bool, total: u64) -> Result<Target, String> {
    Ok(if memory {
        let mut loading = Loading::fed(server.config.rdbchecksum, total, server.ks.now_ms);
        if server.config.repl_diskless_load == ReplDisklessLoad::Swapdb {
            let fresh = (0..server.ks.dbs.len()).map(|_| server.ks.new_db()).collect();
            loading.staging = Some((fresh, server.scripting.libraries.fresh()));
            // What is here is an earlier state of the same data: good enough to be read meanwhile.
            let announced = replica::link(server).announced.0.clone();
            loading.is_async = server.repl.id == announced;
        } else {
            prepare_for_new_data(server);
        }
        server.notice("MASTER <-> REPLICA sync: Loading DB in memory");
        load::begin_loading(server, loading);
        Target::Memory
    } else {
        let name = format!("temp-{}.{}.rdb", server.now_seconds(), std::process::id());
        let path = server.config.dir.join(name);
        let file = File::create(&path).map_err(|e| {
            format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {e}")
        })?;
        Target::File(file, path)
    })
}

/// What was known before gives way to the primary's data, and so do those who followed it.
pub(super) fn prepare_for_new_data(server: &mut Server) {
    // What is in the append-only file is history that the primary does not share.
    rewrite::stop_append_only(server);
    attach_to_new_primary(server);
    server.notice("MASTER <-> REPLICA sync: Flushing old data");
    replica::flush_all_for_resync(server);
}

/// The old history ends here, and nobody can resume it. As long as a full resynchronisation may still fail with the
/// old data in place, it goes on: our replicas stay, and the link may be resumed with whoever continues it.
fn attach_to_new_primary(server: &mut Server) {
    if server.repl.cached.take().is_some() {
        server.notice("Discarding previously cached master state.");
    }
    primary::disconnect_replicas(server);
    server.repl.stream = None;
}

/// Takes bytes of the snapshot; answers whether that was all of it.
pub(super) fn snapshot_bytes(
    server: &mut Server,
    token: Token,
    mut bytes: Vec<u8>,
) -> Result<bool, String> {
    let Some(mut download) = replica::link(server).download.take() else { return Ok(true) };
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
            replica::link(server).download = Some(download);
            return Ok(false);
        }
        check_header(head).map_err(|error| {
            format!("The snapshot from MASTER can't be loaded, what is here stays: {error}")
        })?;
        let total = if let Ending::Length(total) = download.ending { total } else { 0 };
        bytes = std::mem::take(head);
        download.target = open_target(server, *memory, total)?;
    }
    let outcome = match &mut download.target {
        Target::File(file, _) => file
            .write_all(&bytes)
            .map_err(|e| format!("Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {e}")),
        Target::Memory => match load::load_fed(server, &bytes) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("Failed trying to load the MASTER synchronization DB from socket: {error}")),
        },
        Target::Undecided | Target::Checked { .. } => Ok(()),
    };
    let marked = matches!(download.ending, Ending::Mark(_));
    replica::link(server).download = Some(download);
    outcome?;
    if complete {
        *handshake::link_input(server, token) = beyond;
        snapshot_complete(server, marked)?;
    }
    Ok(complete)
}

pub(super) fn snapshot_complete(server: &mut Server, marked: bool) -> Result<(), String> {
    let Some(download) = replica::link(server).download.take() else { return Ok(()) };
    replica::link(server).wants_ack = marked;
    let text = format!("snapshot has come: {} bytes", download.received);
    trace::trace_primary(server, Direction::Here, &text);
    match download.target {
        Target::File(file, path) => {
            if marked {
                let size = download.received - MARK_LEN as u64;
                file.set_len(size).map_err(|e| {
                    format!("Error truncating the RDB file received from the master for SYNC: {e}")
                })?;
            }
            file.sync_all().map_err(|e| format!("Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {e}"))?;
            // A snapshot of our own that ends now would take the file's place, and be loaded instead.
            persistence::kill_save_child(server);
            let target = persistence::rdb_path(server);
            std::fs::rename(&path, &target)
                .map_err(|e| format!("Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {e}", server.config.dbfilename))?;
            prepare_for_new_data(server);
            server.notice("MASTER <-> REPLICA sync: Loading DB in memory");
            enter_snapshot_state(server, LinkState::Loading, RdbChannelState::Loading);
            load::begin_loading_file(server, &target).map_err(|e| {
                format!("Failed trying to load the MASTER synchronization DB from disk: {e}")
            })?;
            continue_loading_snapshot(server);
        }
        Target::Memory => {
            if !load::finish_loading(server) {
                return Err("Failed trying to load the MASTER synchronization DB from socket: it ends too early".to_string());
            }
            snapshot_loaded(server);
        }
        Target::Undecided | Target::Checked { .. } => {
            return Err("MASTER sent no snapshot".to_string());
        }
    }
    Ok(())
}

/// Loads on for a while; to be called in every turn of the loop while a snapshot from the primary is loaded.
pub(crate) fn continue_loading_snapshot(server: &mut Server) {
    let Some(link) = &server.repl.primary else { return };
    if !link.is_loading() {
        return;
    }
    match persistence::load_some(server) {
        Ok(LoadProgress::More) => {}
        Ok(LoadProgress::Done) => {
            if server.config.rdb_del_sync_files && primary::persists_nothing(server) {
                server.notice("Removing the RDB file obtained from the master. This replica has persistence disabled");
                let _ = std::fs::remove_file(persistence::rdb_path(server));
            }
            snapshot_loaded(server);
        }
        Err(error) => {
            let text =
                format!("Failed trying to load the MASTER synchronization DB from disk: {error}");
            server.warning(&text);
            trace::trace_primary(server, Direction::Here, &format!("given up: {text}"));
            replica::flush_all_for_resync(server);
            replica::cancel_replication_handshake(server);
        }
    }
}

/// The snapshot is loaded; the stream behind it comes over this link, or over the main channel.
fn snapshot_loaded(server: &mut Server) {
    if replica::link(server).rdb_channel.is_some() {
        dual_channel::rdb_channel_loaded(server);
    } else if let Some(token) = replica::link(server).token {
        full_sync_loaded(server, token);
    }
}

/// The data is the primary's: its history is ours now, and the stream goes on from there.
pub(super) fn full_sync_loaded(server: &mut Server, token: Token) {
    let (id, offset) = replica::link(server).announced.clone();
    let db = replica::link(server).stream_db;
    // If old data was served until now, it has been replaced under those who followed it.
    attach_to_new_primary(server);
    server.repl.id = id;
    server.repl.offset = offset;
    server.repl.clear_second_id();
    psync::create_replication_stream(server);
    server.repl.selected_db = None;
    server.ks.changes.dirty = 0;
    server.notice("MASTER <-> REPLICA sync: Finished with success");
    let text = format!("snapshot is loaded: online from offset {offset} on");
    trace::trace_primary(server, Direction::Here, &text);
    rewrite::restart_aof_after_sync(server);
    let wants_ack = replica::link(server).wants_ack;
    follow::link_becomes_primary_client(server, token, offset, db);
    if wants_ack {
        // The primary can't see by itself that the mark was found; it holds the stream back until it hears.
        follow::replication_send_ack(server);
    }
}
