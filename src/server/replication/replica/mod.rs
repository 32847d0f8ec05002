//! This server has a primary: the handshake, the snapshot, the stream, and resuming after a broken link.
//!
//! The link is a client of the slab from the moment that it connects. While it shakes hands or takes the snapshot it
//! is in `HANDSHAKE`, and its bytes come to [`handshake`] and [`download`]; then it becomes the `MASTER` client, and
//! its bytes are commands: [`follow`]. The snapshot may come over a second connection: [`dual_channel`]; what the first
//! brings meanwhile waits in a [`kept_stream`].

pub(crate) mod download;
pub mod dual_channel;
pub(crate) mod follow;
pub(crate) mod handshake;
mod kept_stream;

use super::NO_ID;
use super::trace::{Direction, Role};
use crate::db::{Db, ExpiryRole};
use crate::server::Server;
use crate::server::blocking;
use crate::server::client::Token;
use crate::server::config::PrimaryAddress;
use crate::server::expiry;
use crate::server::oom_score;
use crate::server::persistence::aof::AofState;
use crate::server::persistence::aof::rewrite;
use crate::server::random_id;
use crate::server::replication::primary;
use crate::server::replication::trace;
use crate::server::transaction;
use download::Download;
use dual_channel::{RdbChannel, RdbChannelState};
use kept_stream::KeptStream;

/// How long after its start a replica connects without waiting for the next second.
const EARLY_MS: i64 = 1000;

/// What is logged when nothing has come for `repl-timeout`.
const STREAM_TIMEOUT: &str = "MASTER timeout: no data nor PING received...";
const BULK_TIMEOUT: &str = "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in the configuration file to a larger value.";
const RDB_CHANNEL_TIMEOUT: &str = "Timeout receiving bulk data from MASTER on the RDB channel... If the problem persists try to set the 'repl-timeout' parameter in the configuration file to a larger value.";

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
    /// The RDB channel shakes hands.
    AwaitRdbChannel,
    /// The primary is to join the two channels.
    ReceiveRdbClientId,
    /// The stream comes while the snapshot does on the RDB channel.
    Buffering,
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
            LinkState::Transfer | LinkState::Loading | LinkState::Buffering => "sync",
            LinkState::Connected => "connected",
            _ => "handshake",
        }
    }
}

/// The primary that this server follows, and the link to it.
pub struct PrimaryLink {
    pub host: String,
    pub port: u16,
    pub state: LinkState,
    /// Where `REPLTRACE` remembers this primary.
    pub trace: u64,
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
    pub since: i64,
    /// The database of the stream, when a link is resumed.
    stream_db: usize,
    /// The primary holds the stream back until it hears that the snapshot is here.
    wants_ack: bool,
    /// The stream made no sense: there is no going on from here.
    corrupt: bool,
    /// The second connection, while there is one.
    pub(super) rdb_channel: Option<Box<RdbChannel>>,
    /// What the first brought meanwhile.
    pub kept_stream: KeptStream,
    /// The primary offered a second connection, and did not understand it: it is not to offer it again.
    no_dual_channel: bool,
    /// The bytes of a transaction whose end has not come: applied only with it, or not at all.
    transaction: Vec<u8>,
}

impl PrimaryLink {
    pub fn is_connected(&self) -> bool {
        self.state == LinkState::Connected
    }

    /// The database that the primary's stream has selected, as far as it is not its client's.
    pub fn stream_db(&self) -> usize {
        self.stream_db
    }

    fn new(host: String, port: u16, trace: u64) -> PrimaryLink {
        PrimaryLink {
            host,
            port,
            state: LinkState::Connect,
            trace,
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
            rdb_channel: None,
            kept_stream: KeptStream::default(),
            no_dual_channel: false,
        }
    }

    /// Whether a snapshot is coming or being loaded.
    pub fn is_syncing(&self) -> bool {
        matches!(self.state, LinkState::Transfer | LinkState::Loading | LinkState::Buffering)
            || self.rdb_channel_is(RdbChannelState::Transfer)
            || self.is_loading()
    }

    /// Whether a snapshot has come and is being loaded from its file.
    pub fn is_loading(&self) -> bool {
        self.state == LinkState::Loading || self.rdb_channel_is(RdbChannelState::Loading)
    }

    fn rdb_channel_is(&self, state: RdbChannelState) -> bool {
        self.rdb_channel.as_ref().is_some_and(|channel| channel.state == state)
    }

    fn rdb_token(&self) -> Option<Token> {
        self.rdb_channel.as_ref()?.token
    }

