//! Replication commands: REPLICAOF, REPLCONF, PSYNC, SYNC, WAIT, ROLE.
#![forbid(unsafe_code)]

use super::table::Row;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::client::{Blocked, ClientFlags};
use crate::server::config::PrimaryAddress;
use crate::server::replication::Capabilities;
use crate::util::number::parse_i64;

fn replicaof(s: &mut Server, args: &[&[u8]]) -> CommandResult {
    if args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one") {
        if s.repl.is_replica() {
            s.replication_unset_primary();
            s.config.replicaof = None;
            let client = s.client_info(s.current.expect("a command has a client"));
            s.notice(&format!("MASTER MODE enabled (user request from '{client}')"));
        }
        s.reply.ok();
        return Ok(());
    }
    if s.client().is(ClientFlags::SLAVE) {
        return Err(CommandError::err("Command is not valid when client is a replica."));
    }
    let port = parse_i64(args[2]).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| CommandError::err("Invalid master port"))?;
    let host = String::from_utf8_lossy(args[1]).into_owned();
    if s.repl.primary.as_ref().is_some_and(|p| p.host == host && p.port == port) {
        s.notice("REPLICAOF would result into synchronization with the master we are already connected with. No operation performed.");
        s.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    let client = s.client_info(s.current.expect("a command has a client"));
    s.config.replicaof = Some(PrimaryAddress { host: host.clone(), port });
    s.replication_set_primary(host.clone(), port);
    s.notice(&format!("REPLICAOF {host}:{port} enabled (user request from '{client}')"));
    s.reply.ok();
    Ok(())
}

/// How a replica says what it is, before `PSYNC`, and how far it is, after.
fn replconf(s: &mut Server, args: &[&[u8]]) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    let token = s.current.expect("a command has a client");
    for pair in args[1..].chunks_exact(2) {
        let (option, value) = (pair[0].to_ascii_lowercase(), pair[1]);
        match option.as_slice() {
            b"listening-port" => {
                let port = parse_i64(value).ok_or(CommandError::NOT_AN_INTEGER)?;
                let port = u16::try_from(port).map_err(|_| CommandError::NOT_AN_INTEGER)?;
                s.replica_link(token).listening_port = port;
            }
            b"ip-address" => {
                if value.len() > 255 {
                    return Err(CommandError::err(
                        "REPLCONF ip-address provided by replica instance is too long: 256 bytes",
                    ));
                }
                s.replica_link(token).ip_address = String::from_utf8_lossy(value).into_owned();
            }
            b"capa" => {
                // A capability that is not known here is none of our business.
                let link = s.replica_link(token);
                if value.eq_ignore_ascii_case(b"eof") {
                    link.capabilities |= Capabilities::EOF;
                } else if value.eq_ignore_ascii_case(b"psync2") {
                    link.capabilities |= Capabilities::PSYNC2;
                }
            }
            b"version" => {
                let parts = value.split(|b| *b == b'.').filter_map(parse_i64);
                let version = parts.take(3).fold(0, |v, part| v << 8 | (part.clamp(0, 255) as u32));
                s.replica_link(token).version = version;
            }
            b"ack" => {
                // Answering would disturb the stream.
                if !s.client().is(ClientFlags::SLAVE) {
                    return Ok(());
                }
                let Some(offset) = parse_i64(value).and_then(|n| u64::try_from(n).ok()) else {
                    return Ok(());
                };
                let fack = args.len() > 4 && args[3].eq_ignore_ascii_case(b"fack");
                let durable =
                    fack.then(|| parse_i64(args[4])).flatten().and_then(|n| u64::try_from(n).ok());
                s.replica_acknowledged(token, offset, durable);
                return Ok(());
            }
            b"getack" => {
                // The answer does not tell what is behind this request: it has not been applied yet.
                if s.client().is(ClientFlags::MASTER) {
                    s.replication_send_ack();
                    s.client().flags |= ClientFlags::MASTER_FORCE_REPLY;
                }
                return Ok(());
            }
            b"rdb-only" => {
                let wanted = match parse_i64(value) {
                    Some(0) => false,
                    Some(1) => true,
                    Some(_) => {
                        return Err(CommandError::err(
                            "value is out of range, value must between 0 and 1",
                        ));
                    }
                    None => return Err(CommandError::NOT_AN_INTEGER),
                };
                s.client().flags.set(ClientFlags::REPL_RDB_ONLY, wanted);
            }
            _ => {
                let shown = String::from_utf8_lossy(pair[0]);
                return Err(CommandError::err(format_args!(
                    "Unrecognized REPLCONF option: {shown}"
                )));
            }
        }
    }
    s.reply.ok();
    Ok(())
}

fn psync(s: &mut Server, args: &[&[u8]]) -> CommandResult {
    let offset = parse_i64(args[2]).ok_or(CommandError::NOT_AN_INTEGER)?;
    s.sync_command(Some((args[1], offset)))
}

fn sync(s: &mut Server, _: &[&[u8]]) -> CommandResult {
    s.sync_command(None)
}

fn wait(s: &mut Server, args: &[&[u8]]) -> CommandResult {
    if s.repl.is_replica() {
        return Err(CommandError::err(
            "WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
        ));
    }
    let wanted = parse_i64(args[1]).ok_or(CommandError::NOT_AN_INTEGER)?;
    let timeout = parse_i64(args[2])
        .ok_or_else(|| CommandError::err("timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(CommandError::err("timeout is negative"));
    }
    let token = s.current.expect("a command has a client");
    let offset = s.clients[token].write_offset;
    let reached = s.replicas_at(offset);
    if reached as i64 >= wanted {
        s.reply.int(reached as i64);
        return Ok(());
    }
    let deadline = (timeout > 0).then(|| s.ks.now_ms.saturating_add(timeout));
    let wanted = usize::try_from(wanted).unwrap_or(0);
    s.block_client(token, Blocked::Replicas { wanted, offset }, deadline);
    s.repl.get_ack = true;
    Ok(())
}

fn role(s: &mut Server, _: &[&[u8]]) -> CommandResult {
    let reply = &mut s.reply;
    if let Some(link) = &s.repl.primary {
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk_str(&link.host);
        reply.int(i64::from(link.port));
        reply.bulk_str(link.state.role_name());
        let offset = link.token.filter(|_| s.repl.is_connected_to_primary());
        reply.int(offset.map_or(-1, |t| s.clients[t].applied_offset as i64));
        return Ok(());
    }
    reply.array(3);
    reply.bulk(b"master");
    reply.int(s.repl.offset as i64);
    let at = reply.deferred();
    let mut n = 0;
    for &token in &s.repl.replicas {
        let client = &s.clients[token];
        let Some(link) = &client.replica else { continue };
        let ip = match client.conn.peer_ip() {
            _ if !link.ip_address.is_empty() => link.ip_address.clone(),
            Some(ip) => ip.to_string(),
            None => continue,
        };
        reply.array(3);
        reply.bulk_str(&ip);
        reply.bulk_int(i64::from(link.listening_port));
        reply.bulk_int(link.ack_offset as i64);
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
    ("role", role),
];
