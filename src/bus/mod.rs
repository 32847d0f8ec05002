//! The messages of the cluster bus: what nodes of a Redis Cluster tell each other, as bytes and as types.
//!
//! A message of version 1 is a header of 2256 bytes and a body; all numbers are big-endian:
//!
//! ```text
//!    0  "RCmb", length u32, version u16, port u16, kind u16, gossip entries u16
//!   16  current epoch u64, config epoch u64, replication offset u64, sender [40], slots [2048]
//! 2128  primary [40], ip [46], extensions u16, unused [30]
//! 2246  other port u16, bus port u16, node flags u16, state u8, message flags [3]
//! 2256  body
//! ```
//!
//! Valkey 8 has a light header for what is published: the first 16 bytes, the highest bit of the kind set, and then
//! the body. It may be sent to a node whose flags say that it reads them.
//!
//! No sockets and no state here: [`Message::encode`] appends bytes, [`frame_length`] tells where a message ends, and
//! [`Message::decode`] believes nothing that the bytes do not hold.

mod decode;
mod encode;
mod node_id;

pub use decode::{DecodeError, FRAME_PREFIX_BYTES, FrameError, frame_length};
pub use node_id::{NODE_ID_BYTES, NodeId, NotANodeId};

use crate::util::slot_set::{SLOT_SET_BYTES, SlotSet};
use bitflags::bitflags;

/// The version of the bus that is spoken here.
const VERSION: u16 = 1;
const SIGNATURE: [u8; 4] = *b"RCmb";
/// Bytes of a header, and of a light one.
const HEADER_BYTES: usize = 2256;
const LIGHT_HEADER_BYTES: usize = 16;
/// The bit of a kind that says: the header is a light one.
const LIGHT: u16 = 0x8000;
/// Bytes of an address, padded with zeros.
const IP_BYTES: usize = 46;
/// Bytes of one entry of gossip.
const GOSSIP_BYTES: usize = NODE_ID_BYTES + 8 + IP_BYTES + 10;
/// Bytes of an extension before its content.
const EXTENSION_HEADER_BYTES: usize = 8;
/// Bytes of the body of an `UPDATE`.
const UPDATE_BYTES: usize = 8 + NODE_ID_BYTES + SLOT_SET_BYTES;

/// Types of extensions.
mod extension {
    pub(super) const HOSTNAME: u16 = 0;
    pub(super) const HUMAN_NODENAME: u16 = 1;
    pub(super) const FORGOTTEN_NODE: u16 = 2;
    pub(super) const SHARD_ID: u16 = 3;
    /// Valkey's. Redis 8 sends a secret of 40 letters under the same number.
    pub(super) const CLIENT_IPV4: u16 = 4;
    pub(super) const CLIENT_IPV6: u16 = 5;
    pub(super) const CLIENT_TCP_PORT: u16 = 6;
    pub(super) const CLIENT_TLS_PORT: u16 = 7;
    pub(super) const AVAILABILITY_ZONE: u16 = 8;
}

/// What one node tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Full {
        header: Box<Header>,
        body: Body,
    },
    /// With the light header, which says nothing of its sender: the link tells who that is.
    Light(Publication),
}

/// What a node says of itself with each message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The newest epoch that it has heard of.
    pub current_epoch: u64,
    /// The epoch of its slots; of a replica: of its primary's.
    pub config_epoch: u64,
    /// How far its replication has got, in bytes.
    pub offset: u64,
    /// `None` only in a message that lies.
    pub sender: Option<NodeId>,
    /// Its slots; of a replica: its primary's.
    pub slots: SlotSet,
    /// Whose replica it is.
    pub primary: Option<NodeId>,
    /// The address that it announces; empty: the one that the link comes from.
    pub ip: String,
    /// Where its clients connect: with TLS if its bus uses TLS.
    pub port: u16,
    /// The other port for clients, without TLS or with; 0: none.
    pub other_port: u16,
    pub bus_port: u16,
    pub flags: NodeFlags,
    /// Whether the cluster is down, as it sees it.
    pub is_cluster_down: bool,
    pub message_flags: MessageFlags,
}

bitflags! {
    /// What is known of a node, as `CLUSTER_NODE_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct NodeFlags: u16 {
        const PRIMARY = 1;
        const REPLICA = 1 << 1;
        /// It may have failed, as the node that says so sees it.
        const PFAIL = 1 << 2;
        /// It has failed, as the majority sees it.
        const FAIL = 1 << 3;
        const MYSELF = 1 << 4;
        /// The first `PING` is still to be exchanged.
        const HANDSHAKE = 1 << 5;
        const NO_ADDRESS = 1 << 6;
        /// It is to be sent a `MEET`.
        const MEET = 1 << 7;
        /// A primary that orphaned replicas may move to.
        const MIGRATE_TO = 1 << 8;
        /// A replica that will not try to become primary.
        const NO_FAILOVER = 1 << 9;
        /// It reads extensions (Valkey 8).
        const EXTENSIONS = 1 << 10;
        /// It reads light headers of what is published (Valkey 8).
        const LIGHT_PUBLISH = 1 << 11;
        /// It reads light headers of modules' messages (Valkey 9).
        const LIGHT_MODULE = 1 << 12;
    }
}

