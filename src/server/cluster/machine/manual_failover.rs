//! Failovers that somebody asks for.
//!
//! The replica tells its primary, which holds its clients' writes back and tells the offset that it has stopped at.
//! When the replica has got there, it asks for votes as after a failure, with a flag that says: the primary is up, and
//! that is all right. So no write is lost. With `FORCE` the primary is not asked; with `TAKEOVER` nobody is.

use super::{Action, Cluster, Facts, LinkId, NodeKey, Now, Todo};
use crate::bus::{Body, Kind};
use std::fmt;

/// Of a primary or a replica, while there is one.
#[derive(Clone, Debug, Default)]
pub struct ManualFailover {
    until_ms: Option<u64>,
    /// Of a primary: the replica that asked for it.
    replica: Option<NodeKey>,
    /// Of a replica: where the primary has stopped.
    primary_offset: Option<u64>,
    can_start: bool,
}

/// A manual failover that takes longer is given up.
fn timeout_ms(facts: &Facts) -> u64 {
    facts.config.cluster_manual_failover_timeout.into()
}

impl ManualFailover {
    pub(super) fn is_going_on(&self) -> bool {
        self.until_ms.is_some()
    }

    /// Whether the replica may ask for votes.
    pub(super) fn may_start(&self) -> bool {
        self.is_going_on() && self.can_start
    }

    /// Of a primary: the replica that is to take its place.
    pub(super) fn replica(&self) -> Option<NodeKey> {
        self.replica.filter(|_| self.is_going_on())
    }
}

/// What is asked of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverKind {
    /// In agreement with the primary.
    Plain,
    /// Without it, but with the others' votes.
    Force,
    /// Without anybody's.
    Takeover,
}

/// Why a failover can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverError {
    NotAReplica,
    UnknownPrimary,
    PrimaryIsDown,
}

impl fmt::Display for FailoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAReplica => "You should send CLUSTER FAILOVER to a replica",
            Self::UnknownPrimary => "I'm a replica but my master is unknown to me",
            Self::PrimaryIsDown => "Master is down or failed, please use CLUSTER FAILOVER FORCE",
        })
    }
}

impl Cluster {
    /// `CLUSTER FAILOVER`.
    ///
    /// # Errors
    /// If this is no replica, or one whose primary can't agree.
    pub fn failover(
        &mut self,
        kind: FailoverKind,
        now: Now,
        facts: &Facts,
    ) -> Result<(), FailoverError> {
        if !self.is_replica() {
            return Err(FailoverError::NotAReplica);
        }
        let primary = self.myself().primary.ok_or(FailoverError::UnknownPrimary)?;
        let node = &self.nodes[primary];
        if kind == FailoverKind::Plain && (node.has_failed() || node.link.is_none()) {
            return Err(FailoverError::PrimaryIsDown);
        }
        self.reset_manual_failover();
        self.manual.until_ms = Some(now.mono_ms + timeout_ms(facts));
        match kind {
            FailoverKind::Plain => {
                self.notice("Manual failover user request accepted.".into());
                self.send_to(primary, Body::ManualFailoverStart, facts);
            }
            FailoverKind::Force => {
                self.notice("Forced failover user request accepted.".into());
                self.manual.can_start = true;
                self.todo |= Todo::MANUAL_FAILOVER;
            }
            FailoverKind::Takeover => {
                self.notice("Taking over the master (user request).".into());
                self.bump_epoch();
                self.replace_primary(now, facts);
            }
        }
        Ok(())
    }

    /// A replica of this node asks to take its place.
    pub(super) fn receive_manual_failover_start(
        &mut self,
        link: LinkId,
        sender: NodeKey,
        now: Now,
        facts: &Facts,
    ) {
        if self.nodes[sender].primary != Some(self.nodes.my_key()) {
            return;
        }
        self.reset_manual_failover();
        self.manual.until_ms = Some(now.mono_ms + timeout_ms(facts));
        self.manual.replica = Some(sender);
        // For longer, so that none is accepted while the replica may still win.
        self.actions.push(Action::PauseWrites { until_ms: now.mono_ms + 2 * timeout_ms(facts) });
        let named = self.named(sender);
        self.notice(format!("Manual failover requested by replica {named}."));
        // It carries the offset that writes have stopped at.
        self.send_heartbeat(link, Kind::Ping, now, facts);
    }

    /// The primary holds writes back, and tells where it has stopped.
    pub(super) fn hear_paused_offset(&mut self, offset: u64) {
        if self.manual.is_going_on() && self.manual.primary_offset.is_none() {
            self.manual.primary_offset = Some(offset);
            self.todo |= Todo::MANUAL_FAILOVER;
            self.notice(format!(
                "Received replication offset for paused master manual failover: {offset}"
            ));
        }
    }

    /// Takes a replica's next step: has it got to where the primary has stopped?
    pub(super) fn advance_manual_failover(&mut self, facts: &Facts) {
        let Some(offset) = self.manual.primary_offset else { return };
        if !self.manual.is_going_on() || self.manual.can_start {
            return;
        }
        if offset == facts.offset {
            self.manual.can_start = true;
            self.todo |= Todo::FAILOVER;
            self.notice(
                "All master replication stream processed, manual failover can start.".into(),
            );
        } else {
            self.todo |= Todo::MANUAL_FAILOVER;
        }
    }

    /// Gives up a manual failover that takes too long.
    pub(super) fn expire_manual_failover(&mut self, now: Now) {
        if self.manual.until_ms.is_some_and(|until| until < now.mono_ms) {
            self.warn("Manual failover timed out.".into());
            self.reset_manual_failover();
        }
    }

    /// There is no manual failover any more; a primary lets its clients write again.
    pub(super) fn reset_manual_failover(&mut self) {
        if std::mem::take(&mut self.manual).replica.is_some() {
            self.actions.push(Action::Unpause);
        }
    }
}
