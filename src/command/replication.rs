//! Replication commands: REPLICAOF, REPLCONF, PSYNC, SYNC, WAIT, ROLE.

use super::args::{Unit, positive, timeout};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::blocking;
use crate::server::call::Call;
use crate::server::client::{Blocked, ClientFlags};
use crate::server::client_info;
use crate::server::links::history::Wanted;
use crate::server::links::replica::zero_or_one;
use crate::server::links::trace::StepKind;
use crate::server::replication;
use crate::server::replication::failover;
use crate::server::replication::failover::Handover;
use crate::server::replication::primary::WAITAOF_WITHOUT_AOF;
use crate::server::replication::primary::dual_channel;
use crate::server::replication::primary::feed;
use crate::server::replication::primary::psync;
use crate::server::replication::replica;
use crate::server::replication::replica::follow;
use crate::server::replication::trace;
use crate::server::table::Row;
use crate::util::number::parse_i64;

/// Who executes an append-only file can't become a replica.
const NOT_FROM_FILE: CommandError =
    CommandError::err("a synchronization isn't allowed for DENY BLOCKING client");

fn replicaof(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if s.cluster.is_some() {
        return Err(CommandError::err("REPLICAOF not allowed in cluster mode."));
    }
    if !s.repl.failover().is_none() {
        return Err(CommandError::err("REPLICAOF not allowed while failing over."));
    }
    if args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one") {
        if s.repl.is_replica() {
            replica::replication_unset_primary(s);
            replica::set_primary_address(s, None);
            let client = client_info::client_info(s, call.client);
            s.notice(&format!("MASTER MODE enabled (user request from '{client}')"));
        }
        call.reply.ok();
        return Ok(());
    }
    if s.client(call).is(ClientFlags::SLAVE) {
        return Err(CommandError::err("Command is not valid when client is a replica."));
    }
    let port = parse_i64(args[2]).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| CommandError::err("Invalid master port"))?;
    let host = String::from_utf8_lossy(args[1]).into_owned();
    if s.repl.primary().is_some_and(|p| p.host() == host && p.port() == port) {
        s.notice("REPLICAOF would result into synchronization with the master we are already connected with. No operation performed.");
        call.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    let client = client_info::client_info(s, call.client);
    replica::set_primary_address(s, Some((host.clone(), port)));
    replica::replication_set_primary(s, host.clone(), port);
    s.notice(&format!("REPLICAOF {host}:{port} enabled (user request from '{client}')"));
    call.reply.ok();
    Ok(())
}

/// How a replica says what it is, before `PSYNC`, and how far it is, after.
fn replconf(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let outcome = replconf_options(s, call, args);
    let about_progress = args.get(1).is_some_and(|option| {
        option.eq_ignore_ascii_case(b"ack") || option.eq_ignore_ascii_case(b"getack")
    });
    if !about_progress {
        let token = call.client;
        trace::trace_replica(s, token, StepKind::Received, &shown(args));
        let answer =
            outcome.as_ref().map_or_else(|error| format!("-{error}"), |()| "+OK".to_string());
        trace::trace_replica(s, token, StepKind::Sent, &answer);
    }
    outcome
}

/// A request as one line.
fn shown(args: &[&[u8]]) -> String {
    let words: Vec<String> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
    words.join(" ")
}

