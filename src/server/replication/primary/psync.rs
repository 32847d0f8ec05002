//! `PSYNC` and `SYNC`: a replica asks to go on where it stopped, or for everything.

use super::super::stream::Stream;
use super::super::trace::{Direction, Resync};
use super::super::{Capabilities, ReplState};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::call::Call;
use crate::server::client::{ClientFlags, Token};
use crate::server::output;
use crate::server::replication::failover;
use crate::server::replication::primary;
use crate::server::replication::primary::dual_channel;
use crate::server::replication::primary::feed;
use crate::server::replication::primary::snapshot;
use crate::server::replication::trace;
use crate::server::{Server, random_id};

/// What a replica asks for.
#[derive(Clone, Copy, Debug)]
pub struct PsyncRequest<'a> {
    /// The history, or `?`.
    pub id: &'a [u8],
    /// The first byte that it misses, counted from 1.
    pub offset: i64,
    /// The asker has been our primary, and wants us to be its.
    pub failover: bool,
}

/// `PSYNC` (`id` and `offset` as the replica sent them) or `SYNC` (`None`) of the current client.
pub(crate) fn sync_command(
    server: &mut Server,
    call: &mut Call,
    request: Option<PsyncRequest<'_>>,
) -> CommandResult {
    let token = call.client;
    if server.clients[token].is(ClientFlags::SLAVE) {
        // The connection is a replica already: whatever is asked again has been answered.
        return Ok(());
    }
    if let Some(request) = request.filter(|r| r.failover) {
        failover::take_over(server, call, request.id)?;
    }
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
    let link = primary::replica_link(server, token);
    if !link.excluded.is_empty() && !link.capabilities.contains(Capabilities::EOF) {
        return Err(CommandError::err("Filtered replica requires EOF capability"));
    }
    let name = primary::replica_name(server, token);
    server.notice(&format!("Replica {name} asks for synchronization"));
    feed::check_older_replica(server, token)?;
    match request {
        Some(PsyncRequest { id, offset, .. }) => {
            if master_try_partial_resynchronization(server, token, id, offset) {
                server.observer.count_partial_sync(true);
                return Ok(());
            }
            if id != b"?" {
                server.observer.count_partial_sync(false);
            }
            // The child that writes to the second channel could not go on encrypting as this process began.
            let encrypted = server.clients[token].conn.is_encrypted();
            let link = primary::replica_link(server, token);
            if link.capabilities.contains(Capabilities::DUAL_CHANNEL) && !encrypted {
                server.notice(&format!("Replica {name} is capable of dual channel synchronization, and partial sync isn't possible. Full sync will continue with dedicated RDB channel."));
                call.reply.raw(b"+DUALCHANNELSYNC\r\n");
                trace::trace_replica(server, token, Direction::Sent, "+DUALCHANNELSYNC");
                return Ok(());
            }
        }
        None => server.clients[token].flags |= ClientFlags::PRE_PSYNC,
    }
    server.observer.count_full_sync();
    trace::trace_resync(server, token, Resync::Full);
    replication_create_slave(server, token, ReplState::WaitBgsaveStart);
    snapshot::start_or_join_snapshot(server, token);
    Ok(())
}

/// Marks the connection: from here on this client is a replica.
pub(super) fn replication_create_slave(server: &mut Server, token: Token, state: ReplState) {
    let now = server.now_seconds();
    server.clients[token].flags |= ClientFlags::SLAVE;
    if server.config.repl_disable_tcp_nodelay {
        // Not critical if it fails.
        let _ = server.clients[token].conn.set_nodelay(false);
    }
    let link = primary::replica_link(server, token);
    link.state = Some(state);
    link.ack_time = now;
    server.repl.replicas.push(token);
    if server.repl.stream.is_none() {
        if !server.repl.is_replica() {
            // What was written before the first replica came was not kept: a new history starts here.
            let id = random_id(&mut server.rng);
            server.repl.change_id(id);
        }
        create_replication_stream(server);
        let ids = format!(
            "Replication backlog created, my new replication IDs are '{}' and '{}'",
            server.repl.id, server.repl.id2
        );
        server.notice(&ids);
    }
}

