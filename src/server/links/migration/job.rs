//! One move of slots, as one of its two nodes sees it.

use super::walk::Walk;
use crate::bus::NodeId;
use crate::server::observe::log::Level;
use crate::server::token::Token;
use crate::util::slot_set::SlotSet;

/// Which side this node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Import,
    Export,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    // Importing.
    WaitAck,
    ReceiveSnapshot,
    WaitForPaused,
    FailoverRequested,
    /// What was imported is being deleted; then the job will have failed.
    CleaningUp,
    /// The primary of this replica imports; or it did before the process was started again.
    OnPrimary,
    // Exporting.
    Connecting,
    ReadAuth,
    ReadEstablish,
    Snapshotting,
    Streaming,
    WaitToPause,
    Paused,
    Granted,
    // Over.
    Success,
    Cancelled,
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::WaitAck => "waiting-for-ack",
            State::ReceiveSnapshot => "receiving-snapshot",
            State::WaitForPaused => "waiting-for-paused",
            State::FailoverRequested => "failover-requested",
            State::CleaningUp => "cleaning-up",
            State::OnPrimary => "occurring-on-primary",
            State::Connecting => "connecting",
            State::ReadAuth => "reading-auth-response",
            State::ReadEstablish => "reading-establish-response",
            State::Snapshotting => "snapshotting",
            State::Streaming => "replicating",
            State::WaitToPause => "waiting-to-pause",
            State::Paused => "failover-paused",
            State::Granted => "failover-granted",
            State::Success => "success",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
        }
    }

    /// It is kept only to be shown.
    pub fn is_over(self) -> bool {
        matches!(self, State::Success | State::Cancelled | State::Failed)
    }

    /// The slots may still move.
    pub fn is_in_progress(self) -> bool {
        !self.is_over() && self != State::CleaningUp
    }
}

/// What one side says to the other: a subcommand of `CLUSTER SYNCSLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Ack,
    SnapshotEof,
    RequestPause,
    Paused,
    RequestFailover,
    FailoverGranted,
}

impl Message {
    const ALL: [(Message, &str); 6] = [
        (Message::Ack, "ACK"),
        (Message::SnapshotEof, "SNAPSHOT-EOF"),
        (Message::RequestPause, "REQUEST-PAUSE"),
        (Message::Paused, "PAUSED"),
        (Message::RequestFailover, "REQUEST-FAILOVER"),
        (Message::FailoverGranted, "FAILOVER-GRANTED"),
    ];

    pub fn name(self) -> &'static str {
        Message::ALL[self as usize].1
    }

    pub fn named(name: &[u8]) -> Option<Message> {
        let mut all = Message::ALL.iter();
        all.find(|(_, n)| n.as_bytes().eq_ignore_ascii_case(name)).map(|&(message, _)| message)
    }
}

/// Whose a job's slots are, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Myself,
    Node(NodeId),
    /// Several nodes', or nobody's.
    NoSingle,
}

/// What a job must know of the rest.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub now_ms: i64,
    /// This node is a primary.
    pub is_primary: bool,
    /// Bytes that have not been sent to the other side.
    pub pending_bytes: usize,
    /// How long the other side may be silent, and how long writes are held back at most, in milliseconds.
    pub timeout_ms: i64,
    pub pause_ms: i64,
    /// Whether writes are still held back for slots that move.
    pub is_paused: bool,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Log(Level, String),
    Send(Message),
    /// Connects to the other node.
    Connect,
    /// Holds writes back until then, in milliseconds since 1970.
    Pause {
        until_ms: i64,
    },
    /// Lets writes go on, unless another job holds them back.
    Unpause,
    /// Makes the slots this node's.
    TakeOver,
    /// Deletes the keys of those slots that are not this node's.
    CleanUp,
    /// Shows the slots to clients, and tells replicas that the import is over.
    EndImport,
    /// Closes the connection to the other side.
    Close,
}

/// A move of slots.
#[derive(Debug)]
pub struct Job {
    /// 40 hexadecimal digits.
    pub name: String,
    pub operation: Operation,
    pub slots: SlotSet,
    /// The slots as they were asked for.
    pub ranges: String,
    /// `None`: unknown, on a replica of the target.
    pub source: Option<NodeId>,
    pub target: Option<NodeId>,
    /// For logs.
    pub description: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    /// When the other side was last heard of.
    pub heard_ms: i64,
    pub(super) sent_ack_ms: i64,
    pub state: State,
    pub message: Option<String>,
    /// The connection to the other side: token and id.
    pub client: Option<(Token, u64)>,
    /// Until when writes are held back for it, in milliseconds since 1970.
    pub(super) pause_until_ms: Option<i64>,
    /// How far the keys have been sent.
    pub(crate) walk: Option<Walk>,
    /// The database that the other side has selected.
    pub(crate) db: usize,
}

impl Job {
    pub fn new(
        operation: Operation,
        name: String,
        (slots, ranges): (SlotSet, String),
        (source, target): (Option<NodeId>, Option<NodeId>),
        now_ms: i64,
    ) -> Job {
        let (verb, role, peer) = match operation {
            Operation::Export => ("export", "target_node", target),
            Operation::Import => ("import", "source_node", source),
        };
        let peer = peer.map_or("unknown".into(), |id| id.to_string());
        let description =
            format!("{{name: {name}, operation: {verb}, {role}_id: {peer}, slots: {ranges}}}");
        let state = match (operation, source) {
            (Operation::Export, _) => State::Connecting,
            (Operation::Import, Some(_)) => State::WaitAck,
            (Operation::Import, None) => State::OnPrimary,
        };
        Job {
            name,
            operation,
            slots,
            ranges,
            source,
            target,
            description,
            created_ms: now_ms,
            updated_ms: now_ms,
            heard_ms: now_ms,
            sent_ack_ms: now_ms,
            state,
            message: None,
            client: None,
            pause_until_ms: None,
            walk: None,
            db: 0,
        }
    }