fn replconf_options(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    let token = call.client;
    for pair in args[1..].chunks_exact(2) {
        let (option, value) = (pair[0].to_ascii_lowercase(), pair[1]);
        match option.as_slice() {
            b"ack" => {
                acknowledged(s, call, args, value);
                // Answering would disturb the stream.
                return Ok(());
            }
            b"getack" => {
                // The answer does not tell what is behind this request: it has not been applied yet.
                if s.client(call).is(ClientFlags::MASTER) {
                    follow::replication_send_ack(s);
                    s.client(call).flags |= ClientFlags::MASTER_FORCE_REPLY;
                }
                return Ok(());
            }
            b"set-rdb-client-id" => {
                let id = parse_i64(value).ok_or(CommandError::NOT_AN_INTEGER)?;
                let client = u64::try_from(id).ok();
                let client = client.filter(|id| dual_channel::has_reservation(s, *id));
                let client = client.ok_or_else(|| {
                    CommandError::err_with(format!("Unrecognized RDB client id {id}"))
                })?;
                replication::replica_link(s, token).announced.rdb_client = Some(client);
            }
            option => {
                let two_channels =
                    s.config.dual_channel_replication_enabled && s.config.repl_diskless_sync;
                let announced = &mut replication::replica_link(s, token).announced;
                if !announced.set(option, value, two_channels)? {
                    let before = "Unrecognized REPLCONF option: ";
                    return Err(CommandError::quoting(before, pair[0], ""));
                }
            }
        }
    }
    call.reply.ok();
    Ok(())
}

/// `REPLCONF ACK <offset> [FACK <durable offset>]`.
fn acknowledged(s: &mut Server, call: &mut Call, args: &[&[u8]], offset: &[u8]) {
    let number = |arg: &[u8]| parse_i64(arg).and_then(|n| u64::try_from(n).ok());
    let is_replica = s.client(call).is(ClientFlags::SLAVE);
    let Some(offset) = number(offset).filter(|_| is_replica) else { return };
    let has_durable = args.len() > 4 && args[3].eq_ignore_ascii_case(b"fack");
    let durable = has_durable.then(|| number(args[4])).flatten();
    feed::replica_acknowledged(s, call.client, offset, durable);
}

fn psync(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if call.deny_blocking {
        return Err(NOT_FROM_FILE);
    }
    let token = call.client;
    trace::trace_replica(s, token, StepKind::Received, &shown(args));
    let Some(offset) = parse_i64(args[2]) else {
        let name = replication::replica_name(s, token);
        s.warning(&format!("Replica {name} asks for synchronization but with a wrong offset"));
        return Err(CommandError::NOT_AN_INTEGER);
    };
    let failover = args.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover"));
    synchronize(s, call, Some(Wanted { id: args[1], offset }), failover)
}

/// What is refused is seen too. `failover`: the asker has been our primary, and wants us to be its.
fn synchronize(
    s: &mut Server,
    call: &mut Call,
    wanted: Option<Wanted<'_>>,
    failover: bool,
) -> CommandResult {
    if s.client(call).is(ClientFlags::SLAVE) {
        // The connection is a replica already: whatever is asked again has been answered.
        return Ok(());
    }
    let taken_over = match wanted {
        Some(wanted) if failover => failover::take_over(s, call, wanted.id),
        _ => Ok(()),
    };
    taken_over.and_then(|()| psync::sync_command(s, call, wanted)).inspect_err(|error| {
        trace::trace_replica(s, call.client, StepKind::Sent, &format!("-{error}"));
    })
}

fn sync(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if call.deny_blocking {
        return Err(NOT_FROM_FILE);
    }
    let token = call.client;
    trace::trace_replica(s, token, StepKind::Received, &shown(args));
    synchronize(s, call, None, false)
}

fn wait(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if s.repl.is_replica() {
        return Err(CommandError::err(
            "WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
        ));
    }
    let wanted = parse_i64(args[1]).ok_or(CommandError::NOT_AN_INTEGER)?;
    let deadline_ms = timeout(args[2], Unit::Milliseconds, s.ks.now_ms)?;
    let token = call.client;
    let offset = s.clients[token].write_offset;
    let reached = feed::replicas_at(s, offset);
    if reached as i64 >= wanted || !blocking::may_block(s, call) {
        call.reply.int(reached as i64);
        return Ok(());
    }
    let wanted = usize::try_from(wanted).unwrap_or(0);
    blocking::block_client(s, token, Blocked::Replicas { wanted, offset }, deadline_ms);
    s.repl.ask_for_acks();
    Ok(())
}