bitflags! {
    /// What a message says of itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MessageFlags: u8 {
        /// A primary that has paused its clients for a manual failover.
        const PAUSED = 1;
        /// A vote is to be given even though the primary is up.
        const FORCE_ACK = 1 << 1;
        /// There are extensions, or the sender reads them.
        const EXTENSIONS = 1 << 2;
    }
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Ping(Heartbeat),
    Pong(Heartbeat),
    /// A `PING` by which whoever gets it knows the sender from then on.
    Meet(Heartbeat),
    /// This node has failed.
    Fail(NodeId),
    Publish(Publication),
    AuthRequest,
    AuthAck,
    /// A node's slots, of which the receiver knows less.
    Update {
        node: NodeId,
        config_epoch: u64,
        slots: SlotSet,
    },
    /// A replica asks its primary to pause clients for a manual failover.
    ManualFailoverStart,
    Module,
    /// A kind that is not known here.
    Unknown(u16),
}

/// What is told in a `PING`, `PONG` or `MEET`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    pub gossip: Vec<Gossip>,
    pub extensions: Extensions,
}

/// What the sender knows of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    pub node: NodeId,
    /// When it was sent a `PING` that it has not answered, in seconds of the wall clock; 0: none.
    pub ping_sent_s: u32,
    /// When it last answered one.
    pub pong_received_s: u32,
    pub ip: String,
    /// As in [`Header`].
    pub port: u16,
    pub other_port: u16,
    pub bus_port: u16,
    pub flags: NodeFlags,
}

/// What a message carries for those that announced to read it. Of an extension that is not known here nothing stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub hostname: Option<String>,
    pub human_nodename: Option<String>,
    /// Addresses for clients. Only Valkey may be sent one: Redis 8 reads something else there.
    pub client_ipv4: Option<String>,
    pub client_ipv6: Option<String>,
    /// Ports for clients; 0 is not sent.
    pub client_tcp_port: Option<u16>,
    pub client_tls_port: Option<u16>,
    pub availability_zone: Option<String>,
    pub forgotten: Vec<Forgotten>,
    pub shard_id: Option<NodeId>,
}

/// A node that was forgotten, and is not to be met again for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub node: NodeId,
    pub ttl_s: u64,
}

/// What is published to the subscribers of the whole cluster, or of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub is_sharded: bool,
    pub channel: Vec<u8>,
    pub message: Vec<u8>,
}

/// The kinds of messages, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Kind {
    Ping,
    Pong,
    Meet,
    Fail,
    Publish,
    AuthRequest,
    AuthAck,
    Update,
    ManualFailoverStart,
    Module,
    PublishShard,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 11] = [
        Kind::Ping,
        Kind::Pong,
        Kind::Meet,
        Kind::Fail,
        Kind::Publish,
        Kind::AuthRequest,
        Kind::AuthAck,
        Kind::Update,
        Kind::ManualFailoverStart,
        Kind::Module,
        Kind::PublishShard,
    ];

    fn from_number(number: u16) -> Option<Kind> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// As logs and `CLUSTER INFO` name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Pong => "pong",
            Kind::Meet => "meet",
            Kind::Fail => "fail",
            Kind::Publish => "publish",
            Kind::AuthRequest => "auth-req",
            Kind::AuthAck => "auth-ack",
            Kind::Update => "update",
            Kind::ManualFailoverStart => "mfstart",
            Kind::Module => "module",
            Kind::PublishShard => "publishshard",
        }
    }
}

impl Publication {
    fn kind(&self) -> Kind {
        if self.is_sharded { Kind::PublishShard } else { Kind::Publish }
    }
}

impl Body {
    /// `None`: a kind that is not known here.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Body::Ping(_) => Kind::Ping,
            Body::Pong(_) => Kind::Pong,
            Body::Meet(_) => Kind::Meet,
            Body::Fail(_) => Kind::Fail,
            Body::Publish(publication) => publication.kind(),
            Body::AuthRequest => Kind::AuthRequest,
            Body::AuthAck => Kind::AuthAck,
            Body::Update { .. } => Kind::Update,
            Body::ManualFailoverStart => Kind::ManualFailoverStart,
            Body::Module => Kind::Module,
            Body::Unknown(_) => return None,
        })
    }
}

impl Message {
    /// With the header that tells of its sender.
    pub fn full(header: Header, body: Body) -> Message {
        Message::Full { header: Box::new(header), body }
    }

    /// `None`: a kind that is not known here.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Message::Full { body, .. } => body.kind(),
            Message::Light(publication) => Some(publication.kind()),
        }
    }
}

#[cfg(test)]
mod tests;
