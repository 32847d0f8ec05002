//! Replication, in both roles, after `replication.c`'s states.
//!
//! * [`primary`]: this server has replicas: handshake, snapshots, streaming, acknowledgements.
//! * [`replica`]: this server has a primary: its handshake, loading, following, resuming.
//!
//! * [`trace`]: takes down what happens on each link, for `REPLTRACE`.
//! * [`status`]: how each link is now.
//! * [`restart`]: a snapshot is loaded that carries replication state.
//! * [`failover`]: the role is handed over from one to the other.
//!
//! Its machines, the stream and its histories are in [`links`](super::links).
//!
//! A replica is known by its connection and by nothing else: all that is known of it hangs on its client. `PSYNC`
//! carries no identity because none is needed.

pub mod failover;
pub mod primary;
pub mod replica;
pub(crate) mod restart;
pub(crate) mod status;
pub(crate) mod trace;

use super::Server;
use super::client::Token;
use crate::resp::encode::{encode_command, for_each_piece};
use crate::server::links::history::History;
use crate::server::links::primary::{CachedPrimary, PrimaryLink};
use crate::server::links::replica::ReplicaLink;
use crate::server::links::stream::ReplStream;
use crate::server::links::trace::Traces;
use failover::Failover;
use primary::dual_channel::Reservation;

/// The replication state of this server.
pub struct Replication {
    /// The history that this server writes or follows.
    history: History,
    /// `None` until the first replica comes.
    stream: Option<ReplStream>,
    replicas: Vec<Token>,
    /// Parts of the stream that are kept for replicas which will come for them.
    reservations: Vec<Reservation>,
    /// How long after its RDB channel was closed a replica may come, in seconds.
    rdb_channel_grace_seconds: i64,
    failover: Failover,
    traces: Traces,
    /// `DEBUG PAUSE-AFTER-FORK`: the process stops itself where a test wants to look at it.
    pause_after_fork: bool,
    /// Up to where in the stream fields got an expiry: replicas that don't know such fields can't follow from before.
    fields_expire_up_to: u64,
    /// The database that the stream has selected; `None`: the next command selects its own.
    selected_db: Option<usize>,
    /// Bytes of the commands that selected databases.
    select_bytes: u64,
    /// Since when there has been no replica, in seconds since 1970.
    no_replicas_since_seconds: i64,
    /// The primary that this server follows.
    primary: Option<Box<PrimaryLink>>,
    /// The primary that this server followed until the link broke.
    cached: Option<CachedPrimary>,
    /// Replicas are to be asked for acknowledgements before the loop sleeps.
    get_ack: bool,
    /// Replicas that are online and lag no more than `min-replicas-max-lag`.
    good_replicas: usize,
    /// The snapshot file was written for replicas (`rdb-del-sync-files`).
    file_for_replicas: bool,
    /// Seconds of the replication cron.
    cron_loops: u64,
    /// When the link to the primary went down, in seconds since 1970; 0: it has not been up, or is.
    down_since_seconds: i64,
    /// When it was last logged that commands are applied which can't be written to disk, in milliseconds since 1970.
    disk_error_logged_ms: i64,
    /// The link to the primary broke in this turn of the loop.
    reconnect: bool,
}

/// How long after its RDB channel was closed a replica's main channel may come, in seconds.
const RDB_CHANNEL_GRACE: i64 = 60;

impl Replication {
    pub fn new(id: String) -> Replication {
        Replication {
            history: History::new(id),
            stream: None,
            replicas: Vec::new(),
            reservations: Vec::new(),
            rdb_channel_grace_seconds: RDB_CHANNEL_GRACE,
            failover: Failover::None,
            traces: Traces::default(),
            pause_after_fork: false,
            fields_expire_up_to: 0,
            selected_db: None,
            select_bytes: 0,
            no_replicas_since_seconds: 0,
            primary: None,
            cached: None,
            get_ack: false,
            good_replicas: 0,
            file_for_replicas: false,
            cron_loops: 0,
            down_since_seconds: 0,
            disk_error_logged_ms: 0,
            reconnect: false,
        }
    }

