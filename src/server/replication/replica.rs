//! This server has a primary: the handshake, the snapshot, the stream, and resuming after a broken link.
//!
//! The link is a client of the slab from the moment that it connects. While it shakes hands or takes the snapshot it
//! is in `HANDSHAKE`, and its bytes come here; then it becomes the `MASTER` client, and its bytes are commands.
#![forbid(unsafe_code)]

use super::{NO_ID, encode_command};
use crate::db::{Db, ExpiryRole};
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::client::{Client, ClientFlags, Token};
use crate::server::config::ReplDisklessLoad;
use crate::server::connection::Connection;
use crate::server::log::Level;
use crate::server::persistence::{LoadProgress, Loading, SnapshotOrigin};
use crate::server::random_id;
use slab::Slab;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// The length of the mark behind a snapshot of unknown length.
const MARK_LEN: usize = 40;
/// The longest line that a primary may send during the handshake.
const MAX_LINE: usize = 1024;
/// Bytes read from the link at once.
const CHUNK: usize = 64 * 1024;

/// Where the link to the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// To be connected.
    Connect,
    Connecting,
    /// Steps of the handshake: what answer is awaited.
    ReceivePing,
    ReceiveAuth,
    ReceivePort,
    ReceiveIp,
    ReceiveCapa,
    ReceivePsync,
    /// A full resynchronisation: the snapshot comes.
    Transfer,
    /// The snapshot is here, and being loaded.
    Loading,
    Connected,
}

impl LinkState {
    /// As `ROLE` prints it.
    pub fn role_name(self) -> &'static str {
        match self {
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Transfer | LinkState::Loading => "sync",
            LinkState::Connected => "connected",
            _ => "handshake",
        }
    }
}

/// How a snapshot's end is known.
#[derive(Clone, Debug)]
enum Ending {
    /// The `$` line has not come.
    Unknown,
    Length(u64),
    Mark([u8; MARK_LEN]),
}

/// A snapshot on its way here.
struct Download {
    ending: Ending,
    received: u64,
    /// The last bytes received, where a mark has to be found.
    tail: Vec<u8>,
    target: Target,
}

enum Target {
    /// Nowhere yet.
    Undecided,
    File(File, PathBuf),
    /// The keyspace, as it comes.
    Memory,
}

/// The primary that this server follows, and the link to it.
pub struct PrimaryLink {
    pub host: String,
    pub port: u16,
    pub state: LinkState,
    /// The link's client, once there is a connection.
    pub token: Option<Token>,
    /// What came during the handshake and has not been understood.
    input: Vec<u8>,
    download: Option<Download>,
    /// The history and offset that the primary announced with its snapshot.
    announced: (String, u64),
    /// When the primary was last heard, in seconds since 1970.
    pub last_io: i64,
    /// When it was last told how far we are, in milliseconds since 1970.
    last_ack_ms: i64,
    /// When the present state began, in seconds since 1970.
    since: i64,
    /// The database of the stream, when a link is resumed.
    stream_db: usize,
    /// The primary holds the stream back until it hears that the snapshot is here.
    wants_ack: bool,
    /// The stream made no sense: there is no going on from here.
    corrupt: bool,
    /// The bytes of a transaction whose end has not come: applied only with it, or not at all.
    transaction: Vec<u8>,
}

impl PrimaryLink {
    fn new(host: String, port: u16) -> PrimaryLink {
        PrimaryLink {
            host,
            port,
            state: LinkState::Connect,
            token: None,
            input: Vec::new(),
            download: None,
            announced: (NO_ID.to_string(), 0),
            last_io: 0,
            last_ack_ms: 0,
            since: 0,
            stream_db: 0,
            wants_ack: false,
            corrupt: false,
            transaction: Vec::new(),
        }
    }

    /// The database that the primary's stream has selected.
    pub fn selected_db(&self, clients: &Slab<Client>) -> usize {
        match (self.state, self.token) {
            (LinkState::Connected, Some(token)) => {
                clients.get(token).map_or(self.stream_db, |c| c.db)
            }
            _ => self.stream_db,
        }
    }

