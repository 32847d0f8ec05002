//! The way to a link: connecting, saying who we are, asking to resume.

use super::super::trace::{Direction, Resync};
use super::super::{NO_ID, encode_command};
use super::LinkState;
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::connection::Connection;
use crate::server::observe::log::Level;
use crate::server::replication::failover;
use crate::server::replication::replica;
use crate::server::replication::replica::download;
use crate::server::replication::replica::dual_channel;
use crate::server::replication::replica::follow;
use crate::server::replication::trace;
use crate::server::tls;
use crate::util::io_reason;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// The longest line that a primary may send during the handshake.
const MAX_LINE: usize = 1024;
/// What a Valkey chooses the snapshot's form by: since this version of it fields of hashes expire. Redis does not look
/// at it; what it sends can be read in any case.
pub(super) const SNAPSHOT_VERSION: &[u8] = b"9.0.0";
/// Bytes read from the link at once.
pub(super) const CHUNK: usize = 64 * 1024;

pub(super) fn connect_with_primary(server: &mut Server) {
    let now = server.now_seconds();
    let Some(link) = &mut server.repl.primary else { return };
    (link.since, link.last_io) = (now, now);
    let (host, port) = (link.host.clone(), link.port);
    match open_link(server, &host, port) {
        Ok(token) => {
            if let Some(link) = &mut server.repl.primary {
                link.token = Some(token);
                link.state = LinkState::Connecting;
            }
            trace::trace_primary(server, Direction::Here, "connecting");
            server.notice("MASTER <-> REPLICA sync started");
        }
        Err(error) => {
            trace::trace_primary(server, Direction::Here, &format!("unable to connect: {error}"));
            server.warning(&format!("Unable to connect to MASTER: {error}"));
        }
    }
}

/// Opens a connection to a primary; its client shakes hands.
pub(super) fn open_link(server: &mut Server, host: &str, port: u16) -> io::Result<Token> {
    let connection = connect_to(server, host, port)?;
    let token = server.create_client(connection)?;
    server.clients[token].flags |= ClientFlags::HANDSHAKE | ClientFlags::AUTHENTICATED;
    Ok(token)
}