    /// Whether this server follows a primary.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.primary.is_some()
    }

    /// The id of the history that this server writes or follows.
    pub fn id(&self) -> &str {
        self.history.id()
    }

    /// How far that has got, in bytes.
    pub fn offset(&self) -> u64 {
        self.history.offset()
    }

    /// The same without the commands that select a database, for comparison with later.
    pub fn told_bytes(&self) -> u64 {
        self.offset().saturating_sub(self.select_bytes)
    }

    /// The history before the last change of primary.
    pub fn second_id(&self) -> &str {
        self.history.second_id()
    }

    /// Up to which byte, counted from 1, a replica may go on from that; -1: there was none.
    pub fn second_offset(&self) -> i64 {
        self.history.second_offset()
    }

    /// What of the stream is kept.
    pub fn stream(&self) -> Option<&ReplStream> {
        self.stream.as_ref()
    }

    /// The clients that are replicas.
    pub fn replicas(&self) -> &[Token] {
        &self.replicas
    }

    /// The primary that this server follows.
    pub fn primary(&self) -> Option<&PrimaryLink> {
        self.primary.as_deref()
    }

    /// How many replicas are online and lag no more than `min-replicas-max-lag`.
    pub(crate) fn good_replicas(&self) -> usize {
        self.good_replicas
    }

    /// For how many replicas a part of the stream is kept until they come for it.
    pub(crate) fn reserved(&self) -> usize {
        self.reservations.len()
    }

    pub(crate) fn failover(&self) -> &Failover {
        &self.failover
    }

    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Forgets what has been traced.
    pub(crate) fn reset_traces(&mut self) {
        self.traces.reset();
    }

    /// The offset at which a primary would be gone on with.
    pub(crate) fn cached_offset(&self) -> Option<u64> {
        self.cached.as_ref().map(|cached| cached.offset)
    }

    /// What this server holds is no part of the history that it follows now.
    pub(crate) fn forget_cached_primary(&mut self) {
        self.cached = None;
    }

    /// When the link to the primary went down, in seconds since 1970; `None`: it has not been up, or is.
    pub(crate) fn down_since_seconds(&self) -> Option<i64> {
        Some(self.down_since_seconds).filter(|since| *since > 0)
    }

    /// The database that the stream has selected; the first, if none.
    pub(crate) fn selected_db(&self) -> usize {
        self.selected_db.unwrap_or(0)
    }

    /// What comes next in the stream is to select its database.
    pub(crate) fn forget_selected_db(&mut self) {
        self.selected_db = None;
    }

    /// Heeds another `repl-backlog-size`.
    pub(crate) fn set_backlog_size(&mut self, bytes: u64) {
        if let Some(stream) = &mut self.stream {
            stream.set_backlog_size(bytes);
        }
    }

    /// `DEBUG PAUSE-AFTER-FORK`.
    pub(crate) fn set_pause_after_fork(&mut self, pauses: bool) {
        self.pause_after_fork = pauses;
    }

    /// For how many seconds the stream is kept for a replica whose RDB channel is closed.
    pub(crate) fn set_rdb_channel_grace(&mut self, seconds: i64) {
        self.rdb_channel_grace_seconds = seconds;
    }

    /// Has the replicas asked for acknowledgements before the loop sleeps.
    pub(crate) fn ask_for_acks(&mut self) {
        self.get_ack = true;
    }

    /// Whether it is time again to log that commands are applied which can't be written to disk.
    pub(crate) fn logs_disk_error(&mut self, now_ms: i64, every_ms: i64) -> bool {
        let is_due = now_ms > self.disk_error_logged_ms + every_ms;
        if is_due {
            self.disk_error_logged_ms = now_ms;
        }
        is_due
    }

    /// The replication cron has run.
    pub(crate) fn count_second(&mut self) {
        self.cron_loops += 1;
    }

    /// Starts a new history; the old one can't be continued.
    pub fn change_id(&mut self, id: String) {
        self.history.change_id(id);
    }

    /// Counts writes that no stream tells.
    pub(crate) fn count_untold(&mut self, commands: u64) {
        self.history.advance(commands);
    }

    /// Begins to keep the stream, from here on.
    fn create_stream(&mut self, backlog_size: u64) {
        self.stream = Some(ReplStream::new(self.offset(), backlog_size));
    }

    /// Appends a command that belongs to no database.
    fn feed_without_select(&mut self, args: &[&[u8]]) {
        let selected = self.selected_db.replace(0);
        self.feed(0, args);
        self.selected_db = selected;
    }

    /// Appends a command to the stream, with the database it belongs to.
    pub fn feed(&mut self, db: usize, args: &[&[u8]]) {
        if self.stream.is_none() {
            return;
        }
        let mut select = Vec::new();
        self.encode_select(db, &mut select);
        self.feed_bytes(&select);
        for_each_piece(args, |piece| self.feed_bytes(piece));
    }

    /// Appends a command to a part of the stream that will be fed, with the database it belongs to.
    pub fn encode(&mut self, db: usize, args: &[&[u8]], out: &mut Vec<u8>) {
        self.encode_select(db, out);
        encode_command(args, out);
    }

    fn encode_select(&mut self, db: usize, out: &mut Vec<u8>) {
        if self.selected_db != Some(db) {
            let mut digits = itoa::Buffer::new();
            let start = out.len();
            encode_command(&[b"SELECT", digits.format(db).as_bytes()], out);
            self.select_bytes += (out.len() - start) as u64;
            self.selected_db = Some(db);
        }
    }

    /// Appends bytes to the stream: a command, or what the primary sent.
    pub fn feed_bytes(&mut self, bytes: &[u8]) {
        self.history.advance(bytes.len() as u64);
        let is_followed = !self.replicas.is_empty() || !self.reservations.is_empty();
        if let Some(stream) = &mut self.stream {
            stream.append(bytes, is_followed);
        }
    }
}

/// What is known of a replica, from its first `REPLCONF` on.
pub(crate) fn replica_link(server: &mut Server, token: Token) -> &mut ReplicaLink {
    server.clients[token].replstate.get_or_insert_default()
}

/// The name that the log calls a replica by: the address it wants, the port it listens on.
pub(crate) fn replica_name(server: &Server, token: Token) -> String {
    let client = &server.clients[token];
    let peer = client.conn.peer(&server.unix_path());
    let Some(link) = &client.replstate else { return peer };
    let host = match client.conn.peer_ip() {
        _ if !link.announced.ip_address.is_empty() => link.announced.ip_address.clone(),
        Some(ip) => ip.to_string(),
        None => return format!("client id #{}", client.id),
    };
    if link.announced.listening_port == 0 {
        format!("{host}:<unknown-replica-port>")
    } else if host.contains(':') {
        format!("[{host}]:{}", link.announced.listening_port)
    } else {
        format!("{host}:{}", link.announced.listening_port)
    }
}
