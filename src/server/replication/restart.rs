//! A snapshot is loaded that carries replication state: a server that was restarted goes on in its history.

use crate::server::Server;
use crate::server::links::primary::CachedPrimary;
use crate::server::persistence;
use crate::server::persistence::SnapshotOrigin;
use crate::server::persistence::load::{Found, LoadError, LoadProgress};
use crate::server::propagate;
use crate::server::replication::primary::feed;

/// Loads on for a while from a file, and heeds what is found that concerns replication.
///
/// # Errors
/// Why it can't be loaded; loading has ended, and what was loaded so far is in the keyspace.
pub(crate) fn load_some(server: &mut Server) -> Result<LoadProgress, LoadError> {
    let progress = persistence::load_some(server);
    heed_found(server);
    progress
}

/// Heeds what was found while loading.
pub(crate) fn heed_found(server: &mut Server) {
    let Found { origin, stale, open_slots, slot_imports } = server.persistence.take_found();
    // A file may be old; a primary tells what is.
    let from_primary = server.repl.primary.as_ref().is_some_and(|link| link.is_loading());
    server.net.migrations.note_loaded(open_slots.filter(|_| from_primary), slot_imports);
    if let Some(origin) = origin {
        persistence_origin_loaded(server, origin);
    }
    if !stale.is_empty() && server.repl.stream().is_some() {
        server.ks.changes.deleted.extend(stale);
        propagate::propagate_deletions(server);
        feed::trim_stream(server);
    }
}

/// Replication state that a loaded snapshot carries.
fn persistence_origin_loaded(server: &mut Server, origin: SnapshotOrigin) {
    match &mut server.repl.primary {
        Some(link) if !link.is_down() => link.snapshot_selects(origin.stream_db),
        Some(_) => {
            // Restarted as a replica: its file says where in whose history it is.
            server.repl.history.adopt(origin.id.clone(), origin.offset);
            server.repl.cached = Some(CachedPrimary {
                id: origin.id,
                offset: origin.offset,
                stream_db: origin.stream_db,
            });
        }
        None => {
            // Restarted as a primary: replicas that were in the old history may go on, if nothing was written.
            server.repl.history.continues(origin.id, origin.offset);
            server.repl.create_stream(server.config.repl_backlog_size);
            server.repl.no_replicas_since_seconds = server.now_seconds();
        }
    }
}