/// Connects to the first of a host's addresses that does not refuse at once.
pub(super) fn connect_to(server: &mut Server, host: &str, port: u16) -> io::Result<Connection> {
    if let Some(dialer) = &mut server.dialer {
        return dialer.dial(host, port).map(Connection::Virtual);
    }
    let mut refusal = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect_from(server, address) {
            Ok(stream) => return tls::replication_link(server, stream, host),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

pub(super) fn connect_from(
    server: &Server,
    address: SocketAddr,
) -> io::Result<mio::net::TcpStream> {
    let Some(source) = &server.config.bind_source_addr else {
        return mio::net::TcpStream::connect(address);
    };
    let source: std::net::IpAddr = source.parse().map_err(io::Error::other)?;
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        None,
    )?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

/// Something happened on the link before it became the primary's client.
pub(crate) fn sync_with_primary(server: &mut Server, token: Token) {
    let is_rdb_channel =
        server.repl.primary.as_ref().and_then(|link| link.rdb_token()) == Some(token);
    if server.repl.primary_token() != Some(token) && !is_rdb_channel {
        server.free_client(token);
        return;
    }
    let outcome = match is_rdb_channel {
        true => dual_channel::advance_rdb_channel(server, token),
        false => advance_link(server, token),
    };
    if let Err(text) = outcome {
        server.warning(&text);
        trace::trace_primary(server, Direction::Here, &format!("given up: {text}"));
        replica::cancel_replication_handshake(server);
    }
}

pub(super) fn advance_link(server: &mut Server, token: Token) -> Result<(), String> {
    if replica::link(server).state == LinkState::Connecting {
        if let Ok(Some(error)) = server.clients[token].conn.take_error() {
            return Err(format!("Error condition on socket for SYNC: {}", io_reason(&error)));
        }
        match send_to_primary(server, token, &[b"PING"]) {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            Err(error) => {
                return Err(format!("Error condition on socket for SYNC: {}", io_reason(&error)));
            }
            Ok(()) => {}
        }
        server.notice("Non blocking connect for SYNC fired the event.");
        replica::enter_link_state(server, LinkState::ReceivePing);
    }
    loop {
        // An answer may have ended it all: this server is a primary again.
        let Some(link) = &server.repl.primary else { return Ok(()) };
        match link.state {
            LinkState::Loading => return Ok(()),
            LinkState::Transfer => return download::receive_snapshot(server, token),
            LinkState::Buffering => return dual_channel::keep_stream(server, token),
            LinkState::Connected => return Ok(()),
            _ => {}
        }
        let Some(line) = read_line(server, token)? else { return Ok(()) };
        handle_handshake_line(server, token, &line)?;
    }
}

/// What has come on a connection to the primary and has not been understood.
pub(super) fn link_input(server: &mut Server, token: Token) -> &mut Vec<u8> {
    let link = replica::link(server);
    match &mut link.rdb_channel {
        Some(channel) if channel.token == Some(token) => &mut channel.input,
        _ => &mut link.input,
    }
}

/// The next line that the primary sent, without its end; `None`: it has not come yet.
pub(super) fn read_line(server: &mut Server, token: Token) -> Result<Option<String>, String> {
    loop {
        let input = link_input(server, token);
        if let Some(end) = memchr::memchr(b'\n', input) {
            let line: Vec<u8> = input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            if !line.is_empty() {
                let text = format!("{}{line}", channel_of(server, token));
                trace::trace_primary(server, Direction::Received, &text);
            }
            return Ok(Some(line));
        }
        if input.len() > MAX_LINE {
            return Err("Bad protocol from MASTER: a line without an end".to_string());
        }
        if !read_link(server, token, CHUNK)? {
            return Ok(None);
        }
    }
}

/// Reads what the link has, but no more than `most` bytes, into its input; answers whether anything came.
pub(super) fn read_link(server: &mut Server, token: Token, most: usize) -> Result<bool, String> {
    let now = server.now_seconds();
    let mut chunk = vec![0; CHUNK.min(most)];
    match server.clients[token].conn.read(&mut chunk) {
        Ok(0) if replica::link(server).is_syncing() => {
            Err("I/O error trying to sync with MASTER: connection lost".to_string())
        }
        Ok(0) => Err("MASTER closed the connection during the handshake: I/O error reading from node: connection closed".to_string()),
        Ok(n) => {
            server.observer.count_snapshot_read(n);
            link_input(server, token).extend_from_slice(&chunk[..n]);
            let link = replica::link(server);
            match &mut link.rdb_channel {
                Some(channel) if channel.token == Some(token) => channel.last_io = now,
                _ => link.last_io = now,
            }
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(format!("I/O error reading from MASTER: {error}")),
    }
}

/// What the trace puts before a step of the second connection.
fn channel_of(server: &Server, token: Token) -> &'static str {
    let link = server.repl.primary.as_ref();
    if link.and_then(|l| l.rdb_token()) == Some(token) { "(RDB channel) " } else { "" }
}

pub(super) fn send_to_primary(server: &mut Server, token: Token, args: &[&[u8]]) -> io::Result<()> {
    let mut out = Vec::new();
    encode_command(args, &mut out);
    // The handshake's few bytes always fit into an empty socket buffer.
    let n = server.clients[token].conn.write(&out)?;
    if n < out.len() {
        return Err(ErrorKind::WriteZero.into());
    }
    let words: Vec<String> = match args {
        [b"AUTH", ..] => vec!["AUTH (redacted)".to_string()],
        _ => args.iter().map(|word| word.escape_ascii().to_string()).collect(),
    };
    let text = format!("{}{}", channel_of(server, token), words.join(" "));
    trace::trace_primary(server, Direction::Sent, &text);
    Ok(())
}

pub(super) fn handle_handshake_line(
    server: &mut Server,
    token: Token,
    line: &str,
) -> Result<(), String> {
    if line.is_empty() {
        // A newline before the answer: the primary is alive.
        return Ok(());
    }
    let is_error = line.starts_with('-');
    match replica::link(server).state {
        LinkState::ReceivePing => {
            let tolerated =
                ["-NOAUTH", "-NOPERM", "-ERR operation not permitted", "-LOADING", "-MASTERDOWN"];
            if !line.starts_with('+') && !tolerated.iter().any(|t| line.starts_with(t)) {
                return Err(format!("Error reply to PING from master: '{line}'"));
            }
            server.notice("Master replied to PING, replication can continue...");
            send_handshake(server, token).map_err(|e| format!("Failed to send to MASTER: {e}"))?;
        }
        LinkState::ReceiveAuth => {
            if is_error {
                let primary = server.config.flavour.primary_in_capitals();
                return Err(format!("Unable to AUTH to {primary}: {line}"));
            }
            replica::enter_link_state(server, LinkState::ReceivePort);
        }
        LinkState::ReceivePort => {
            if is_error {
                server.notice(&format!(
                    "(Non critical) Master does not understand REPLCONF listening-port: {line}"
                ));
            }
            let next = if server.config.replica_announce_ip.is_some() {
                LinkState::ReceiveIp
            } else {
                LinkState::ReceiveCapa
            };
            replica::enter_link_state(server, next);
        }
        LinkState::ReceiveIp => {
            if is_error {
                server.notice(&format!(
                    "(Non critical) Master does not understand REPLCONF ip-address: {line}"
                ));
            }
            replica::enter_link_state(server, LinkState::ReceiveCapa);
        }
        LinkState::ReceiveCapa => {
            if is_error {
                server.log(
                    Level::Verbose,
                    &format!(
                        "(Non critical) Master does not understand REPLCONF capa or version: {line}"
                    ),
                );
            }
            slave_try_partial_resynchronization(server, token)
                .map_err(|e| format!("Failed to send PSYNC to MASTER: {e}"))?;
            replica::enter_link_state(server, LinkState::ReceivePsync);
        }
        LinkState::ReceivePsync => handle_psync_reply(server, token, line)?,
        LinkState::ReceiveRdbClientId => {
            if is_error {
                return Err(format!("Primary does not understand REPLCONF identify: {line}"));
            }
            dual_channel::psync_behind_snapshot(server, token)?;
            replica::enter_link_state(server, LinkState::ReceivePsync);
        }
        state => return Err(format!("A line from MASTER in state {state:?}")),
    }
    Ok(())
}

/// The port that others are to know us by.
pub(super) fn announced_port(server: &Server) -> u16 {
    match server.config.replica_announce_port {
        0 if server.config.tls_replication && server.config.tls_port != 0 => server.config.tls_port,
        0 => server.config.port,
        port => port,
    }
}

pub(super) fn send_auth(server: &mut Server, token: Token) -> io::Result<()> {
    let Some(password) = server.config.masterauth.clone() else { return Ok(()) };
    match server.config.masteruser.clone() {
        Some(user) => send_to_primary(server, token, &[b"AUTH", &user, &password]),
        None => send_to_primary(server, token, &[b"AUTH", &password]),
    }
}

/// The primary sends everything: notes it, and why, if something was to be continued.
fn trace_full_resync(server: &mut Server, id: &str, offset: u64) {
    if let Some(cached) = &server.repl.cached {
        let wanted = cached.offset + 1;
        let why = if cached.id != id {
            format!("the primary has another history ({id}, not {})", cached.id)
        } else if offset < cached.offset {
            format!("the primary is at offset {offset}, and what is here goes to {}", cached.offset)
        } else {
            format!("the primary is at offset {offset}, and does not hold {wanted} any more")
        };
        trace::trace_primary_resync(server, Resync::Refused(&why));
    }
    trace::trace_primary_resync(server, Resync::Full);
}

/// Sends who we are, all at once; the answers come one by one.
pub(super) fn send_handshake(server: &mut Server, token: Token) -> io::Result<()> {
    let port = announced_port(server);
    send_auth(server, token)?;
    send_to_primary(server, token, &[b"REPLCONF", b"listening-port", port.to_string().as_bytes()])?;
    if let Some(ip) = server.config.replica_announce_ip.clone() {
        send_to_primary(server, token, &[b"REPLCONF", b"ip-address", ip.as_bytes()])?;
    }
    // The version goes with the capabilities, in one command: a primary that does not know it has heeded
    // what stands before it, and every answer but this command's is one line to wait for less.
    let mut capabilities: Vec<&[u8]> = vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"];
    if server.config.dual_channel_replication_enabled && !replica::link(server).no_dual_channel {
        capabilities.extend([b"capa".as_slice(), b"dual-channel"]);
    }
    // The last word counts.
    let announced = server.config.redis_version_announced.clone();
    capabilities.extend([b"version", announced.as_bytes(), b"version", SNAPSHOT_VERSION]);
    send_to_primary(server, token, &capabilities)?;
    replica::enter_link_state(
        server,
        if server.config.masterauth.is_some() {
            LinkState::ReceiveAuth
        } else {
            LinkState::ReceivePort
        },
    );
    Ok(())
}

pub(super) fn slave_try_partial_resynchronization(
    server: &mut Server,
    token: Token,
) -> io::Result<()> {
    match server.repl.cached.clone() {
        Some(cached) => {
            let offset = (cached.offset + 1).to_string();
            server.notice(&format!(
                "Trying a partial resynchronization (request {}:{offset}).",
                cached.id
            ));
            let mut request: Vec<&[u8]> = vec![b"PSYNC", cached.id.as_bytes(), offset.as_bytes()];
            if failover::is_failing_over(server) {
                request.push(b"FAILOVER");
            }
            send_to_primary(server, token, &request)
        }
        None => {
            server.notice("Partial resynchronization not possible (no cached master)");
            send_to_primary(server, token, &[b"PSYNC", b"?", b"-1"])
        }
    }
}

pub(super) fn handle_psync_reply(
    server: &mut Server,
    token: Token,
    line: &str,
) -> Result<(), String> {
    if replica::link(server).rdb_channel.is_some() {
        return dual_channel::handle_main_channel_psync_reply(server, token, line);
    }
    if failover::is_failing_over(server) {
        if line.starts_with("+CONTINUE") || line.starts_with("+FULLRESYNC") {
            failover::failover_is_done(server);
        } else {
            failover::abort_failover(server, "Failover target rejected psync request");
            return Ok(());
        }
    }
    if line == "+DUALCHANNELSYNC" {
        if let Some(cached) = &server.repl.cached {
            let why = format!("the primary has not what follows {}:{}", cached.id, cached.offset);
            trace::trace_primary_resync(server, Resync::Refused(&why));
        }
        trace::trace_primary_resync(server, Resync::Full);
        return dual_channel::open_rdb_channel(server);
    }
    if let Some(rest) = line.strip_prefix("+FULLRESYNC ") {
        let mut words = rest.split(' ');
        let id = words.next().filter(|id| id.len() == NO_ID.len());
        let offset = words.next().and_then(|o| o.parse::<u64>().ok());
        let (Some(id), Some(offset)) = (id, offset) else {
            return Err("Master replied with wrong +FULLRESYNC syntax.".to_string());
        };
        server.notice(&format!("Full resync from master: {id}:{offset}"));
        replica::link(server).announced = (id.to_string(), offset);
        trace_full_resync(server, id, offset);
        download::begin_transfer(server);
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("+CONTINUE") {
        return follow::resume(server, token, rest.trim());
    }
    if line.starts_with("-NOMASTERLINK") || line.starts_with("-LOADING") {
        return Err(format!(
            "Master is currently unable to PSYNC but should be in the future: {line}"
        ));
    }
    if line.starts_with('-') {
        if line.starts_with("-ERR") {
            server.notice(&format!(
                "Master does not support PSYNC or is in error state (reply: {line})"
            ));
        } else {
            server.warning(&format!("Unexpected reply to PSYNC from master: {line}"));
        }
        server.notice("Retrying with SYNC...");
        server.clients[token].flags |= ClientFlags::PRE_PSYNC;
        replica::link(server).announced = (NO_ID.to_string(), 0);
        send_to_primary(server, token, &[b"SYNC"])
            .map_err(|e| format!("I/O error writing to MASTER: {e}"))?;
        download::begin_transfer(server);
        return Ok(());
    }
    Err(format!("Unexpected reply to PSYNC from master: {line}"))
}
