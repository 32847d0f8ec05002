//! `CLUSTER SETSLOT` on a primary with replicas: these learn of it first, and it happens when they have. So whoever is
//! elected in the midst of a migration goes on with it. Replicas that are older than Valkey 8 can't be told, and are
//! not waited for.

use super::drive;
use super::machine::SetSlotError;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::blocking;
use crate::server::call::Call;
use crate::server::client::{Blocked, Token};
use crate::server::output;
use crate::server::replication::primary::feed;
use crate::server::slot_change::{SetSlot, WaitingChange};

/// The first version whose replicas can be told: all of Redis 7.2 are older.
const LEAST_VERSION: u32 = 0x07_02_ff + 1;

/// Makes a change of a slot, which was asked for by `command`, at once or when the replicas know of it. `deadline`:
/// until when, in milliseconds since 1970.
///
/// # Errors
/// If it can't be.
pub(crate) fn set_slot(
    server: &mut Server,
    call: &mut Call,
    (slot, change): (u16, SetSlot),
    command: &[&[u8]],
    deadline: Option<i64>,
) -> Result<(), SetSlotError> {
    let checked = drive::operate(server, |cluster, _, facts| {
        (cluster.check_set_slot(slot, change, facts), cluster.myself().is_primary())
    });
    let Some((checked, is_primary)) = checked else { return Ok(()) };
    checked?;
    let replicas = feed::online_replicas_since(server, LEAST_VERSION).len();
    if !is_primary || replicas == 0 || !blocking::may_block(server, call) {
        make(server, slot, change)?;
        call.reply.ok();
        return Ok(());
    }
    server.repl.feed(call.db, command);
    let waiting = WaitingChange { slot, change, replicas, offset: server.repl.offset() };
    blocking::block_client(server, call.client, Blocked::SlotChange(waiting), deadline);
    server.repl.ask_for_acks();
    Ok(())
}

fn make(server: &mut Server, slot: u16, change: SetSlot) -> Result<(), SetSlotError> {
    drive::operate(server, |cluster, now, facts| cluster.set_slot(slot, change, now, facts))
        .unwrap_or(Ok(()))
}

/// The end of a turn: replicas may have acknowledged a change, or have just synchronized.
pub(crate) fn before_sleep(server: &mut Server) {
    if !server.clients.waiting().is_empty() {
        make_replicated(server);
    }
    if server.cluster.as_ref().is_some_and(|cluster| cluster.has_open_slots()) {
        tell_new_replicas(server);
    }
}

/// Tells replicas that have just synchronized which slots are about to move: their snapshots don't have it.
fn tell_new_replicas(server: &mut Server) {
    let replicas = feed::online_replicas_since(server, LEAST_VERSION);
    let ids = replicas.into_iter().map(|token| server.clients[token].id).collect();
    let cluster = server.cluster.as_mut();
    let open = cluster.map(|cluster| cluster.open_slots_for(ids)).unwrap_or_default();
    for (slot, change) in open {
        let (how, node) = match change {
            SetSlot::Migrating(node) => (b"MIGRATING", node),
            SetSlot::Importing(node) => (b"IMPORTING", node),
            SetSlot::Stable | SetSlot::Node(_) => continue,
        };
        let mut digits = itoa::Buffer::new();
        let slot = digits.format(slot).as_bytes();
        server.repl.feed(0, &[b"CLUSTER", b"SETSLOT", slot, how, node.as_bytes()]);
    }
}

/// Makes the changes that all replicas have been told of.
fn make_replicated(server: &mut Server) {
    for noted in server.clients.waiting().to_vec() {
        let Some(token) = server.clients.find(noted) else { continue };
        let Some(&Blocked::SlotChange(waiting)) =
            server.clients[token].blocked.as_ref().map(|blocked| &blocked.on)
        else {
            continue;
        };
        if feed::replicas_at(server, Some(waiting.offset)) >= waiting.replicas {
            finish(server, token, waiting);
        }
    }
}

fn finish(server: &mut Server, token: Token, waiting: WaitingChange) {
    let made: CommandResult = make(server, waiting.slot, waiting.change)
        .map_err(|error| CommandError::err_with(error.to_string()));
    output::reply_to(server, token, |reply| match made {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(&error),
    });
    blocking::unblock_client(server, token);
}