    /// Bytes of the snapshot: all (0: unknown), and those that have come.
    pub fn transfer_progress(&self) -> Option<(u64, u64)> {
        let download = self.download.as_ref()?;
        Some(match download.ending {
            Ending::Length(total) => (total, download.received),
            _ => (0, download.received),
        })
    }
}

/// What to resume with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedPrimary {
    pub id: String,
    pub offset: u64,
    pub stream_db: usize,
}

impl super::Replication {
    /// The client of the link to the primary.
    pub fn primary_token(&self) -> Option<Token> {
        self.primary.as_ref()?.token
    }

    pub fn is_connected_to_primary(&self) -> bool {
        self.primary.as_ref().is_some_and(|p| p.state == LinkState::Connected)
    }
}

impl Server {
    /// Follows a primary from now on.
    pub fn replication_set_primary(&mut self, host: String, port: u16) {
        let was_primary = !self.repl.is_replica();
        if was_primary {
            // The history that was written here may be a part of the new primary's: try to go on in it.
            self.repl.cached = Some(CachedPrimary {
                id: self.repl.id.clone(),
                offset: self.repl.offset,
                stream_db: self.repl.selected_db.unwrap_or(0),
            });
        } else {
            self.cancel_replication_handshake();
            if let Some(token) = self.repl.primary_token() {
                self.free_client(token);
            }
        }
        let text = format!("Connecting to MASTER {host}:{port}");
        self.repl.primary = Some(Box::new(PrimaryLink::new(host, port)));
        self.repl.down_since = self.now_seconds();
        self.ks.role = ExpiryRole::Hide;
        // Our replicas stay: if the new primary lets us go on in the same history, so can they.
        self.disconnect_all_blocked_clients();
        self.notice(&text);
        self.connect_with_primary();
    }

    /// Follows a primary from the start: the link is made when the data has been loaded.
    pub fn become_replica_at_startup(&mut self, host: String, port: u16) {
        self.repl.primary = Some(Box::new(PrimaryLink::new(host, port)));
        self.repl.down_since = self.now_seconds();
        self.ks.role = ExpiryRole::Hide;
    }

