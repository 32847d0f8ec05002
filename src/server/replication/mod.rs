//! Replication, in both roles, after `replication.c`'s states.
//!
//! * [`stream`]: what is replicated, written once, shared by the backlog and every replica.
//! * [`primary`]: this server has replicas: handshake, snapshots, streaming, acknowledgements.
//! * [`replica`]: this server has a primary: its handshake, loading, following, resuming.
//!
//! * [`trace`]: what happened on each link, for `REPLTRACE`.
//! * [`failover`]: the role is handed over from one to the other.
//!
//! A replica is known by its connection and by nothing else: all that is known of it hangs on its client. `PSYNC`
//! carries no identity because none is needed.

pub mod failover;
pub mod primary;
pub mod replica;
pub mod stream;
pub mod trace;
pub mod transfer;

use super::client::Token;
use crate::rdb::writer::RdbVersion;
use bitflags::bitflags;
use failover::Failover;
use primary::dual_channel::Reservation;
use replica::{CachedPrimary, PrimaryLink};
use stream::Stream;
use trace::Traces;
use transfer::Transfer;

/// Where a replica of ours is. The connection that said `PSYNC` goes through these states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplState {
    /// Needs a snapshot that has not been started.
    WaitBgsaveStart,
    /// Its snapshot is being made.
    WaitBgsaveEnd,
    /// Its snapshot is being sent.
    SendBulk,
    /// Receives the stream.
    Online,
    /// Receives the stream while its snapshot travels on a connection of its own.
    BgTransfer,
    /// Wanted a snapshot only, and has it.
    RdbTransmitted,
}

impl ReplState {
    /// As `INFO replication` and `ROLE` print it.
    pub fn name(self) -> &'static str {
        match self {
            ReplState::WaitBgsaveStart | ReplState::WaitBgsaveEnd => "wait_bgsave",
            ReplState::SendBulk => "send_bulk",
            ReplState::Online => "online",
            ReplState::BgTransfer => "bg_transfer",
            ReplState::RdbTransmitted => "rdb_transmitted",
        }
    }
}

bitflags! {
    /// What a replica said that it can do (`REPLCONF capa`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Capabilities: u8 {
        /// Reads a snapshot of unknown length, up to an end mark.
        const EOF = 1;
        /// Understands `+CONTINUE <new id>`.
        const PSYNC2 = 2;
        /// Takes the snapshot on a connection of its own.
        const DUAL_CHANNEL = 4;
        /// The same in another way, which is not offered: it tells that the replica is a Redis 8.
        const RDB_CHANNEL = 8;
    }
}

bitflags! {
    /// What a snapshot for a replica is to be without (`REPLCONF rdb-filter-only` names what it is to have).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Excluded: u8 {
        const DATA = 1;
        const FUNCTIONS = 2;
    }
}

/// What is known of a replica.
#[derive(Debug, Default)]
pub struct ReplicaLink {
    /// `None` until `PSYNC` or `SYNC`: so far there was only `REPLCONF`.
    pub state: Option<ReplState>,
    pub listening_port: u16,
    /// The address that the replica wants to be known by; empty: its socket's.
    pub ip_address: String,
    pub capabilities: Capabilities,
    pub version: u32,
    pub excluded: Excluded,
    /// This connection is for the snapshot; the stream goes over another.
    pub rdb_channel: bool,
    /// The id of the client that is this replica's RDB channel.
    pub rdb_client: Option<u64>,
    /// How much of the stream has been sent: the offset of the next byte.
    pub cursor: u64,
    /// How much of it the replica says it has applied, and has made durable; `acknowledged`: it has said anything yet.
    pub ack_offset: u64,
    pub aof_ack_offset: Option<u64>,
    pub acknowledged: bool,
    /// Seconds since 1970.
    pub ack_time: i64,
    /// The stream waits for the first acknowledgement: the end of a snapshot without length has to be found first.
    pub start_on_ack: bool,
    /// Where `REPLTRACE` remembers this connection.
    pub trace: Option<u64>,
    /// The snapshot on its way to this replica.
    pub transfer: Option<Transfer>,
}

/// The first Valkey in which fields of hashes expire. Redis announces no version.
const VALKEY_9: u32 = 0x09_00_00;

impl ReplicaLink {
    /// The version of RDB in which this replica reads hashes whose fields expire; `None`: there is none, and it does
    /// not know such fields. What listens on no port is no server, but a tool: it gets `own`.
    pub fn expiring_fields_version(&self, own: RdbVersion) -> Option<RdbVersion> {
        if self.version >= VALKEY_9 {
            Some(RdbVersion::Valkey80)
        } else if self.capabilities.contains(Capabilities::RDB_CHANNEL) {
            Some(RdbVersion::V12)
        } else {
            (self.listening_port == 0).then_some(own)
        }
    }

    /// Whether the replica says that it has applied the stream up to an offset. One that is online may still be loading
    /// its snapshot: what was written before there was a stream, at offset 0, is there with its first word and not
    /// before.
    pub fn has_applied(&self, offset: u64) -> bool {
        self.state == Some(ReplState::Online) && self.acknowledged && self.ack_offset >= offset
    }
}

/// The replication state of this server.
pub struct Replication {
    /// The history that this server writes or follows, and how far it has got, in bytes.
    pub id: String,
    pub offset: u64,
    /// The history before the last change of primary, valid up to an offset.
    pub id2: String,
    pub second_offset: Option<u64>,
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
/// The id of no history.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

impl Replication {
    pub fn new(id: String) -> Replication {
        Replication {
            id,
            offset: 0,
            id2: NO_ID.to_string(),
            second_offset: None,
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

    /// Starts a new history; the old one can't be continued.
    pub fn change_id(&mut self, id: String) {
        self.id = id;
        self.clear_second_id();
    }

    /// Starts a new history that continues the present one: replicas that have followed so far may go on.
    pub fn shift_id(&mut self, id: String) {
        self.id2 = std::mem::replace(&mut self.id, id);
        self.second_offset = Some(self.offset + 1);
    }

    pub fn clear_second_id(&mut self) {
        self.id2 = NO_ID.to_string();
        self.second_offset = None;
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
        self.offset += bytes.len() as u64;
        if let Some(stream) = &mut self.stream {
            stream.append(bytes);
        }
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