    /// Bytes of the snapshot: all (0: it will be seen; -1: nothing is known yet), and those that have come.
    pub fn transfer_progress(&self) -> Option<(i64, u64)> {
        self.download.as_ref().map(Download::progress)
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
        self.primary.as_ref().is_some_and(|link| link.is_connected())
    }
}

/// Follows a primary from now on.
pub(crate) fn replication_set_primary(server: &mut Server, host: String, port: u16) {
    let was_primary = !server.repl.is_replica();
    if was_primary {
        // The history that was written here may be a part of the new primary's: try to go on in it.
        server.notice("Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to synchronize with the new master with just a partial transfer.");
        server.repl.cached = Some(CachedPrimary {
            id: server.repl.id.clone(),
            offset: server.repl.offset,
            stream_db: server.repl.selected_db.unwrap_or(0),
        });
    } else {
        cancel_replication_handshake(server);
        if let Some(token) = server.repl.primary_token() {
            server.free_client(token);
        }
    }
    let text = format!("Connecting to MASTER {host}:{port}");
    trace::trace_primary_gone(server, "another primary is followed");
    server.repl.primary = Some(new_link(server, host, port));
    server.ks.role = ExpiryRole::Hide;
    // What failed has been logged.
    let _ = oom_score::apply_oom_score(server);
    // Our replicas stay: if the new primary lets us go on in the same history, so can they.
    blocking::disconnect_all_blocked_clients(server);
    server.notice(&text);
    handshake::connect_with_primary(server);
}

fn new_link(server: &mut Server, host: String, port: u16) -> Box<PrimaryLink> {
    let peer = format!("{host}:{port}");
    let trace = server.repl.traces.begin(Role::Replica, peer, server.clock.unix_us());
    Box::new(PrimaryLink::new(host, port, trace))
}

/// Follows a primary from the start: the link is made when the data has been loaded.
pub(crate) fn become_replica_at_startup(server: &mut Server, host: String, port: u16) {
    server.repl.primary = Some(new_link(server, host, port));
    server.ks.role = ExpiryRole::Hide;
}

/// What `CONFIG REWRITE` will write about the primary.
pub(crate) fn set_primary_address(server: &mut Server, address: Option<(String, u16)>) {
    server.config.replicaof = address.map(|(host, port)| PrimaryAddress { host, port });
}

/// Stops following: this server is a primary, of a new history that continues the old one.
pub(crate) fn replication_unset_primary(server: &mut Server) {
    if !server.repl.is_replica() {
        return;
    }
    cancel_replication_handshake(server);
    if let Some(token) = server.repl.primary_token() {
        server.free_client(token);
    }
    trace::trace_primary_gone(server, "no primary is followed any more");
    server.repl.primary = None;
    server.repl.cached = None;
    let _ = oom_score::apply_oom_score(server);
    // Another primary will not have been lost for as long as this one.
    server.repl.down_since = 0;
    server.ks.replica_keys.clear();
    let id = random_id(&mut server.rng);
    server.repl.shift_id(id);
    server.repl.selected_db = None;
    expiry::restore_role(server);
    if server.persistence.aof.state == AofState::Off {
        // A synchronisation that did not succeed has turned it off.
        rewrite::restart_aof_after_sync(server);
    }
    server.repl.no_replicas_since = server.now_seconds();
    primary::disconnect_replicas(server);
    let text = format!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
        server.repl.id2,
        server.repl.second_offset.unwrap_or(0),
        server.repl.id
    );
    server.notice(&text);
}

/// Gives up whatever is going on with the primary short of a working link; the next cron connects again.
fn cancel_replication_handshake(server: &mut Server) {
    let Some(link) = &mut server.repl.primary else { return };
    if link.state == LinkState::Connected {
        return;
    }
    link.state = LinkState::Connect;
    link.input = Vec::new();
    link.kept_stream.clear();
    let rdb_channel = link.rdb_channel.take().and_then(|channel| channel.token);
    let token = link.token.take();
    if let Some(download) = link.download.take() {
        download.discard();
    }
    abandon_loading(server);
    for token in token.into_iter().chain(rdb_channel) {
        server.free_client(token);
    }
}

/// Gives up the snapshot that is being loaded. Half of it is of no use; the old data is, where it is still there.
fn abandon_loading(server: &mut Server) {
    let Some(loading) = server.persistence.loading.take() else { return };
    if loading.staging.is_none() {
        flush_all_for_resync(server);
    }
}

