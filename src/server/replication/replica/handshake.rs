//! The way to a link: connecting, saying who we are, asking to resume.

use super::super::trace::{Direction, Resync};
use super::super::{NO_ID, encode_command};
use super::LinkState;
use crate::server::Server;
use crate::server::client::{ClientFlags, Token};
use crate::server::connection::Connection;
use crate::server::log::Level;
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

impl Server {
    pub(super) fn connect_with_primary(&mut self) {
        let now = self.now_seconds();
        let Some(link) = &mut self.repl.primary else { return };
        (link.since, link.last_io) = (now, now);
        let (host, port) = (link.host.clone(), link.port);
        match self.open_link(&host, port) {
            Ok(token) => {
                if let Some(link) = &mut self.repl.primary {
                    link.token = Some(token);
                    link.state = LinkState::Connecting;
                }
                self.trace_primary(Direction::Here, "connecting");
                self.notice("MASTER <-> REPLICA sync started");
            }
            Err(error) => {
                self.trace_primary(Direction::Here, &format!("unable to connect: {error}"));
                self.warning(&format!("Unable to connect to MASTER: {error}"));
            }
        }
    }

    /// Opens a connection to a primary; its client shakes hands.
    pub(super) fn open_link(&mut self, host: &str, port: u16) -> io::Result<Token> {
        let connection = self.connect_to(host, port)?;
        let token = self.create_client(connection)?;
        self.clients[token].flags |= ClientFlags::HANDSHAKE | ClientFlags::AUTHENTICATED;
        Ok(token)
    }

