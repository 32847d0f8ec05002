//! Databases that are emptied at once.

use super::Server;
use super::tracking;
use super::transaction;
use crate::db::Db;
use std::mem;
use std::ops::Range;

/// Empties some databases and counts their keys as changes; frees them in the background if `lazy`.
pub(crate) fn empty_databases(server: &mut Server, which: Range<usize>, lazy: bool) {
    let mut old = Vec::new();
    for db in which {
        transaction::touch_all_watched_keys_in_db(server, db, None);
        let fresh = server.ks.new_db();
        let full = mem::replace(&mut server.ks.dbs[db], fresh);
        server.ks.changes.dirty += full.len() as u64;
        server.ks.changes.blocked.signal_database(db);
        old.push(full);
    }
    server.net.migrations.note_flush();
    tracking::tracking_invalidate_everything(server);
    free_databases(server, old, lazy);
}

/// Frees databases that nobody needs any more; but those that a snapshot has not got through yet are its own from now
/// on.
pub(crate) fn free_databases(server: &mut Server, old: Vec<Db>, lazy: bool) {
    let old = match server.persistence.walk_mut() {
        Some(walk) => walk.keep(old),
        None => old,
    };
    server.memory.free_databases(old, lazy);
}
