//! What may speak against a request, in Redis's order.

use super::{give_up, is_to_be_queued};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::acl;
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::cluster::redirect::{check_slots, slot_of_keys};
use crate::server::memory::evict;
use crate::server::memory::evict::EvictionOutcome;
use crate::server::output;
use crate::server::redirect;
use crate::server::redirect::Redirection;
use crate::server::replication::primary::feed;
use crate::server::replication::replica;
use crate::server::table::CommandId;
use crate::server::tracking;
use crate::spec::CommandFlags;

/// At most one line in that time about a replica that applies what it can't write down, in milliseconds.
const DISK_ERROR_LOG_MS: i64 = 10_000;
/// Whose requests have been decided elsewhere.
pub(super) const OBEYED: ClientFlags = ClientFlags::MASTER.union(ClientFlags::MOVES_SLOTS);
const NO_AUTH: CommandError = CommandError::new(ErrorCode::NoAuth, "Authentication required.");
const REPLICA_ACCESS: CommandError = CommandError::err("Replica can't interact with the keyspace");
const NO_MULTI: CommandError = CommandError::err("Command not allowed inside a transaction");

/// The checks before execution, in Redis's order. `in_mode`: the client is in a transaction, or subscribed. In a
/// cluster, returns the slot of the keys if there are any.
pub(super) fn may_run(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    args: &[&[u8]],
    flags: CommandFlags,
    in_mode: bool,
) -> CommandResult<Option<u16>> {
    let token = call.client;
    let client = &server.clients[token];
    let client_flags = client.flags;
    let from_primary = client.is(ClientFlags::MASTER);
    if !client.is(ClientFlags::AUTHENTICATED)
        && !flags.contains(CommandFlags::NO_AUTH)
        && server.acl.needs_auth(client)
    {
        return Err(NO_AUTH);
    }
    if flags.intersects(CommandFlags::PROTECTED) {
        check_protected(server, token, flags)?;
    }
    if client_flags.intersects(ClientFlags::SLAVE | ClientFlags::MONITOR)
        && flags
            .intersects(CommandFlags::WRITE | CommandFlags::READONLY | CommandFlags::MAY_REPLICATE)
    {
        return Err(REPLICA_ACCESS);
    }
    if in_mode && flags.contains(CommandFlags::NO_MULTI) && client.is(ClientFlags::MULTI) {
        return Err(NO_MULTI);
    }
    if client_flags.contains(ClientFlags::RESTRICTED) {
        check_permission(server, token, id, args)?;
    }
    match redirect::redirection(server, token, flags) {
        None => {}
        Some(Redirection::Elsewhere(error)) => return Err(error),
        // It is not for this server to judge.
        Some(Redirection::Undecided) => return Ok(None),
    }
    let mut slot = None;
    if server.cluster.is_some() {
        if !client_flags.intersects(OBEYED) {
            slot = check_slots(server, token, id, args, flags, call.db)?;
        } else if server.config.cluster_slot_stats_enabled {
            slot = slot_of_keys(server, token, id, args);
        }
    }
    // A queue may grow without end, too.
    let grows =
        flags.contains(CommandFlags::DENYOOM) || (in_mode && is_to_be_queued(server, token, id));
    check_memory(server, call, grows && !from_primary)?;
    check_writing(server, flags, from_primary)?;
    if in_mode {
        check_subscriber_mode(server, token, id)?;
    }
    check_data(server, flags, from_primary)?;
    Ok(slot)
}

/// Makes room, and refuses what `needs_room` if there is none.
fn check_memory(server: &mut Server, call: &mut Call, needs_room: bool) -> CommandResult {
    if server.tracking.keys() > 0 {
        tracking::tracking_limit_keys(server);
        // Who hears of it hears it before the reply.
        output::flush_pushes(server, call);
    }
    if server.config.maxmemory > 0 {
        let outcome = evict::perform_evictions(server);
        // Who hears that evicted keys are gone hears it before the reply.
        output::flush_pushes(server, call);
        if outcome == EvictionOutcome::Exhausted && needs_room {
            return Err(CommandError::OOM);
        }
    }
    Ok(())
}

