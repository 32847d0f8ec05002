//! The snapshot takes the place of what is here, and its history that of ours.

use super::follow::{self, Client};
use super::{cancel_replication_handshake, perform, with_link};
use crate::server::Server;
use crate::server::blocking;
use crate::server::config::ReplDisklessLoad;
use crate::server::empty;
use crate::server::links::primary::{Online, Place, SnapshotFile};
use crate::server::links::trace::StepKind;
use crate::server::persistence;
use crate::server::persistence::aof::rewrite;
use crate::server::persistence::load;
use crate::server::persistence::load::{LoadProgress, Loading};
use crate::server::replication::primary;
use crate::server::replication::primary::snapshot;
use crate::server::replication::restart;
use crate::server::replication::trace;
use crate::server::transaction;

const FROM_SOCKET: &str = "Failed trying to load the MASTER synchronization DB from socket";
const FROM_DISK: &str = "Failed trying to load the MASTER synchronization DB from disk";

/// The snapshot, of so many bytes (0: it will be seen), will be loaded as it comes.
pub(super) fn begin(server: &mut Server, place: &Place, total_bytes: u64) {
    let mut loading = Loading::fed(server.config.rdbchecksum, total_bytes, server.ks.now_ms);
    if server.config.repl_diskless_load == ReplDisklessLoad::Swapdb {
        let fresh = server.ks.new_dbs();
        // What is here may be an earlier state of the same data: good enough to be read meanwhile.
        let serves = server.repl.id() == place.id();
        loading.stage(fresh, server.scripting.libraries.fresh(), serves);
    } else {
        prepare_for_new_data(server);
    }
    server.notice("MASTER <-> REPLICA sync: Loading DB in memory");
    load::begin_loading(server, loading);
}

pub(super) fn load(server: &mut Server, bytes: &[u8]) -> Result<(), String> {
    load::load_fed(server, bytes).map_err(|error| format!("{FROM_SOCKET}: {error}"))
}

pub(super) fn finish(server: &mut Server) -> Result<(), String> {
    if !load::finish_loading(server) {
        return Err(format!("{FROM_SOCKET}: it ends too early"));
    }
    server.net.migrations.note_replaced();
    restart::heed_found(server);
    snapshot_loaded(server);
    Ok(())
}

/// The snapshot is in a file, which takes the place of ours and is loaded.
pub(super) fn load_file(server: &mut Server, file: SnapshotFile) -> Result<(), String> {
    // A snapshot of our own that ends now would take the file's place, and be loaded instead.
    snapshot::kill_saver(server);
    let target = persistence::rdb_path(server);
    file.rename(&target).map_err(|error| {
        format!(
            "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {error}",
            server.config.dbfilename
        )
    })?;
    prepare_for_new_data(server);
    server.notice("MASTER <-> REPLICA sync: Loading DB in memory");
    load::begin_loading_file(server, &target).map_err(|error| format!("{FROM_DISK}: {error}"))?;
    continue_loading_snapshot(server);
    Ok(())
}

/// What was known before gives way to the primary's data, and so do those who followed it.
fn prepare_for_new_data(server: &mut Server) {
    // What is in the append-only file is history that the primary does not share.
    rewrite::stop_append_only(server);
    attach_to_new_primary(server);
    server.notice("MASTER <-> REPLICA sync: Flushing old data");
    flush_all_for_resync(server);
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

pub(super) fn flush_all_for_resync(server: &mut Server) {
    server.net.migrations.note_replaced();
    transaction::touch_all_watched_keys(server);
    let fresh = server.ks.new_dbs();
    let old = std::mem::replace(&mut server.ks.dbs, fresh);
    empty::free_databases(server, old, true);
    server.scripting.libraries.clear();
    server.ks.replica_keys.clear();
    blocking::signal_all_databases(server);
}

/// Loads on for a while; to be called in every turn of the loop while a snapshot from the primary is loaded.
pub(crate) fn continue_loading_snapshot(server: &mut Server) {
    if !server.repl.primary.as_ref().is_some_and(|link| link.is_loading()) {
        return;
    }
    match restart::load_some(server) {
        Ok(LoadProgress::More) => {}
        Ok(LoadProgress::Done) => {
            if server.config.rdb_del_sync_files && primary::persists_nothing(server) {
                server.notice(
                    "Removing the RDB file obtained from the master. This replica has persistence disabled",
                );
                let _ = std::fs::remove_file(persistence::rdb_path(server));
            }
            snapshot_loaded(server);
        }
        Err(error) => {
            let text = format!("{FROM_DISK}: {error}");
            server.warning(&text);
            trace::trace_primary(server, StepKind::Here, &format!("given up: {text}"));
            flush_all_for_resync(server);
            cancel_replication_handshake(server);
        }
    }
}

fn snapshot_loaded(server: &mut Server) {
    let actions = with_link(server, |link, context| link.snapshot_loaded(context));
    perform(server, actions.unwrap_or_default());
}

/// The data is the primary's: its history is ours now, and the stream goes on from there.
pub(super) fn full_sync_loaded(server: &mut Server, online: Online) {
    let Online { token, place, input, wants_ack, replays } = online;
    // If old data was served until now, it has been replaced under those who followed it.
    attach_to_new_primary(server);
    let offset = place.offset();
    server.repl.history.replace(place.id().to_string(), offset);
    server.repl.create_stream(server.config.repl_backlog_size);
    server.repl.selected_db = None;
    server.ks.changes.dirty = 0;
    server.notice("MASTER <-> REPLICA sync: Finished with success");
    let text = format!("snapshot is loaded: online from offset {offset} on");
    trace::trace_primary(server, StepKind::Here, &text);
    rewrite::restart_aof_after_sync(server);
    let db = server.repl.primary.as_ref().map_or(0, |link| link.stream_db());
    let counts = place != Place::Uncounted;
    follow::become_primary_client(server, token, Client { offset, db, input, counts, replays });
    if wants_ack {
        // The primary can't see by itself that the mark was found; it holds the stream back until it hears.
        follow::replication_send_ack(server);
    }
}
