//! What the machine asks of whoever drives it, and what it is told of the world.

use crate::bus::Message;
use crate::server::config::Config;
use crate::server::observe::log::Level;
use crate::util::slot_set::SlotSet;

/// A connection of the bus. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The time, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970: for what others are shown and told.
    pub wall_ms: i64,
    /// Milliseconds of a clock that never jumps: for all that is waited for.
    pub mono_ms: u64,
}

impl Now {
    /// Milliseconds since `then`; endless if that never was.
    pub(super) fn since(self, then: Option<u64>) -> u64 {
        then.map_or(u64::MAX, |then| self.mono_ms.saturating_sub(then))
    }

    /// Milliseconds since `then`; endless if that never was.
    pub fn since_seen(self, then: Option<Now>) -> u64 {
        self.since(then.map(|then| then.mono_ms))
    }

    /// When something was, in milliseconds since 1970; 0: never.
    pub(super) fn wall_of(self, then: Option<u64>) -> i64 {
        then.map_or(0, |then| self.wall_ms - self.mono_ms.saturating_sub(then) as i64)
    }
}

/// What the machine must know of the rest of the server.
pub struct Facts<'a> {
    pub config: &'a Config,
    /// How far this node's data goes in the stream that its shard shares.
    pub offset: u64,
    /// Whether the server replicates another.
    pub follows: bool,
    /// How long ago the primary was last heard of, in milliseconds; 0 for a primary.
    pub data_age_ms: u64,
    /// How many keys a slot holds.
    pub keys_in_slot: &'a dyn Fn(u16) -> usize,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Opens a connection to a node's bus; `Cluster::link_up` or `link_down` is to be called.
    Connect {
        link: LinkId,
        ip: String,
        bus_port: u16,
    },
    /// Closes a connection; the machine knows it no longer.
    Close(LinkId),
    /// Sends a message over connections that are up.
    Send {
        to: Vec<LinkId>,
        message: Box<Message>,
    },
    /// Writes `nodes.conf`; `durably`: before anything that follows.
    Save {
        durably: bool,
    },
    /// Follows a primary at this address; `full`: what this node holds is of another history, so that a full
    /// synchronization is needed.
    Follow {
        ip: String,
        port: u16,
        full: bool,
    },
    /// Follows nobody any more.
    Promote,
    /// Holds clients' writes back, until then by the clock that never jumps.
    PauseWrites {
        until_ms: u64,
    },
    /// Lets them go on.
    Unpause,
    /// Deletes the keys of a slot that another node owns now.
    DropSlotKeys(u16),
    /// Deletes all keys.
    Flush,
    /// These slots have left their owners: blocked clients and subscribers of shards may be in the wrong place.
    SlotsChanged(Box<SlotSet>),
    /// A message for subscribers here.
    Publish {
        shard: bool,
        channel: Vec<u8>,
        message: Vec<u8>,
    },
    Log(Level, String),
}

impl Action {
    /// Whether keys go, or come from another node.
    pub(super) fn changes_data(&self) -> bool {
        use Action::{DropSlotKeys, Flush, Follow, Promote};
        matches!(self, DropSlotKeys(_) | Flush | Follow { .. } | Promote)
    }
}
