//! `PSYNC` and `SYNC`: a replica asks to go on where it stopped, or for everything.

use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::links::history::{Refusal, Retained, Wanted};
use crate::server::links::replica::Capabilities;
use crate::server::links::trace::{Resync, StepKind};
use crate::server::output;
use crate::server::replication;
use crate::server::replication::primary;
use crate::server::replication::primary::dual_channel;
use crate::server::replication::primary::feed;
use crate::server::replication::primary::snapshot;
use crate::server::replication::trace;
use crate::server::{Server, random_id};

/// `PSYNC` (from where on the replica wants the stream) or `SYNC` (`None`) of a client that is no replica yet.
pub(crate) fn sync_command(
    server: &mut Server,
    call: &mut Call,
    wanted: Option<Wanted<'_>>,
) -> CommandResult {
    let token = call.client;
    if !server.repl.failover.is_none() {
        return Err(CommandError::new(ErrorCode::NoMasterLink, "Can't SYNC while failing over"));
    }
    if server.repl.is_replica() && !server.repl.is_connected_to_primary() {
        return Err(CommandError::new(
            ErrorCode::NoMasterLink,
            "Can't SYNC while not connected with my master",
        ));
    }
    output::settle(server, token);
    if !call.reply.is_empty() || !server.clients[token].out.is_empty() {
        return Err(CommandError::err("SYNC and PSYNC are invalid with pending output"));
    }
    let announced = &replication::replica_link(server, token).announced;
    if !announced.excluded.is_empty() && !announced.capabilities.contains(Capabilities::EOF) {
        return Err(CommandError::err("Filtered replica requires EOF capability"));
    }
    let name = replication::replica_name(server, token);
    server.notice(&format!("Replica {name} asks for synchronization"));
    feed::check_older_replica(server, token)?;
    if let Some(wanted) = wanted {
        if master_try_partial_resynchronization(server, token, wanted) {
            server.observer.count_partial_sync(true);
            return Ok(());
        }
        if wanted.id != b"?" {
            server.observer.count_partial_sync(false);
        }
        // The child that writes to the second channel could not go on encrypting as this process began.
        let encrypted = server.clients[token].conn.is_encrypted();
        let announced = &replication::replica_link(server, token).announced;
        if announced.capabilities.contains(Capabilities::DUAL_CHANNEL) && !encrypted {
            server.notice(&format!("Replica {name} is capable of dual channel synchronization, and partial sync isn't possible. Full sync will continue with dedicated RDB channel."));
            call.reply.raw(b"+DUALCHANNELSYNC\r\n");
            trace::trace_replica(server, token, StepKind::Sent, "+DUALCHANNELSYNC");
            return Ok(());
        }
    }
    server.observer.count_full_sync();
    trace::trace_resync(server, token, Resync::Full);
    let now = server.now_seconds();
    replication::replica_link(server, token).synchronize(wanted.is_none(), now);
    replication_create_slave(server, token);
    snapshot::start_or_join_snapshot(server, token);
    Ok(())
}

/// Marks the connection: from here on this client is a replica.
fn replication_create_slave(server: &mut Server, token: Token) {
    server.clients[token].flags |= ClientFlags::SLAVE;
    if server.config.repl_disable_tcp_nodelay {
        // Not critical if it fails.
        let _ = server.clients[token].conn.set_nodelay(false);
    }
    server.repl.replicas.push(token);
    if server.repl.stream.is_none() {
        if !server.repl.is_replica() {
            // What was written before the first replica came was not kept: a new history starts here.
            let id = random_id(&mut server.rng);
            server.repl.change_id(id);
        }
        server.repl.create_stream(server.config.repl_backlog_size);
        let ids = format!(
            "Replication backlog created, my new replication IDs are '{}' and '{}'",
            server.repl.id(),
            server.repl.second_id()
        );
        server.notice(&ids);
    }
}

/// Continues where the replica stopped, if the history is the same and the backlog still holds what it misses.
pub(super) fn master_try_partial_resynchronization(
    server: &mut Server,
    token: Token,
    wanted: Wanted<'_>,
) -> bool {
    let backlog = server.repl.stream.as_ref().map(|stream| stream.start()..=stream.end());
    let knows_all = feed::knows_expiring_fields(server, token);
    let readable_from = if knows_all { 0 } else { server.repl.fields_expire_up_to };
    match server.repl.history.resume(wanted, &Retained { backlog, readable_from }) {
        Ok(from) => {
            resume(server, token, from);
            true
        }
        Err(refusal) => {
            refuse(server, token, wanted, &refusal);
            false
        }
    }
}

/// Says why a replica can't go on where it stopped.
fn refuse(server: &mut Server, token: Token, wanted: Wanted<'_>, refusal: &Refusal) {
    let name = replication::replica_name(server, token);
    let offset = wanted.offset;
    let no_backlog = format!(
        "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."
    );
    let (text, why) = match refusal {
        Refusal::NotAsked => {
            server.notice(&format!("Full resync requested by replica {name}"));
            return;
        }
        Refusal::OtherHistory => {
            let why = format!(
                "Replication ID mismatch (Replica asked for '{}', my replication IDs are '{}' and '{}')",
                wanted.id.escape_ascii(),
                server.repl.id(),
                server.repl.second_id()
            );
            (format!("Partial resynchronization not accepted: {why}"), why)
        }
        Refusal::HistoryEnded { up_to } => {
            let why = format!(
                "Requested offset for second ID was {offset}, but I can reply up to {up_to}"
            );
            (format!("Partial resynchronization not accepted: {why}"), why)
        }
        Refusal::Unreadable => (
            format!(
                "Unable to partial resync with replica {name}: fields of hashes have got an expiry since, which it does not know."
            ),
            format!(
                "fields of hashes have got an expiry since offset {offset}, which the replica does not know"
            ),
        ),
        Refusal::NoBacklog => (no_backlog, "there is no backlog".to_string()),
        Refusal::NoOffset => (no_backlog, format!("{offset} is no offset: the first is 1")),
        Refusal::Ahead { end } => {
            (no_backlog, format!("offset {offset} is ahead of this server, which is at {end}"))
        }
        Refusal::NotKept { first, last } => (
            no_backlog,
            format!(
                "the backlog no longer holds offset {offset}: it has {first} to {last}, and repl-backlog-size is {}",
                server.config.repl_backlog_size
            ),
        ),
    };
    server.notice(&text);
    if let Refusal::Ahead { .. } = refusal {
        server.warning(&format!("Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."));
    }
    trace::trace_resync(server, token, Resync::Refused(why));
}

/// Goes on at an offset, counted from 0.
fn resume(server: &mut Server, token: Token, from: u64) {
    let behind_snapshot = dual_channel::claim_reservation(server, token);
    replication_create_slave(server, token);
    let id = server.repl.id().to_string();
    primary::with_link(server, token, |link, _, now| link.resume(from, behind_snapshot, &id, now));
    server.repl.no_replicas_since_seconds = 0;
    let (offset, sent) = (from + 1, server.repl.offset() - from);
    let name = replication::replica_name(server, token);
    server.notice(&format!("Partial resynchronization request from {name} accepted. Sending {sent} bytes of backlog starting from offset {offset}."));
    let text =
        format!("partial resynchronisation: {sent} bytes of the backlog from offset {offset} on");
    trace::trace_replica(server, token, StepKind::Here, &text);
    primary::refresh_good_replicas(server);
}