pub(crate) fn create_replication_stream(server: &mut Server) {
    server.repl.stream = Some(Stream::new(server.repl.offset, server.config.repl_backlog_size));
}

/// Continues where the replica stopped, if the history is the same and the backlog still holds what it misses.
pub(super) fn master_try_partial_resynchronization(
    server: &mut Server,
    token: Token,
    id: &[u8],
    offset: i64,
) -> bool {
    let name = primary::replica_name(server, token);
    let repl = &server.repl;
    let wanted = u64::try_from(offset).unwrap_or(0);
    let same = id.eq_ignore_ascii_case(repl.id.as_bytes());
    let before = id.eq_ignore_ascii_case(repl.id2.as_bytes())
        && repl.second_offset.is_some_and(|limit| wanted <= limit);
    if !same && !before {
        if id != b"?" {
            let shown = id.escape_ascii();
            let text = if id.eq_ignore_ascii_case(repl.id2.as_bytes()) {
                format!(
                    "Partial resynchronization not accepted: Requested offset for second ID was {offset}, but I can reply up to {}",
                    repl.second_offset.map_or(-1, |limit| limit as i64)
                )
            } else {
                format!(
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{shown}', my replication IDs are '{}' and '{}')",
                    repl.id, repl.id2
                )
            };
            server.notice(&text);
            let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
            trace::trace_resync(server, token, Resync::Refused(why.to_string()));
        } else {
            server.notice(&format!("Full resync requested by replica {name}"));
        }
        return false;
    }
    // Offsets on the wire count from 1; the stream's from 0.
    let from = wanted.wrapping_sub(1);
    if !feed::can_follow_from(server, token, from) {
        server.notice(&format!("Unable to partial resync with replica {name}: fields of hashes have got an expiry since, which it does not know."));
        let why = format!(
            "fields of hashes have got an expiry since offset {offset}, which the replica does not know"
        );
        trace::trace_resync(server, token, Resync::Refused(why));
        return false;
    }
    let kept = server.repl.stream.as_ref().is_some_and(|s| wanted > 0 && s.has(from));
    if !kept {
        server.notice(&format!("Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."));
        let kept = server.repl.stream.as_ref().map(|s| (s.start() + 1, s.end()));
        let why = match kept {
            None => "there is no backlog".to_string(),
            _ if wanted == 0 => format!("{offset} is no offset: the first is 1"),
            Some((_, end)) if wanted > end + 1 => {
                server.warning(&format!("Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."));
                format!("offset {offset} is ahead of this server, which is at {end}")
            }
            Some((first, end)) => format!(
                "the backlog no longer holds offset {offset}: it has {first} to {end}, and repl-backlog-size is {}",
                server.config.repl_backlog_size
            ),
        };
        trace::trace_resync(server, token, Resync::Refused(why));
        return false;
    }
    let behind_snapshot = dual_channel::claim_reservation(server, token);
    let state = if behind_snapshot { ReplState::BgTransfer } else { ReplState::Online };
    replication_create_slave(server, token, state);
    let link = primary::replica_link(server, token);
    link.cursor = from;
    let new_id = link.capabilities.contains(Capabilities::PSYNC2);
    // Without it the replica could not follow a change of history, and needs not know of one.
    let answer = if new_id {
        format!("+CONTINUE {}\r\n", server.repl.id)
    } else {
        "+CONTINUE\r\n".to_string()
    };
    trace::trace_resync(server, token, Resync::Partial);
    trace::trace_replica(server, token, Direction::Sent, answer.trim_end());
    snapshot::send_to_replica(server, token, answer);
    server.repl.no_replicas_since = 0;
    let sent = server.repl.offset - from;
    server.notice(&format!("Partial resynchronization request from {name} accepted. Sending {sent} bytes of backlog starting from offset {offset}."));
    trace::trace_replica(
        server,
        token,
        Direction::Here,
        &format!("partial resynchronisation: {sent} bytes of the backlog from offset {offset} on"),
    );
    feed::refresh_good_replicas(server);
    true
}
