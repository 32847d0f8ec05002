//! Replication, in both roles, after `replication.c`'s states.
//!
//! * [`stream`]: what is replicated, written once, shared by the backlog and every replica.
//! * [`history`]: whose stream it is, and who may go on in it.
//! * [`primary`]: this server has replicas: handshake, snapshots, streaming, acknowledgements.
//! * [`replica`]: this server has a primary: its handshake, loading, following, resuming.
//!
//! * [`trace`]: what happened on each link, for `REPLTRACE`.
//! * [`failover`]: the role is handed over from one to the other.
//!
//! A replica is known by its connection and by nothing else: all that is known of it hangs on its client. `PSYNC`
//! carries no identity because none is needed.

pub mod failover;
pub(crate) mod history;
pub mod primary;
pub mod replica;
pub mod stream;
pub mod trace;
pub mod transfer;

use super::Server;
use super::client::Token;
use failover::Failover;
use history::History;
pub use history::NO_ID;
pub use primary::Excluded;
pub(crate) use primary::ReplicaLink;
use primary::dual_channel::Reservation;
use replica::{CachedPrimary, PrimaryLink};
use stream::Stream;
use trace::Traces;

/// The replication state of this server.
pub struct Replication {
    /// The history that this server writes or follows.
    history: History,
    /// `None` until the first replica comes.
    pub stream: Option<Stream>,
    pub replicas: Vec<Token>,
    /// Parts of the stream that are kept for replicas which will come for them.
    pub reservations: Vec<Reservation>,
    /// How long after its RDB channel was closed a replica may come, in seconds.
    pub rdb_channel_grace: i64,
    pub failover: Failover,
    pub traces: Traces,
    /// `DEBUG PAUSE-AFTER-FORK`: the process stops itself where a test wants to look at it.
    pub pause_after_fork: bool,
    /// Up to where in the stream fields got an expiry: replicas that don't know such fields can't follow from before.
    pub fields_expire_up_to: u64,
    /// The database that the stream has selected; `None`: the next command selects its own.
    pub selected_db: Option<usize>,
    /// Since when there has been no replica, in seconds since 1970.
    pub no_replicas_since: i64,
    /// The primary that this server follows.
    pub primary: Option<Box<PrimaryLink>>,
    /// The primary that this server followed until the link broke.
    pub cached: Option<CachedPrimary>,
    /// Replicas are to be asked for acknowledgements before the loop sleeps.
    pub get_ack: bool,
    /// Replicas that are online and lag no more than `min-replicas-max-lag`.
    pub good_replicas: usize,
    /// The snapshot file was written for replicas (`rdb-del-sync-files`).
    pub file_for_replicas: bool,
    /// Seconds of the replication cron.
    pub cron_loops: u64,
    /// When the link to the primary went down, in seconds since 1970; 0: it has not been up, or is.
    pub down_since: i64,
    /// When it was last logged that commands are applied which can't be written to disk, in milliseconds since 1970.
    pub disk_error_logged_ms: i64,
    /// The link to the primary broke in this turn of the loop.
    pub reconnect: bool,
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
            rdb_channel_grace: RDB_CHANNEL_GRACE,
            failover: Failover::None,
            traces: Traces::default(),
            pause_after_fork: false,
            fields_expire_up_to: 0,
            selected_db: None,
            no_replicas_since: 0,
            primary: None,
            cached: None,
            get_ack: false,
            good_replicas: 0,
            file_for_replicas: false,
            cron_loops: 0,
            down_since: 0,
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

    /// The history before the last change of primary.
    pub fn second_id(&self) -> &str {
        self.history.second_id()
    }

    /// Up to which byte, counted from 1, a replica may go on from that; -1: there was none.
    pub fn second_offset(&self) -> i64 {
        self.history.second_offset()
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
        self.stream = Some(Stream::new(self.offset(), backlog_size));
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
        let mut bytes = Vec::with_capacity(32 + args.iter().map(|a| a.len() + 16).sum::<usize>());
        self.encode(db, args, &mut bytes);
        self.feed_bytes(&bytes);
    }

    /// Appends a command to a part of the stream that will be fed, with the database it belongs to.
    pub fn encode(&mut self, db: usize, args: &[&[u8]], out: &mut Vec<u8>) {
        if self.selected_db != Some(db) {
            let mut digits = itoa::Buffer::new();
            encode_command(&[b"SELECT", digits.format(db).as_bytes()], out);
            self.selected_db = Some(db);
        }
        encode_command(args, out);
    }

    /// Appends bytes to the stream: a command, or what the primary sent.
    pub fn feed_bytes(&mut self, bytes: &[u8]) {
        self.history.advance(bytes.len() as u64);
        if let Some(stream) = &mut self.stream {
            stream.append(bytes);
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

/// A command as an array of bulk strings.
pub fn encode_command(args: &[&[u8]], out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(digits.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