fn flush_all_for_resync(server: &mut Server) {
    transaction::touch_all_watched_keys(server);
    let fresh: Vec<Db> = (0..server.ks.dbs.len()).map(|_| server.ks.new_db()).collect();
    let old = std::mem::replace(&mut server.ks.dbs, fresh);
    server.memory.free_databases(old, true);
    server.scripting.libraries.clear();
    server.ks.replica_keys.clear();
    blocking::signal_all_databases(server);
}

fn link(server: &mut Server) -> &mut PrimaryLink {
    server.repl.primary.as_mut().expect("only called while a primary is followed")
}

/// The server ends: half a snapshot is not to be left behind.
pub(crate) fn discard_download(server: &mut Server) {
    if let Some(download) = server.repl.primary.as_mut().and_then(|link| link.download.take()) {
        download.discard();
    }
}

fn enter_link_state(server: &mut Server, state: LinkState) {
    let now = server.now_seconds();
    let link = link(server);
    link.state = state;
    (link.since, link.last_io) = (now, now);
}

/// Once a second: connects, gives up what takes too long, tells the primary how far we are.
pub(crate) fn replica_cron(server: &mut Server) {
    let now = server.now_seconds();
    let timeout = i64::from(server.config.repl_timeout);
    if server.starting {
        return;
    }
    let Some(link) = &server.repl.primary else { return };
    let rdb_channel = link.rdb_channel.as_ref();
    let rdb_channel_silent = rdb_channel.map_or(0, |channel| now - channel.last_io);
    // A large request is heard of long before it is complete and applied.
    let heard = link.token.and_then(|t| server.clients.get(t)).map_or(0, |c| c.last_interaction);
    let silent = now - link.last_io.max(link.since).max(heard);
    match link.state {
        LinkState::Connect => {
            let text = format!("Connecting to MASTER {}:{}", link.host, link.port);
            server.notice(&text);
            handshake::connect_with_primary(server);
        }
        LinkState::Connected if silent > timeout => link_is_silent(server, STREAM_TIMEOUT),
        LinkState::Transfer if silent > timeout => link_is_silent(server, BULK_TIMEOUT),
        LinkState::ReceiveRdbClientId | LinkState::ReceivePsync | LinkState::Buffering
            if rdb_channel_silent > timeout && link.rdb_channel_is(RdbChannelState::Transfer) =>
        {
            link_is_silent(server, RDB_CHANNEL_TIMEOUT);
        }
        LinkState::AwaitRdbChannel if rdb_channel_silent > timeout => {
            let primary = server.config.flavour.primary_in_capitals();
            let text = format!("Timeout connecting to the {primary} on the RDB channel...");
            link_is_silent(server, &text);
        }
        LinkState::Buffering if silent > timeout && !link.kept_stream.is_full() => {
            link_is_silent(server, STREAM_TIMEOUT);
        }
        LinkState::Connected
        | LinkState::Loading
        | LinkState::Transfer
        | LinkState::AwaitRdbChannel
        | LinkState::Buffering => {}
        _ if silent > timeout => {
            let primary = server.config.flavour.primary_in_capitals();
            link_is_silent(server, &format!("Timeout connecting to the {primary}..."));
        }
        _ => {}
    }
    follow::ack_if_due(server);
}

/// Who starts together with its primary may be a moment too early. In the first second it tries again at once, so
/// that a Sentinel that starts with them finds it when it asks the primary for the first time.
pub(crate) fn connect_early(server: &mut Server) {
    let is_young = server.ks.now_ms - server.started_ms < EARLY_MS;
    let waits = server.repl.primary.as_ref().is_some_and(|link| link.state == LinkState::Connect);
    if is_young && waits && !server.starting {
        handshake::connect_with_primary(server);
    }
}

/// Nothing has been heard for too long: gives the link up.
fn link_is_silent(server: &mut Server, text: &str) {
    server.warning(text);
    trace::trace_primary(server, Direction::Here, text);
    if !server.repl.is_connected_to_primary() {
        cancel_replication_handshake(server);
    } else if let Some(token) = server.repl.primary_token() {
        server.free_client(token);
    }
}

/// Connects again at once when a link that worked has broken. After a failed attempt the cron takes its time.
pub(crate) fn reconnect_to_primary(server: &mut Server) {
    let lost = std::mem::take(&mut server.repl.reconnect);
    if lost
        && let Some(link) = server.repl.primary.as_ref().filter(|p| p.state == LinkState::Connect)
    {
        server.notice(&format!("Reconnecting to MASTER {}:{}", link.host, link.port));
        handshake::connect_with_primary(server);
    }
}
