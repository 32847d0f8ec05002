//! Transactions: commands are queued, and what happens to keys that clients watch spoils them.
//!
//! A client's part is its [`Transaction`](super::client::transaction::Transaction). Who watches a key is known by
//! [`watched`](super::blocking::watched). The keyspace notes modified keys only while anybody wants to know of them
//! (`changes.track`).

use super::Server;
use super::call::Call;
use super::client::transaction::Watched;
use super::client::{ClientFlags, Token};
use crate::server::table::CommandId;
use crate::server::tracking;
use crate::spec::CommandFlags;
use crate::util::number::parse_i64;

/// Whether a key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Missing,
    /// It is, but its time has come.
    Expired,
    Live,
}

/// Queues a command of a client in a transaction. A transaction that can't be executed any more takes no memory.
pub(crate) fn queue_multi_command(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    flags: CommandFlags,
    args: &[&[u8]],
) {
    let client = &mut server.clients[call.client];
    if !client.is_any(ClientFlags::DIRTY_CAS | ClientFlags::DIRTY_EXEC) {
        let transaction = client.transaction.get_or_insert_default();
        transaction.push(id, flags, args, &server.ks.lent);
        if flags.contains(CommandFlags::SELECTS_DATABASE) {
            let selected = selected_db(args, server.ks.dbs.len());
            transaction.selected_db = selected.or(transaction.selected_db);
        }
        server.exceeds_query_limit(call.client, 0);
    }
    call.reply.simple("QUEUED");
}

/// The database that a command is going to select, of so many; `None`: it is going to fail.
pub(crate) fn selected_db(args: &[&[u8]], databases: usize) -> Option<usize> {
    let index = parse_i64(args.get(1)?).and_then(|number| usize::try_from(number).ok());
    index.filter(|&index| index < databases)
}

/// A command could not be queued: `EXEC` will fail.
pub(crate) fn flag_transaction(server: &mut Server, token: Token) {
    let Some(client) = server.clients.get_mut(token) else { return };
    if client.is(ClientFlags::MULTI) {
        client.flags |= ClientFlags::DIRTY_EXEC;
        if let Some(transaction) = &mut client.transaction {
            transaction.clear_queue();
        }
    }
}

/// Ends a client's transaction, if it is in one, without executing it, and unwatches its keys.
pub(crate) fn discard_transaction(server: &mut Server, token: Token) {
    unwatch_all_keys(server, token);
    let client = &mut server.clients[token];
    let state = ClientFlags::MULTI | ClientFlags::DIRTY_CAS | ClientFlags::DIRTY_EXEC;
    client.flags.remove(state);
    client.transaction = None;
}

/// Watches a key for a client.
pub(crate) fn watch_for_key(server: &mut Server, token: Token, db: usize, key: &[u8]) {
    let expired = presence(server, db, key) == Presence::Expired;
    let Some(key) = server.blocking.watched.add(db, key, token) else { return };
    let transaction = server.clients[token].transaction.get_or_insert_default();
    transaction.watched.push(Watched { db, key, expired });
    if transaction.watched.len() == 1 {
        server.blocking.watched.begin_watching();
        server.apply_key_watching();
    }
}

/// Forgets all that a client watches.
pub(crate) fn unwatch_all_keys(server: &mut Server, token: Token) {
    let Some(transaction) = &mut server.clients[token].transaction else { return };
    let watched = std::mem::take(&mut transaction.watched);
    if watched.is_empty() {
        return;
    }
    for Watched { db, key, .. } in watched {
        server.blocking.watched.remove(db, &key, token);
    }
    server.blocking.watched.end_watching();
    server.apply_key_watching();
    let client = &mut server.clients[token];
    if !client.is(ClientFlags::MULTI) {
        client.transaction = None;
    }
}

/// Whether the time of a watched key has come since it was watched, though nobody has deleted it yet.
pub(crate) fn is_watched_key_expired(server: &Server, token: Token) -> bool {
    server.clients[token].transaction.as_ref().is_some_and(|transaction| {
        let mut watched = transaction.watched.iter();
        watched.any(|w| !w.expired && presence(server, w.db, &w.key) == Presence::Expired)
    })
}

/// A key has another value now, or none: whoever watches it can't execute the transaction.
pub(crate) fn touch_watched_key(server: &mut Server, db: usize, key: &[u8]) {
    let watchers = server.blocking.watched.watchers(db, key);
    if watchers.is_empty() {
        return;
    }
    let gone = presence(server, db, key) == Presence::Missing;
    for token in watchers {
        touch_watcher(server, token, db, key, |watched| {
            // Of a key that had expired before, the deletion is no change; what follows is.
            let ignored = watched.expired && gone;
            watched.expired &= !gone;
            !ignored
        });
    }
}

/// A database is about to be emptied, or to be replaced by the database `replaced_with`: watched keys change
/// that are in either, unless nobody could have seen them before and after.
pub(crate) fn touch_all_watched_keys_in_db(
    server: &mut Server,
    emptied: usize,
    replaced_with: Option<usize>,
) {
    for key in server.blocking.watched.keys(emptied) {
        let before = presence(server, emptied, &key);
        let after = replaced_with.map_or(Presence::Missing, |db| presence(server, db, &key));
        if before == Presence::Missing && after == Presence::Missing {
            continue;
        }
        for token in server.blocking.watched.watchers(emptied, &key) {
            touch_watcher(server, token, emptied, &key, |watched| {
                let unseen = watched.expired || before == Presence::Missing;
                watched.expired = unseen && after == Presence::Expired;
                !unseen || after == Presence::Live
            });
        }
    }
}

/// All databases are about to be emptied or replaced by others: what anybody has seen of them is no longer so.
pub(crate) fn touch_all_watched_keys(server: &mut Server) {
    for db in 0..server.blocking.watched.databases() {
        touch_all_watched_keys_in_db(server, db, None);
    }
    tracking::tracking_invalidate_everything(server);
}

/// Spoils a client's transaction if what happened to a key that it watches `is_change`. It need not watch any
/// longer then.
fn touch_watcher(
    server: &mut Server,
    token: Token,
    db: usize,
    key: &[u8],
    is_change: impl FnOnce(&mut Watched) -> bool,
) {
    let client = &mut server.clients[token];
    let Some(transaction) = &mut client.transaction else { return };
    let mut watched = transaction.watched.iter_mut();
    let Some(watched) = watched.find(|w| w.db == db && *w.key == *key) else { return };
    if is_change(watched) {
        client.flags |= ClientFlags::DIRTY_CAS;
        transaction.clear_queue();
        unwatch_all_keys(server, token);
    }
}

fn presence(server: &Server, db: usize, key: &[u8]) -> Presence {
    match server.ks.dbs[db].table.get(server.ks.hash(key), key) {
        None => Presence::Missing,
        Some(entry) if entry.expire().is_some_and(|at| at < server.ks.now_ms) => Presence::Expired,
        Some(_) => Presence::Live,
    }
}