/// Refuses writes that would not be kept, or not by enough servers, and those that are not for this server.
fn check_writing(server: &mut Server, flags: CommandFlags, from_primary: bool) -> CommandResult {
    // PING tells those who watch over the server that something is wrong.
    if server.persistence.has_disk_error()
        && flags.intersects(CommandFlags::WRITE | CommandFlags::SHOWS_DISK_ERRORS)
    {
        match server.persistence.disk_error(&server.config) {
            Some(_) if from_primary && flags.contains(CommandFlags::WRITE) => {
                apply_without_disk(server);
            }
            Some(error) if !from_primary => return Err(error.into()),
            _ => {}
        }
    }
    if flags.contains(CommandFlags::WRITE) && !from_primary {
        if server.config.min_replicas_to_write > 0 && !feed::enough_good_replicas(server) {
            return Err(CommandError::NO_REPLICAS);
        }
        if server.config.replica_read_only && server.repl.is_replica() {
            return Err(CommandError::READ_ONLY);
        }
    }
    Ok(())
}

/// Refuses what needs data that are too old or not there yet, or that a script has for itself.
fn check_data(server: &Server, flags: CommandFlags, from_primary: bool) -> CommandResult {
    if !flags.contains(CommandFlags::STALE) && replica::has_stale_data(server) {
        return Err(CommandError::MASTER_DOWN);
    }
    if let Some(loading) = &server.persistence.loading
        && !from_primary
        && match loading.is_async() {
            true => flags.contains(CommandFlags::NO_ASYNC_LOADING),
            false => !flags.contains(CommandFlags::LOADING),
        }
    {
        return Err(CommandError::loading(server.config.title()));
    }
    if let Some(busy) = server.scripting.busy()
        && !flags.contains(CommandFlags::ALLOW_BUSY)
    {
        return Err(busy.error());
    }
    Ok(())
}

/// Refuses what the client's user has no permission for.
#[cold]
fn check_permission(
    server: &mut Server,
    token: Token,
    id: CommandId,
    args: &[&[u8]],
) -> CommandResult {
    let checked = acl::acl_check(server, token, id, args);
    checked.map_err(|denied| acl::no_permission(server, token, id, args, denied))
}

/// Refuses what a subscriber can't be answered: in RESP2 it takes every reply for a message.
#[cold]
fn check_subscriber_mode(server: &Server, token: Token, id: CommandId) -> CommandResult {
    let client = &server.clients[token];
    let command = server.commands.get(id);
    if !client.is(ClientFlags::PUBSUB)
        || client.protocol != Protocol::Resp2
        || command.is(CommandFlags::FOR_SUBSCRIBERS)
    {
        return Ok(());
    }
    Err(CommandError::err_with(format!(
        "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context",
        command.name
    )))
}

fn check_protected(server: &Server, token: Token, flags: CommandFlags) -> CommandResult {
    let client = &server.clients[token];
    let local = client.conn.peer_ip().is_none_or(|ip| ip.is_loopback());
    let (name, allowed) = match flags.contains(CommandFlags::PROTECTED_MODULE) {
        true => ("module", server.config.enable_module_command),
        false => ("debug", server.config.enable_debug_command),
    };
    if allowed.allows(local) {
        return Ok(());
    }
    Err(CommandError::err_with(format!(
        "{} command not allowed. If the enable-{name}-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
        name.to_uppercase()
    )))
}

/// The primary's command is to be applied although this server can't write to its disk: goes on or ends, as
/// configured.
fn apply_without_disk(server: &mut Server) {
    if !server.config.replica_ignore_disk_write_errors {
        give_up(server, "Replica was unable to write command to disk.");
    }
    let now = server.ks.now_ms;
    if server.repl.logs_disk_error(now, DISK_ERROR_LOG_MS) {
        server.warning("Replica is applying a command even though it is unable to write to disk.");
    }
}