    /// Connects to the first of a host's addresses that does not refuse at once.
    pub(super) fn connect_to(&mut self, host: &str, port: u16) -> io::Result<Connection> {
        if let Some(dialer) = &mut self.dialer {
            return dialer.dial(host, port).map(Connection::Virtual);
        }
        let mut refusal = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match self.connect_from(address) {
                Ok(stream) => return self.replication_link(stream, host),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    pub(super) fn connect_from(&self, address: SocketAddr) -> io::Result<mio::net::TcpStream> {
        let Some(source) = &self.config.bind_source_addr else {
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
    pub fn sync_with_primary(&mut self, token: Token) {
        let is_rdb_channel =
            self.repl.primary.as_ref().and_then(|link| link.rdb_token()) == Some(token);
        if self.repl.primary_token() != Some(token) && !is_rdb_channel {
            self.free_client(token);
            return;
        }
        let outcome = match is_rdb_channel {
            true => self.advance_rdb_channel(token),
            false => self.advance_link(token),
        };
        if let Err(text) = outcome {
            self.warning(&text);
            self.trace_primary(Direction::Here, &format!("given up: {text}"));
            self.cancel_replication_handshake();
        }
    }

    pub(super) fn advance_link(&mut self, token: Token) -> Result<(), String> {
        if self.link().state == LinkState::Connecting {
            if let Ok(Some(error)) = self.clients[token].conn.take_error() {
                return Err(format!("Error condition on socket for SYNC: {}", io_reason(&error)));
            }
            match self.send_to_primary(token, &[b"PING"]) {
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => {
                    return Err(format!(
                        "Error condition on socket for SYNC: {}",
                        io_reason(&error)
                    ));
                }
                Ok(()) => {}
            }
            self.notice("Non blocking connect for SYNC fired the event.");
            self.enter_link_state(LinkState::ReceivePing);
        }
        loop {
            // An answer may have ended it all: this server is a primary again.
            let Some(link) = &self.repl.primary else { return Ok(()) };
            match link.state {
                LinkState::Loading => return Ok(()),
                LinkState::Transfer => return self.receive_snapshot(token),
                LinkState::Buffering => return self.keep_stream(token),
                LinkState::Connected => return Ok(()),
                _ => {}
            }
            let Some(line) = self.read_line(token)? else { return Ok(()) };
            self.handle_handshake_line(token, &line)?;
        }
    }

    /// What has come on a connection to the primary and has not been understood.
    pub(super) fn link_input(&mut self, token: Token) -> &mut Vec<u8> {
        let link = self.link();
        match &mut link.rdb_channel {
            Some(channel) if channel.token == Some(token) => &mut channel.input,
            _ => &mut link.input,
        }
    }

    /// The next line that the primary sent, without its end; `None`: it has not come yet.
    pub(super) fn read_line(&mut self, token: Token) -> Result<Option<String>, String> {
        loop {
            let input = self.link_input(token);
            if let Some(end) = memchr::memchr(b'\n', input) {
                let line: Vec<u8> = input.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_string();
                if !line.is_empty() {
                    let text = format!("{}{line}", self.channel_of(token));
                    self.trace_primary(Direction::Received, &text);
                }
                return Ok(Some(line));
            }
            if input.len() > MAX_LINE {
                return Err("Bad protocol from MASTER: a line without an end".to_string());
            }
            if !self.read_link(token, CHUNK)? {
                return Ok(None);
            }
        }
    }

    /// Reads what the link has, but no more than `most` bytes, into its input; answers whether anything came.
    pub(super) fn read_link(&mut self, token: Token, most: usize) -> Result<bool, String> {
        let now = self.now_seconds();
        let mut chunk = vec![0; CHUNK.min(most)];
        match self.clients[token].conn.read(&mut chunk) {
            Ok(0) if self.link().is_syncing() => {
                Err("I/O error trying to sync with MASTER: connection lost".to_string())
            }
            Ok(0) => Err("MASTER closed the connection during the handshake: I/O error reading from node: connection closed".to_string()),
            Ok(n) => {
                self.stats.net_repl_in += n as u64;
                self.link_input(token).extend_from_slice(&chunk[..n]);
                let link = self.link();
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
    fn channel_of(&self, token: Token) -> &'static str {
        let link = self.repl.primary.as_ref();
        if link.and_then(|l| l.rdb_token()) == Some(token) { "(RDB channel) " } else { "" }
    }

    pub(super) fn send_to_primary(&mut self, token: Token, args: &[&[u8]]) -> io::Result<()> {
        let mut out = Vec::new();
        encode_command(args, &mut out);
        // The handshake's few bytes always fit into an empty socket buffer.
        let n = self.clients[token].conn.write(&out)?;
        if n < out.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        let words: Vec<String> = match args {
            [b"AUTH", ..] => vec!["AUTH (redacted)".to_string()],
            _ => args.iter().map(|word| word.escape_ascii().to_string()).collect(),
        };
        let text = format!("{}{}", self.channel_of(token), words.join(" "));
        self.trace_primary(Direction::Sent, &text);
        Ok(())
    }

    pub(super) fn handle_handshake_line(&mut self, token: Token, line: &str) -> Result<(), String> {
        if line.is_empty() {
            // A newline before the answer: the primary is alive.
            return Ok(());
        }
        let is_error = line.starts_with('-');
        match self.link().state {
            LinkState::ReceivePing => {
                let tolerated = [
                    "-NOAUTH",
                    "-NOPERM",
                    "-ERR operation not permitted",
                    "-LOADING",
                    "-MASTERDOWN",
                ];
                if !line.starts_with('+') && !tolerated.iter().any(|t| line.starts_with(t)) {
                    return Err(format!("Error reply to PING from master: '{line}'"));
                }
                self.notice("Master replied to PING, replication can continue...");
                self.send_handshake(token).map_err(|e| format!("Failed to send to MASTER: {e}"))?;
            }
            LinkState::ReceiveAuth => {
                if is_error {
                    let primary = self.config.flavour.primary_in_capitals();
                    return Err(format!("Unable to AUTH to {primary}: {line}"));
                }
                self.enter_link_state(LinkState::ReceivePort);
            }
            LinkState::ReceivePort => {
                if is_error {
                    self.notice(&format!(
                        "(Non critical) Master does not understand REPLCONF listening-port: {line}"
                    ));
                }
                let next = if self.config.replica_announce_ip.is_some() {
                    LinkState::ReceiveIp
                } else {
                    LinkState::ReceiveCapa
                };
                self.enter_link_state(next);
            }
            LinkState::ReceiveIp => {
                if is_error {
                    self.notice(&format!(
                        "(Non critical) Master does not understand REPLCONF ip-address: {line}"
                    ));
                }
                self.enter_link_state(LinkState::ReceiveCapa);
            }
            LinkState::ReceiveCapa => {
                if is_error {
                    self.log(Level::Verbose, &format!("(Non critical) Master does not understand REPLCONF capa or version: {line}"));
                }
                self.slave_try_partial_resynchronization(token)
                    .map_err(|e| format!("Failed to send PSYNC to MASTER: {e}"))?;
                self.enter_link_state(LinkState::ReceivePsync);
            }
            LinkState::ReceivePsync => self.handle_psync_reply(token, line)?,
            LinkState::ReceiveRdbClientId => {
                if is_error {
                    return Err(format!("Primary does not understand REPLCONF identify: {line}"));
                }
                self.psync_behind_snapshot(token)?;
                self.enter_link_state(LinkState::ReceivePsync);
            }
            state => return Err(format!("A line from MASTER in state {state:?}")),
        }
        Ok(())
    }

    /// The port that others are to know us by.
    pub(super) fn announced_port(&self) -> u16 {
        match self.config.replica_announce_port {
            0 if self.config.tls_replication && self.config.tls_port != 0 => self.config.tls_port,
            0 => self.config.port,
            port => port,
        }
    }

    pub(super) fn send_auth(&mut self, token: Token) -> io::Result<()> {
        let Some(password) = self.config.masterauth.clone() else { return Ok(()) };
        match self.config.masteruser.clone() {
            Some(user) => self.send_to_primary(token, &[b"AUTH", &user, &password]),
            None => self.send_to_primary(token, &[b"AUTH", &password]),
        }
    }

    /// The primary sends everything: notes it, and why, if something was to be continued.
    fn trace_full_resync(&mut self, id: &str, offset: u64) {
        if let Some(cached) = &self.repl.cached {
            let wanted = cached.offset + 1;
            let why = if cached.id != id {
                format!("the primary has another history ({id}, not {})", cached.id)
            } else if offset < cached.offset {
                format!(
                    "the primary is at offset {offset}, and what is here goes to {}",
                    cached.offset
                )
            } else {
                format!("the primary is at offset {offset}, and does not hold {wanted} any more")
            };
            self.trace_primary_resync(Resync::Refused(&why));
        }
        self.trace_primary_resync(Resync::Full);
    }

    /// Sends who we are, all at once; the answers come one by one.
    pub(super) fn send_handshake(&mut self, token: Token) -> io::Result<()> {
        let port = self.announced_port();
        self.send_auth(token)?;
        self.send_to_primary(
            token,
            &[b"REPLCONF", b"listening-port", port.to_string().as_bytes()],
        )?;
        if let Some(ip) = self.config.replica_announce_ip.clone() {
            self.send_to_primary(token, &[b"REPLCONF", b"ip-address", ip.as_bytes()])?;
        }
        // The version goes with the capabilities, in one command: a primary that does not know it has heeded
        // what stands before it, and every answer but this command's is one line to wait for less.
        let mut capabilities: Vec<&[u8]> = vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"];
        if self.config.dual_channel_replication_enabled && !self.link().no_dual_channel {
            capabilities.extend([b"capa".as_slice(), b"dual-channel"]);
        }
        // The last word counts.
        let announced = self.config.redis_version_announced.clone();
        capabilities.extend([b"version", announced.as_bytes(), b"version", SNAPSHOT_VERSION]);
        self.send_to_primary(token, &capabilities)?;
        self.enter_link_state(if self.config.masterauth.is_some() {
            LinkState::ReceiveAuth
        } else {
            LinkState::ReceivePort
        });
        Ok(())
    }

    pub(super) fn slave_try_partial_resynchronization(&mut self, token: Token) -> io::Result<()> {
        match self.repl.cached.clone() {
            Some(cached) => {
                let offset = (cached.offset + 1).to_string();
                self.notice(&format!(
                    "Trying a partial resynchronization (request {}:{offset}).",
                    cached.id
                ));
                let mut request: Vec<&[u8]> =
                    vec![b"PSYNC", cached.id.as_bytes(), offset.as_bytes()];
                if self.is_failing_over() {
                    request.push(b"FAILOVER");
                }
                self.send_to_primary(token, &request)
            }
            None => {
                self.notice("Partial resynchronization not possible (no cached master)");
                self.send_to_primary(token, &[b"PSYNC", b"?", b"-1"])
            }
        }
    }

    pub(super) fn handle_psync_reply(&mut self, token: Token, line: &str) -> Result<(), String> {
        if self.link().rdb_channel.is_some() {
            return self.handle_main_channel_psync_reply(token, line);
        }
        if self.is_failing_over() {
            if line.starts_with("+CONTINUE") || line.starts_with("+FULLRESYNC") {
                self.failover_is_done();
            } else {
                self.abort_failover("Failover target rejected psync request");
                return Ok(());
            }
        }
        if line == "+DUALCHANNELSYNC" {
            if let Some(cached) = &self.repl.cached {
                let why =
                    format!("the primary has not what follows {}:{}", cached.id, cached.offset);
                self.trace_primary_resync(Resync::Refused(&why));
            }
            self.trace_primary_resync(Resync::Full);
            return self.open_rdb_channel();
        }
        if let Some(rest) = line.strip_prefix("+FULLRESYNC ") {
            let mut words = rest.split(' ');
            let id = words.next().filter(|id| id.len() == NO_ID.len());
            let offset = words.next().and_then(|o| o.parse::<u64>().ok());
            let (Some(id), Some(offset)) = (id, offset) else {
                return Err("Master replied with wrong +FULLRESYNC syntax.".to_string());
            };
            self.notice(&format!("Full resync from master: {id}:{offset}"));
            self.link().announced = (id.to_string(), offset);
            self.trace_full_resync(id, offset);
            self.begin_transfer();
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("+CONTINUE") {
            return self.resume(token, rest.trim());
        }
        if line.starts_with("-NOMASTERLINK") || line.starts_with("-LOADING") {
            return Err(format!(
                "Master is currently unable to PSYNC but should be in the future: {line}"
            ));
        }
        if line.starts_with('-') {
            if line.starts_with("-ERR") {
                self.notice(&format!(
                    "Master does not support PSYNC or is in error state (reply: {line})"
                ));
            } else {
                self.warning(&format!("Unexpected reply to PSYNC from master: {line}"));
            }
            self.notice("Retrying with SYNC...");
            self.clients[token].flags |= ClientFlags::PRE_PSYNC;
            self.link().announced = (NO_ID.to_string(), 0);
            self.send_to_primary(token, &[b"SYNC"])
                .map_err(|e| format!("I/O error writing to MASTER: {e}"))?;
            self.begin_transfer();
            return Ok(());
        }
        Err(format!("Unexpected reply to PSYNC from master: {line}"))
    }
}