    /// Stops following: this server is a primary, of a new history that continues the old one.
    pub fn replication_unset_primary(&mut self) {
        if !self.repl.is_replica() {
            return;
        }
        self.cancel_replication_handshake();
        if let Some(token) = self.repl.primary_token() {
            self.free_client(token);
        }
        self.repl.primary = None;
        self.repl.cached = None;
        let id = random_id(&mut self.rng);
        self.repl.shift_id(id);
        self.repl.selected_db = None;
        self.restore_expiry_role();
        self.repl.no_replicas_since = self.now_seconds();
        self.disconnect_replicas();
        let text = format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            self.repl.id2,
            self.repl.second_offset.unwrap_or(0),
            self.repl.id
        );
        self.notice(&text);
    }

    /// Gives up whatever is going on with the primary short of a working link; the next cron connects again.
    fn cancel_replication_handshake(&mut self) {
        let Some(link) = &mut self.repl.primary else { return };
        if link.state == LinkState::Connected {
            return;
        }
        link.state = LinkState::Connect;
        link.input = Vec::new();
        let token = link.token.take();
        if let Some(Download { target: Target::File(_, path), .. }) = link.download.take() {
            let _ = std::fs::remove_file(path);
        }
        self.abandon_loading();
        if let Some(token) = token {
            self.free_client(token);
        }
    }

    /// Gives up the snapshot that is being loaded. Half of it is of no use; the old data is, where it is still there.
    fn abandon_loading(&mut self) {
        let Some(loading) = self.loading.take() else { return };
        if loading.staging.is_none() {
            self.flush_all_for_resync();
        }
    }

    fn flush_all_for_resync(&mut self) {
        self.touch_all_watched_keys();
        let fresh: Vec<Db> = (0..self.ks.dbs.len()).map(|_| self.ks.new_db()).collect();
        let old = std::mem::replace(&mut self.ks.dbs, fresh);
        self.lazy_free(old);
        self.signal_all_databases();
    }

    /// Once a second: connects, gives up what takes too long, tells the primary how far we are.
    pub fn replica_cron(&mut self) {
        let now = self.now_seconds();
        let timeout = i64::from(self.config.repl_timeout);
        if self.starting {
            return;
        }
        let Some(link) = &self.repl.primary else { return };
        // A large request is heard of long before it is complete and applied.
        let heard = link.token.and_then(|t| self.clients.get(t)).map_or(0, |c| c.last_interaction);
        let silent = now - link.last_io.max(link.since).max(heard);
        match link.state {
            LinkState::Connect => self.connect_with_primary(),
            LinkState::Connected if silent > timeout => {
                self.warning("MASTER timeout: no data nor PING received...");
                if let Some(token) = self.repl.primary_token() {
                    self.free_client(token);
                }
            }
            LinkState::Transfer if silent > timeout => {
                self.warning("Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in the configuration file to a larger value.");
                self.cancel_replication_handshake();
            }
            LinkState::Connected | LinkState::Loading | LinkState::Transfer => {}
            _ if silent > timeout => {
                self.warning("Timeout connecting to the MASTER...");
                self.cancel_replication_handshake();
            }
            _ => {}
        }
        self.ack_if_due();
    }

    fn ack_if_due(&mut self) {
        let now = self.ks.now_ms;
        if let Some(link) = &self.repl.primary
            && link.state == LinkState::Connected
            && now - link.last_ack_ms >= 1000
        {
            self.replication_send_ack();
        }
        if let Some(link) = &self.repl.primary
            && matches!(link.state, LinkState::Loading)
            && let Some(token) = link.token
        {
            // A newline says that we are alive and busy loading.
            let _ = self.clients[token].conn.write(b"\n");
        }
    }

    /// Tells the primary how far we are.
    pub fn replication_send_ack(&mut self) {
        let Some(token) = self.repl.primary_token() else { return };
        if self.clients[token].is(ClientFlags::PRE_PSYNC) {
            return;
        }
        let mut digits = itoa::Buffer::new();
        let mut out = Vec::new();
        let offset = self.clients[token].applied_offset;
        encode_command(&[b"REPLCONF", b"ACK", digits.format(offset).as_bytes()], &mut out);
        self.add_reply_to(token, &out);
        if let Some(link) = &mut self.repl.primary {
            link.last_ack_ms = self.ks.now_ms;
        }
    }

    fn connect_with_primary(&mut self) {
        let now = self.now_seconds();
        let Some(link) = &mut self.repl.primary else { return };
        (link.since, link.last_io) = (now, now);
        let (host, port) = (link.host.clone(), link.port);
        let outcome = self
            .connect_to(&host, port)
            .and_then(|stream| self.create_client(Connection::Tcp(stream)));
        match outcome {
            Ok(token) => {
                self.clients[token].flags |= ClientFlags::HANDSHAKE | ClientFlags::AUTHENTICATED;
                if let Some(link) = &mut self.repl.primary {
                    link.token = Some(token);
                    link.state = LinkState::Connecting;
                }
                self.notice("MASTER <-> REPLICA sync started");
            }
            Err(error) => self.warning(&format!("Unable to connect to MASTER: {error}")),
        }
    }

    /// Connects to the first of a host's addresses that does not refuse at once.
    fn connect_to(&self, host: &str, port: u16) -> io::Result<mio::net::TcpStream> {
        let mut refusal = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match self.connect_from(address) {
                Ok(stream) => return Ok(stream),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn connect_from(&self, address: SocketAddr) -> io::Result<mio::net::TcpStream> {
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
        if self.repl.primary_token() != Some(token) {
            self.free_client(token);
            return;
        }
        if let Err(text) = self.advance_link(token) {
            self.warning(&text);
            self.cancel_replication_handshake();
        }
    }

    fn link(&mut self) -> &mut PrimaryLink {
        self.repl.primary.as_mut().expect("only called while a primary is followed")
    }

    fn enter_link_state(&mut self, state: LinkState) {
        let now = self.now_seconds();
        let link = self.link();
        link.state = state;
        (link.since, link.last_io) = (now, now);
    }

    fn advance_link(&mut self, token: Token) -> Result<(), String> {
        if self.link().state == LinkState::Connecting {
            if let Ok(Some(error)) = self.clients[token].conn.take_error() {
                return Err(format!("Error condition on socket for SYNC: {error}"));
            }
            match self.send_to_primary(token, &[b"PING"]) {
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(format!("Error condition on socket for SYNC: {error}")),
                Ok(()) => {}
            }
            self.notice("Non blocking connect for SYNC fired the event.");
            self.enter_link_state(LinkState::ReceivePing);
        }
        loop {
            match self.link().state {
                LinkState::Loading => return Ok(()),
                LinkState::Transfer => return self.receive_snapshot(token),
                LinkState::Connected => return Ok(()),
                _ => {}
            }
            let Some(line) = self.read_line(token)? else { return Ok(()) };
            self.handle_handshake_line(token, &line)?;
        }
    }

    /// The next line that the primary sent, without its end; `None`: it has not come yet.
    fn read_line(&mut self, token: Token) -> Result<Option<String>, String> {
        loop {
            let link = self.link();
            if let Some(end) = memchr::memchr(b'\n', &link.input) {
                let line: Vec<u8> = link.input.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_string()));
            }
            if link.input.len() > MAX_LINE {
                return Err("Bad protocol from MASTER: a line without an end".to_string());
            }
            if !self.read_link(token)? {
                return Ok(None);
            }
        }
    }

    /// Reads what the link has into its input; answers whether anything came.
    fn read_link(&mut self, token: Token) -> Result<bool, String> {
        let now = self.now_seconds();
        let mut chunk = vec![0; CHUNK];
        match self.clients[token].conn.read(&mut chunk) {
            Ok(0) => Err("MASTER closed the connection during the handshake: I/O error reading from node: connection closed".to_string()),
            Ok(n) => {
                self.stats.net_repl_in += n as u64;
                let link = self.link();
                link.input.extend_from_slice(&chunk[..n]);
                link.last_io = now;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(format!("I/O error reading from MASTER: {error}")),
        }
    }

    fn send_to_primary(&mut self, token: Token, args: &[&[u8]]) -> io::Result<()> {
        let mut out = Vec::new();
        encode_command(args, &mut out);
        // The handshake's few bytes always fit into an empty socket buffer.
        let n = self.clients[token].conn.write(&out)?;
        if n == out.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }

    fn handle_handshake_line(&mut self, token: Token, line: &str) -> Result<(), String> {
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
                if is_error && !tolerated.iter().any(|t| line.starts_with(t)) {
                    return Err(format!("Error reply to PING from master: '{line}'"));
                }
                self.notice("Master replied to PING, replication can continue...");
                self.send_handshake(token).map_err(|e| format!("Failed to send to MASTER: {e}"))?;
            }
            LinkState::ReceiveAuth => {
                if is_error {
                    return Err(format!("Unable to AUTH to MASTER: {line}"));
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
            state => return Err(format!("A line from MASTER in state {state:?}")),
        }
        Ok(())
    }

    /// Sends who we are, all at once; the answers come one by one.
    fn send_handshake(&mut self, token: Token) -> io::Result<()> {
        let port = match self.config.replica_announce_port {
            0 => self.config.port,
            port => port,
        };
        let auth = self.config.masterauth.clone();
        if let Some(password) = &auth {
            match self.config.masteruser.clone() {
                Some(user) => self.send_to_primary(token, &[b"AUTH", &user, password])?,
                None => self.send_to_primary(token, &[b"AUTH", password])?,
            }
        }
        self.send_to_primary(
            token,
            &[b"REPLCONF", b"listening-port", port.to_string().as_bytes()],
        )?;
        if let Some(ip) = self.config.replica_announce_ip.clone() {
            self.send_to_primary(token, &[b"REPLCONF", b"ip-address", ip.as_bytes()])?;
        }
        // The version goes with the capabilities, in one command: a primary that does not know it has heeded
        // what stands before it, and every answer but this command's is one line to wait for less.
        let version = crate::server::REDIS_VERSION.as_bytes();
        self.send_to_primary(
            token,
            &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"version", version],
        )?;
        self.enter_link_state(if auth.is_some() {
            LinkState::ReceiveAuth
        } else {
            LinkState::ReceivePort
        });
        Ok(())
    }

    fn slave_try_partial_resynchronization(&mut self, token: Token) -> io::Result<()> {
        match self.repl.cached.clone() {
            Some(cached) => {
                let offset = (cached.offset + 1).to_string();
                self.notice(&format!(
                    "Trying a partial resynchronization (request {}:{offset}).",
                    cached.id
                ));
                self.send_to_primary(token, &[b"PSYNC", cached.id.as_bytes(), offset.as_bytes()])
            }
            None => {
                self.notice("Partial resynchronization not possible (no cached master)");
                self.send_to_primary(token, &[b"PSYNC", b"?", b"-1"])
            }
        }
    }

    fn handle_psync_reply(&mut self, token: Token, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("+FULLRESYNC ") {
            let mut words = rest.split(' ');
            let id = words.next().filter(|id| id.len() == NO_ID.len());
            let offset = words.next().and_then(|o| o.parse::<u64>().ok());
            let (Some(id), Some(offset)) = (id, offset) else {
                return Err("Master replied with wrong +FULLRESYNC syntax.".to_string());
            };
            self.notice(&format!("Full resync from master: {id}:{offset}"));
            self.link().announced = (id.to_string(), offset);
            self.repl.cached = None;
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
            self.notice(&format!(
                "Master does not support PSYNC or is in error state (reply: {line})"
            ));
            self.notice("Retrying with SYNC...");
            self.repl.cached = None;
            self.clients[token].flags |= ClientFlags::PRE_PSYNC;
            self.link().announced = (NO_ID.to_string(), 0);
            self.send_to_primary(token, &[b"SYNC"])
                .map_err(|e| format!("I/O error writing to MASTER: {e}"))?;
            self.begin_transfer();
            return Ok(());
        }
        Err(format!("Unexpected reply to PSYNC from master: {line}"))
    }

    /// The primary goes on where we stopped; `id` is its history's, if it is another by now.
    fn resume(&mut self, token: Token, id: &str) -> Result<(), String> {
        let Some(cached) = self.repl.cached.take() else {
            return Err("Master continues a history that was not asked for".to_string());
        };
        self.notice("Successful partial resynchronization with master.");
        if id.len() == NO_ID.len() && id != cached.id {
            self.notice(&format!("Master replication ID changed to {id}"));
            self.repl.id2 = cached.id;
            self.repl.second_offset = Some(cached.offset + 1);
            self.repl.id = id.to_string();
            // Those who follow us must learn it, which a broken link makes them do.
            self.disconnect_replicas();
        } else {
            self.repl.id = cached.id;
        }
        self.repl.offset = cached.offset;
        if self.repl.stream.as_ref().is_none_or(|s| s.end() != cached.offset) {
            self.create_replication_stream();
        }
        self.link_becomes_primary_client(token, cached.offset, cached.stream_db);
        Ok(())
    }

    /// The link's client executes what it says from now on.
    fn link_becomes_primary_client(&mut self, token: Token, offset: u64, db: usize) {
        let pre_psync = self.clients[token].flags & ClientFlags::PRE_PSYNC;
        let link = self.link();
        link.token = Some(token);
        let input = std::mem::take(&mut link.input);
        let client = &mut self.clients[token];
        client.flags = ClientFlags::MASTER | ClientFlags::AUTHENTICATED | pre_psync;
        client.protocol = Protocol::Resp2;
        client.db = if db < self.ks.dbs.len() { db } else { 0 };
        client.applied_offset = offset;
        client.read_offset = offset + input.len() as u64;
        client.query = input;
        self.enter_link_state(LinkState::Connected);
        let now = self.ks.now_ms;
        self.link().last_ack_ms = now;
        self.repl.down_since = 0;
        self.queue_input(token);
    }

    fn begin_transfer(&mut self) {
        self.enter_link_state(LinkState::Transfer);
        self.link().download = Some(Download {
            ending: Ending::Unknown,
            received: 0,
            tail: Vec::new(),
            target: Target::Undecided,
        });
    }

    fn receive_snapshot(&mut self, token: Token) -> Result<(), String> {
        // Bounded, so that a fast primary does not keep everybody else waiting.
        for _ in 0..64 {
            if self.link().input.is_empty() && !self.read_link(token)? {
                return Ok(());
            }
            let unknown =
                matches!(self.link().download, Some(Download { ending: Ending::Unknown, .. }));
            if unknown {
                let Some(line) = self.read_line(token)? else { return Ok(()) };
                self.snapshot_announced(&line)?;
                continue;
            }
            let bytes = std::mem::take(&mut self.link().input);
            if self.snapshot_bytes(token, bytes)? {
                return Ok(());
            }
        }
        self.queue_input(token);
        Ok(())
    }

    /// The `$` line: the snapshot's length, or the mark behind it.
    fn snapshot_announced(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(error) = line.strip_prefix('-') {
            return Err(format!("MASTER aborted replication with an error: {error}"));
        }
        let Some(head) = line.strip_prefix('$') else {
            return Err(format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{line}'), are you sure the host and port are right?"
            ));
        };
        let ending = match head.strip_prefix("EOF:") {
            Some(mark) => Ending::Mark(
                mark.as_bytes().try_into().map_err(|_| "Bad end mark from MASTER".to_string())?,
            ),
            None => match head.parse() {
                Ok(length) if length > 0 => Ending::Length(length),
                _ => return Err(format!("Bad snapshot length from MASTER: {head}")),
            },
        };
        let memory = match self.config.repl_diskless_load {
            ReplDisklessLoad::Disabled => false,
            ReplDisklessLoad::OnEmptyDb => self.ks.is_empty(),
            ReplDisklessLoad::Swapdb => true,
        };
        let place = if memory { "to parser" } else { "to disk" };
        self.notice(&match &ending {
            Ending::Length(n) => {
                format!("MASTER <-> REPLICA sync: receiving {n} bytes from master {place}")
            }
            _ => format!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {place}"
            ),
        });
        let total = if let Ending::Length(n) = ending { n } else { 0 };
        let target = if memory {
            let mut loading = Loading::fed(self.config.rdbchecksum, total, self.ks.now_ms);
            if self.config.repl_diskless_load == ReplDisklessLoad::Swapdb {
                loading.staging = Some((0..self.ks.dbs.len()).map(|_| self.ks.new_db()).collect());
                // What is here is an earlier state of the same data: good enough to be read meanwhile.
                let announced = self.link().announced.0.clone();
                loading.is_async = self.repl.id == announced;
            } else {
                self.prepare_for_new_data();
            }
            self.begin_loading(loading);
            Target::Memory
        } else {
            let name = format!("temp-{}.{}.rdb", self.now_seconds(), std::process::id());
            let path = self.config.dir.join(name);
            let file = File::create(&path).map_err(|e| {
                format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {e}")
            })?;
            Target::File(file, path)
        };
        if let Some(download) = &mut self.link().download {
            download.ending = ending;
            download.target = target;
        }
        Ok(())
    }

    /// What was known before gives way to the primary's data, and so do those who followed it.
    fn prepare_for_new_data(&mut self) {
        self.notice("MASTER <-> REPLICA sync: Flushing old data");
        self.disconnect_replicas();
        self.repl.stream = None;
        self.flush_all_for_resync();
    }

    /// Takes bytes of the snapshot; answers whether that was all of it.
    fn snapshot_bytes(&mut self, token: Token, mut bytes: Vec<u8>) -> Result<bool, String> {
        let Some(mut download) = self.link().download.take() else { return Ok(true) };
        let mut beyond = Vec::new();
        if let Ending::Length(total) = download.ending {
            let left = (total - download.received) as usize;
            if bytes.len() > left {
                beyond = bytes.split_off(left);
            }
        }
        download.received += bytes.len() as u64;
        let complete = match &download.ending {
            Ending::Length(total) => download.received == *total,
            Ending::Mark(mark) => {
                download.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(MARK_LEN)..]);
                let excess = download.tail.len().saturating_sub(MARK_LEN);
                download.tail.drain(..excess);
                download.tail == mark
            }
            Ending::Unknown => false,
        };
        let outcome = match &mut download.target {
            Target::File(file, _) => file
                .write_all(&bytes)
                .map_err(|e| format!("Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {e}")),
            Target::Memory => match self.load_fed(&bytes) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("Failed trying to load the MASTER synchronization DB from socket: {error}")),
            },
            Target::Undecided => Ok(()),
        };
        let marked = matches!(download.ending, Ending::Mark(_));
        self.link().download = Some(download);
        outcome?;
        if complete {
            self.link().input = beyond;
            self.snapshot_complete(token, marked)?;
        }
        Ok(complete)
    }

    fn snapshot_complete(&mut self, token: Token, marked: bool) -> Result<(), String> {
        let Some(download) = self.link().download.take() else { return Ok(()) };
        self.link().wants_ack = marked;
        match download.target {
            Target::File(file, path) => {
                if marked {
                    let size = download.received - MARK_LEN as u64;
                    file.set_len(size).map_err(|e| {
                        format!(
                            "Error truncating the RDB file received from the master for SYNC: {e}"
                        )
                    })?;
                }
                file.sync_all().map_err(|e| format!("Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {e}"))?;
                let target = self.rdb_path();
                std::fs::rename(&path, &target)
                    .map_err(|e| format!("Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {e}", target.display()))?;
                // A snapshot of our own would overwrite the file that is about to be loaded.
                self.kill_save_child();
                self.prepare_for_new_data();
                self.notice("MASTER <-> REPLICA sync: Loading DB in memory");
                self.enter_link_state(LinkState::Loading);
                self.begin_loading_file(&target).map_err(|e| {
                    format!("Failed trying to load the MASTER synchronization DB from disk: {e}")
                })?;
                self.continue_loading_snapshot();
            }
            Target::Memory => {
                if !self.finish_loading() {
                    return Err("Failed trying to load the MASTER synchronization DB from socket: it ends too early".to_string());
                }
                self.full_sync_loaded(token);
            }
            Target::Undecided => return Err("MASTER sent no snapshot".to_string()),
        }
        Ok(())
    }

    /// Loads on for a while; to be called in every turn of the loop while a snapshot from the primary is loaded.
    pub fn continue_loading_snapshot(&mut self) {
        let Some(link) = &self.repl.primary else { return };
        if link.state != LinkState::Loading {
            return;
        }
        let token = link.token;
        match self.load_some() {
            Ok(LoadProgress::More) => {}
            Ok(LoadProgress::Done) => {
                if let Some(token) = token {
                    self.full_sync_loaded(token);
                }
            }
            Err(error) => {
                self.warning(&format!(
                    "Failed trying to load the MASTER synchronization DB from disk: {error}"
                ));
                self.flush_all_for_resync();
                self.cancel_replication_handshake();
            }
        }
    }

    /// The data is the primary's: its history is ours now, and the stream goes on from there.
    fn full_sync_loaded(&mut self, token: Token) {
        let (id, offset) = self.link().announced.clone();
        let db = self.link().stream_db;
        if self.repl.stream.is_some() {
            // Old data was served until now, and has been replaced under those who followed it.
            self.disconnect_replicas();
        }
        self.repl.id = id;
        self.repl.offset = offset;
        self.repl.clear_second_id();
        self.create_replication_stream();
        self.repl.selected_db = None;
        self.ks.changes.dirty = 0;
        self.notice("MASTER <-> REPLICA sync: Finished with success");
        let wants_ack = self.link().wants_ack;
        self.link_becomes_primary_client(token, offset, db);
        if wants_ack {
            // The primary can't see by itself that the mark was found; it holds the stream back until it hears.
            self.replication_send_ack();
        }
    }

    /// Replication state that a loaded snapshot carries.
    pub fn persistence_origin_loaded(&mut self, origin: Option<SnapshotOrigin>) {
        let Some(origin) = origin else { return };
        match &mut self.repl.primary {
            Some(link) if link.state != LinkState::Connect => link.stream_db = origin.stream_db,
            Some(_) => {
                // Restarted as a replica: its file says where in whose history it is.
                self.repl.id = origin.id.clone();
                self.repl.offset = origin.offset;
                self.repl.cached = Some(CachedPrimary {
                    id: origin.id,
                    offset: origin.offset,
                    stream_db: origin.stream_db,
                });
            }
            None => {
                // Restarted as a primary: replicas that were in the old history may go on, if nothing was written.
                self.repl.id2 = origin.id;
                self.repl.offset = origin.offset;
                self.repl.second_offset = Some(origin.offset + 1);
                self.create_replication_stream();
                self.repl.no_replicas_since = self.now_seconds();
            }
        }
    }

    /// A request of the primary has been executed: these bytes of its stream are applied, and go on to our replicas.
    pub fn primary_stream_applied(&mut self, token: Token, bytes: &[u8]) {
        let client = &mut self.clients[token];
        let mut transaction = Vec::new();
        if let Some(link) = &mut self.repl.primary {
            link.last_io = self.ks.now_ms / 1000;
            if client.is(ClientFlags::MULTI) {
                link.transaction.extend_from_slice(bytes);
                return;
            }
            transaction = std::mem::take(&mut link.transaction);
        }
        client.applied_offset += (transaction.len() + bytes.len()) as u64;
        self.repl.feed_bytes(&transaction);
        self.repl.feed_bytes(bytes);
    }

    /// The link to the primary broke: remember where we were, and connect again soon.
    pub fn replication_handle_primary_disconnection(&mut self, token: Token) {
        let client = &self.clients[token];
        let resumable =
            !client.is(ClientFlags::PRE_PSYNC) && self.repl.offset == client.applied_offset;
        let (offset, db, shaking_hands) =
            (client.applied_offset, client.db, client.is(ClientFlags::HANDSHAKE));
        let Some(link) = &mut self.repl.primary else { return };
        if link.token != Some(token) {
            return;
        }
        link.token = None;
        if shaking_hands {
            // Somebody closed it from outside.
            self.cancel_replication_handshake();
            return;
        }
        link.state = LinkState::Connect;
        link.stream_db = db;
        link.transaction = Vec::new();
        let resumable = resumable && !std::mem::take(&mut link.corrupt);
        self.repl.cached =
            resumable.then(|| CachedPrimary { id: self.repl.id.clone(), offset, stream_db: db });
        self.repl.down_since = self.now_seconds();
        self.repl.reconnect = true;
        self.notice("Connection with master lost.");
        if resumable {
            self.notice("Caching the disconnected master state.");
        }
    }

    /// The primary's stream can't be understood. What was applied of it may be wrong already: it is not resumed.
    pub fn primary_stream_is_corrupt(&mut self) {
        self.warning("The stream from the master is corrupt: closing the link and discarding the cached master.");
        if let Some(link) = &mut self.repl.primary {
            link.corrupt = true;
        }
    }

    /// Connects again at once when a link that worked has broken. After a failed attempt the cron takes its time.
    pub fn reconnect_to_primary(&mut self) {
        let lost = std::mem::take(&mut self.repl.reconnect);
        if lost && self.repl.primary.as_ref().is_some_and(|p| p.state == LinkState::Connect) {
            self.connect_with_primary();
        }
    }
}