    /// Keys that have been sent, and all of them, while they are sent.
    pub fn keys_sent(&self) -> Option<(u64, u64)> {
        self.walk.as_ref().map(Walk::progress)
    }

    pub fn is_export(&self) -> bool {
        self.operation == Operation::Export
    }

    /// Whether writes are held back for it.
    pub fn pauses(&self) -> bool {
        self.pause_until_ms.is_some()
    }

    /// Whether all writes to its slots are to be sent on.
    pub fn wants_writes(&self) -> bool {
        use State::{Granted, Paused, Snapshotting, Streaming, WaitToPause};
        matches!(self.state, Snapshotting | Streaming | WaitToPause | Paused | Granted)
    }

    /// What the other side says.
    pub fn heard(&mut self, message: Message, facts: &Facts) -> Vec<Act> {
        if !self.state.is_in_progress() {
            return Vec::new();
        }
        self.heard_ms = facts.now_ms;
        let answer = match self.operation {
            Operation::Export => self.heard_by_source(message, facts),
            Operation::Import => self.heard_by_target(message, facts),
        };
        answer.unwrap_or_else(|| {
            let mut acts = vec![Act::Log(
                Level::Warning,
                format!(
                    "Received unexpected CLUSTER SYNCSLOTS {} for slot migration {}. Failing migration.",
                    message.name(),
                    self.description
                ),
            )];
            acts.extend(self.fail("Unexpected state machine transition", facts));
            acts
        })
    }

    /// Ten times a second, and before the loop sleeps.
    pub fn tick(&mut self, facts: &Facts) -> Vec<Act> {
        if self.state.is_in_progress() && self.is_silent(facts) {
            let text = format!(
                "Timing out slot migration {} after not receiving ack for too long",
                self.description
            );
            let mut acts = vec![Act::Log(Level::Warning, text)];
            acts.extend(self.fail("Timed out after too long with no interaction", facts));
            return acts;
        }
        match self.operation {
            Operation::Export => self.tick_source(facts),
            Operation::Import => self.tick_target(facts),
        }
    }

    fn is_silent(&self, facts: &Facts) -> bool {
        // What was granted may have happened: then the pause is what ends it.
        let is_waiting = !matches!(self.state, State::Granted | State::OnPrimary);
        is_waiting && facts.now_ms - self.heard_ms > facts.timeout_ms
    }

    /// An `ACK`, once a second.
    pub(super) fn acknowledge(&mut self, facts: &Facts) -> Vec<Act> {
        if facts.now_ms - self.sent_ack_ms < 1000 {
            return Vec::new();
        }
        self.sent_ack_ms = facts.now_ms;
        vec![Act::Send(Message::Ack)]
    }

    /// The connection to the other side is gone.
    pub fn lost(&mut self, facts: &Facts) -> Vec<Act> {
        self.client = None;
        if !self.state.is_in_progress() || self.state == State::OnPrimary {
            return Vec::new();
        }
        let text = format!("Slot migration {} connection lost", self.description);
        let mut acts = vec![Act::Log(Level::Notice, text)];
        if self.state != State::Granted {
            let (side, other) =
                if self.is_export() { ("target", "target") } else { ("source", "source") };
            let message = format!(
                "Connection lost to {side}. Check CLUSTER GETSLOTMIGRATIONS on the {other} node for more information."
            );
            acts.extend(self.fail(&message, facts));
        }
        acts
    }

    /// Slots have other owners than before: whose this job's are now.
    pub fn owner_changed(&mut self, owner: Owner, facts: &Facts) -> Vec<Act> {
        if !self.state.is_in_progress() {
            return Vec::new();
        }
        match self.operation {
            Operation::Export => self.owner_changed_for_source(owner, facts),
            Operation::Import => self.owner_changed_for_target(owner, facts),
        }
    }

    pub fn fail(&mut self, message: &str, facts: &Facts) -> Vec<Act> {
        self.finish(State::Failed, Some(message), facts)
    }

    /// Ends the job. A primary that has not imported all has to delete what it got first.
    pub fn finish(&mut self, outcome: State, message: Option<&str>, facts: &Facts) -> Vec<Act> {
        self.message = message.map(str::to_string);
        let mut acts = Vec::new();
        let imports = !self.is_export();
        if imports
            && facts.is_primary
            && outcome != State::Success
            && self.state != State::CleaningUp
        {
            self.enter(State::CleaningUp, facts, &mut acts);
            acts.extend([Act::Close, Act::CleanUp]);
        }
        self.enter(outcome, facts, &mut acts);
        acts.push(Act::Close);
        self.walk = None;
        let level = if outcome == State::Failed { Level::Warning } else { Level::Notice };
        acts.push(Act::Log(
            level,
            format!(
                "Slot migration {} finished. State: {}, Message: {}",
                self.description,
                outcome.name(),
                self.message.as_deref().unwrap_or("none")
            ),
        ));
        if self.pause_until_ms.take().is_some() {
            acts.push(Act::Unpause);
        }
        if imports {
            acts.push(Act::EndImport);
        }
        acts
    }

    pub(super) fn enter(&mut self, state: State, facts: &Facts, acts: &mut Vec<Act>) {
        acts.push(Act::Log(
            Level::Notice,
            format!(
                "Slot migration {} state transition: {} -> {}",
                self.description,
                self.state.name(),
                state.name()
            ),
        ));
        (self.state, self.updated_ms) = (state, facts.now_ms);
    }
}
