//! What the machine wants of the rest of the server: whom it follows, what its clients wait for, and which keys go.

use crate::db::notify::Class;
use crate::server::Server;
use crate::server::blocking::pause::{self, PauseKind, PausePurpose};
use crate::server::empty;
use crate::server::links::migration::walk::Walk;
use crate::server::output;
use crate::server::propagate;
use crate::server::replication::replica;
use crate::util::slot_set::SlotSet;
use std::time::Duration;

/// A slot with more keys is not emptied at once.
const DELETED_AT_ONCE: usize = 1024;
/// Keys that are deleted between two looks at the clock.
const DELETED_IN_ONE_GO: usize = 64;
/// How long a turn may go on with what is left of slots.
const LEFTOVERS_SLICE: Duration = Duration::from_micros(250);

/// How long ago this replica last heard of its primary, in milliseconds; 0 for a primary, `u64::MAX` if it never has.
pub(super) fn data_age_ms(server: &Server) -> u64 {
    if !server.repl.is_replica() {
        return 0;
    }
    let heard = match server.repl.is_connected_to_primary() {
        true => server
            .repl
            .primary_token()
            .and_then(|token| server.clients.get(token))
            .map(|client| client.last_interaction_seconds),
        false => server.repl.down_since_seconds(),
    };
    heard.map_or(u64::MAX, |at_s| {
        u64::try_from(server.ks.now_ms - at_s.saturating_mul(1000)).unwrap_or(0)
    })
}

/// How far this node's data goes in its shard's stream; 0 for a replica that has none of its primary's yet.
pub(crate) fn offset(server: &Server) -> u64 {
    if !server.repl.is_replica() {
        return server.repl.offset();
    }
    let token = server.repl.primary_token().filter(|_| server.repl.is_connected_to_primary());
    match token.and_then(|token| server.clients.get(token)) {
        Some(primary) => primary.applied_offset,
        None => server.repl.cached_offset().unwrap_or(0),
    }
}

/// Follows a primary. `full`: the history of this server's data is no part of that primary's.
pub(super) fn follow(server: &mut Server, host: String, port: u16, full: bool) {
    replica::replication_set_primary(server, host, port);
    if full {
        server.repl.forget_cached_primary();
    }
}

/// Follows nobody any more.
pub(super) fn promote(server: &mut Server) {
    replica::replication_unset_primary(server);
}

/// Holds clients' writes back for so long.
pub(super) fn pause_writes(server: &mut Server, left_ms: u64) {
    let until = server.ks.now_ms.saturating_add_unsigned(left_ms);
    pause::pause_clients(server, PausePurpose::Failover, PauseKind::Write, until);
}

pub(super) fn unpause(server: &mut Server) {
    pause::unpause_clients(server, PausePurpose::Failover);
}

/// Deletes the keys of a slot that belongs to another node now, of a large one bit by bit, in which case nobody sees
/// them meanwhile. Replicas and the append-only file are told.
pub(super) fn drop_slot_keys(server: &mut Server, slot: u16) {
    if server.ks.slot_len(slot) > DELETED_AT_ONCE {
        let mut slots = SlotSet::default();
        slots.insert(slot);
        server.ks.hide_slots(&slots, true);
        let walk = walk_of(server, slot);
        server.net.migrations.leftovers.insert(slot, walk);
    } else {
        drop_all_keys(server, slot, walk_of(server, slot));
    }
}

/// The way through the keys of a slot.
fn walk_of(server: &Server, slot: u16) -> Walk {
    let mut slots = SlotSet::default();
    slots.insert(slot);
    Walk::new(&slots, server.ks.dbs.len(), server.ks.slot_len(slot) as u64)
}

fn drop_all_keys(server: &mut Server, slot: u16, mut walk: Walk) {
    while !drop_some_keys(server, slot, &mut walk) {}
}

/// Deletes the next keys of a slot; whether there are none left. Where it has come to is remembered: to look for the
/// next ones from the start would be to pass all buckets again that are empty by now.
fn drop_some_keys(server: &mut Server, slot: u16, walk: &mut Walk) -> bool {
    let mut keys: Vec<(usize, Vec<u8>)> = Vec::new();
    while keys.len() < DELETED_IN_ONE_GO
        && let Some(place) = walk.next()
    {
        let table = &server.ks.dbs[place.db].table;
        let next = table.walk_slot(slot, place.position, |entry| {
            keys.push((place.db, entry.key().to_vec()));
        });
        walk.advance(next);
    }
    let lazy = server.config.lazyfree_lazy_server_del;
    keys.iter().for_each(|(db, key)| delete_key(server, *db, key, lazy));
    propagate::tell_changes(server);
    if walk.next().is_some() {
        return false;
    }
    if server.ks.slot_len(slot) > 0 {
        // They have come behind the walk.
        *walk = walk_of(server, slot);
        return false;
    }
    let mut slots = SlotSet::default();
    slots.insert(slot);
    server.ks.hide_slots(&slots, false);
    true
}

/// Goes on with what is left of large slots, for a short while.
pub(super) fn drop_leftovers(server: &mut Server) {
    let started = server.ks.clock.nanos();
    while server.ks.clock.since(started) < LEFTOVERS_SLICE
        && let Some((slot, mut walk)) = server.net.migrations.leftovers.pop_first()
    {
        if !drop_some_keys(server, slot, &mut walk) {
            server.net.migrations.leftovers.insert(slot, walk);
        }
    }
}

/// Deletes at once what is left of a slot that is to have keys again.
pub(super) fn drop_leftovers_of(server: &mut Server, slots: &SlotSet) {
    let left: Vec<u16> = server.net.migrations.leftovers.keys().copied().collect();
    for slot in left.into_iter().filter(|&slot| slots.contains(slot)) {
        if let Some(walk) = server.net.migrations.leftovers.remove(&slot) {
            drop_all_keys(server, slot, walk);
        }
    }
}

/// The same of slots that are this node's again.
pub(super) fn drop_leftovers_of_own_slots(server: &mut Server) {
    let Some(cluster) = &server.cluster else { return };
    let slots = cluster.myself().slots().clone();
    drop_leftovers_of(server, &slots);
}

/// Deletes a key, expired or not, and tells replicas and the append-only file.
pub(crate) fn delete_key(server: &mut Server, db: usize, key: &[u8], lazy: bool) {
    if let Some(entry) = server.ks.remove(db, key) {
        server.memory.free_entry(entry, lazy);
        server.ks.changes.write(Class::GENERIC, "del", db, key);
        propagate::propagate_deletion(server, db, key, lazy);
    }
}

/// Deletes all keys.
pub(super) fn flush(server: &mut Server) {
    empty::empty_databases(server, 0..server.ks.dbs.len(), false);
    propagate::tell_changes(server);
}

/// Publishes what came over the bus to the subscribers here.
pub(super) fn publish(server: &mut Server, is_sharded: bool, channel: &[u8], message: &[u8]) {
    match is_sharded {
        true => output::publish_on_shard(server, channel, message),
        false => output::publish(server, channel, message),
    };
}