fn failover(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len() == 2 && args[1].eq_ignore_ascii_case(b"abort") {
        if s.repl.failover().is_none() {
            return Err(CommandError::err("No failover in progress."));
        }
        replica::abort_failover(s, "Failover manually aborted");
        call.reply.ok();
        return Ok(());
    }
    let mut asked = Handover { target: None, deadline_ms: None, force: false };
    let mut at = 1;
    while let Some(option) = args.get(at) {
        let option = option.to_ascii_lowercase();
        let values = &args[at + 1..];
        match (option.as_slice(), values) {
            (b"timeout", [ms, ..]) if asked.deadline_ms.is_none() => {
                let ms = parse_i64(ms).ok_or(CommandError::NOT_AN_INTEGER)?;
                if ms <= 0 {
                    return Err(CommandError::err("FAILOVER timeout must be greater than 0"));
                }
                asked.deadline_ms = Some(s.ks.now_ms.saturating_add(ms));
                at += 2;
            }
            (b"to", [host, port, ..]) if asked.target.is_none() => {
                let port = parse_i64(port).ok_or(CommandError::NOT_AN_INTEGER)?;
                // A port that can't be is no replica's.
                let port = u16::try_from(port).unwrap_or(0);
                asked.target = Some((String::from_utf8_lossy(host).into_owned(), port));
                at += 3;
            }
            (b"force", _) if !asked.force => {
                asked.force = true;
                at += 1;
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    failover::start_failover(s, asked)?;
    call.reply.ok();
    Ok(())
}

fn waitaof(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let local = zero_or_one(args[1])?;
    let replicas = usize::try_from(positive(args[2], None)?).unwrap_or(usize::MAX);
    let deadline_ms = timeout(args[3], Unit::Milliseconds, s.ks.now_ms)?;
    if s.repl.is_replica() {
        return Err(CommandError::err(
            "WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
        ));
    }
    if local && !s.config.appendonly {
        return Err(WAITAOF_WITHOUT_AOF);
    }
    let token = call.client;
    let offset = s.clients[token].write_offset;
    let reached = feed::durable_at(s, offset);
    if (reached.local >= local && reached.replicas >= replicas) || !blocking::may_block(s, call) {
        reached.reply(&mut call.reply);
        return Ok(());
    }
    blocking::block_client(s, token, Blocked::Durable { local, replicas, offset }, deadline_ms);
    s.repl.ask_for_acks();
    Ok(())
}

fn role(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let reply = &mut call.reply;
    if let Some(link) = s.repl.primary() {
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk_str(link.host());
        reply.int(i64::from(link.port()));
        reply.bulk_str(link.role_name());
        let offset = link.token().filter(|_| s.repl.is_connected_to_primary());
        reply.int(offset.map_or(-1, |t| s.clients[t].applied_offset as i64));
        return Ok(());
    }
    reply.array(3);
    reply.bulk(b"master");
    reply.int(s.repl.offset() as i64);
    let at = reply.deferred();
    let mut n = 0;
    for &token in s.repl.replicas() {
        let client = &s.clients[token];
        let Some(link) = &client.replstate else { continue };
        if !link.is_online() {
            // Who asks wants to know where the data is.
            continue;
        }
        let ip = match client.conn.peer_ip() {
            _ if !link.announced.ip_address.is_empty() => link.announced.ip_address.clone(),
            Some(ip) => ip.to_string(),
            None => continue,
        };
        reply.array(3);
        reply.bulk_str(&ip);
        reply.bulk_int(i64::from(link.announced.listening_port));
        reply.bulk_int(link.ack_offset() as i64);
        n += 1;
    }
    reply.set_array(at, n);
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("replicaof", replicaof),
    ("slaveof", replicaof),
    ("replconf", replconf),
    ("psync", psync),
    ("sync", sync),
    ("wait", wait),
    ("waitaof", waitaof),
    ("role", role),
    ("failover", failover),
];
