//! The source's side of a move.

use super::job::{Act, Facts, Job, Message, Owner, State};
use crate::server::observe::log::Level;

/// Bytes that may still be on their way when writes are held back, so that this does not take long.
const MOST_WHEN_PAUSED: usize = 64 * 1024;
/// How long the other nodes may take to hear who owns the slots now, in milliseconds.
const PROPAGATION_MS: i64 = 2000;

impl Job {
    /// The other side answered `AUTH`, or, if it was not asked for that, was reached.
    pub fn authenticated(&mut self, facts: &Facts) -> Vec<Act> {
        let mut acts = Vec::new();
        self.heard_ms = facts.now_ms;
        self.enter(State::ReadEstablish, facts, &mut acts);
        acts
    }

    /// The other side takes part: its keys follow.
    pub fn established(&mut self, facts: &Facts) -> Vec<Act> {
        let mut acts = vec![Act::Send(Message::Ack)];
        self.heard_ms = facts.now_ms;
        self.sent_ack_ms = facts.now_ms;
        self.enter(State::Snapshotting, facts, &mut acts);
        acts
    }

    /// All keys have been sent.
    pub fn snapshot_sent(&mut self, facts: &Facts) -> Vec<Act> {
        let mut acts = vec![Act::Send(Message::SnapshotEof)];
        self.enter(State::Streaming, facts, &mut acts);
        let text =
            format!("Slot migration {} snapshot finished, starting streaming.", self.description);
        acts.push(Act::Log(Level::Notice, text));
        acts
    }

    pub(super) fn heard_by_source(&mut self, message: Message, facts: &Facts) -> Option<Vec<Act>> {
        match (message, self.state) {
            (Message::Ack, _) => Some(Vec::new()),
            (Message::RequestPause, State::Streaming) => {
                let mut acts = Vec::new();
                self.enter(State::WaitToPause, facts, &mut acts);
                acts.extend(self.try_to_pause(facts));
                Some(acts)
            }
            (Message::RequestFailover, State::Paused) => Some(self.grant(facts)),
            _ => None,
        }
    }

    fn try_to_pause(&mut self, facts: &Facts) -> Vec<Act> {
        if facts.pending_bytes > MOST_WHEN_PAUSED {
            return Vec::new();
        }
        let until_ms = facts.now_ms + facts.pause_ms;
        self.pause_until_ms = Some(until_ms);
        let text = format!(
            "Pausing writes (remaining_repl_size is {}) to allow slot migration {} to finalize failover.",
            facts.pending_bytes, self.description
        );
        let mut acts = vec![
            Act::Log(Level::Notice, text),
            Act::Pause { until_ms },
            Act::Send(Message::Paused),
        ];
        self.enter(State::Paused, facts, &mut acts);
        acts
    }

    fn is_unpaused(&self, facts: &Facts) -> bool {
        !facts.is_paused || self.pause_until_ms.is_none_or(|until| until < facts.now_ms)
    }

    fn grant(&mut self, facts: &Facts) -> Vec<Act> {
        if self.is_unpaused(facts) {
            return self.fail("Unpaused before failover completed", facts);
        }
        let until_ms = self.pause_until_ms.unwrap_or(0).max(facts.now_ms + PROPAGATION_MS);
        self.pause_until_ms = Some(until_ms);
        let mut acts = vec![Act::Pause { until_ms }, Act::Send(Message::FailoverGranted)];
        self.enter(State::Granted, facts, &mut acts);
        acts
    }

    pub(super) fn tick_source(&mut self, facts: &Facts) -> Vec<Act> {
        match self.state {
            State::Connecting if self.client.is_none() => vec![Act::Connect],
            State::WaitToPause => {
                let mut acts = self.try_to_pause(facts);
                acts.extend(self.acknowledge(facts));
                acts
            }
            State::Paused if self.is_unpaused(facts) => {
                self.fail("Timed out before streaming completed", facts)
            }
            // The slots may be the other node's already, though nobody has told: then what is written from now on is
            // lost when that becomes known.
            State::Granted if self.is_unpaused(facts) => {
                let text = format!(
                    "Write loss risk! During slot migration {}, new owner did not broadcast ownership before we \
                     unpaused ourselves. Any writes we have recorded since unpausing may be lost!",
                    self.description
                );
                let mut acts = vec![Act::Log(Level::Warning, text)];
                acts.extend(self.fail(
                    "Unpaused before migration completed (migration may have succeeded with lost writes)",
                    facts,
                ));
                acts
            }
            State::Snapshotting | State::Streaming | State::Paused => self.acknowledge(facts),
            _ => Vec::new(),
        }
    }

    pub(super) fn owner_changed_for_source(&mut self, owner: Owner, facts: &Facts) -> Vec<Act> {
        match owner {
            Owner::Myself => Vec::new(),
            Owner::Node(id) if Some(id) == self.target => {
                let text = format!(
                    "Slot migration {} slots are now owned by target node.",
                    self.description
                );
                let mut acts = vec![Act::Log(Level::Notice, text)];
                acts.extend(self.finish(State::Success, None, facts));
                acts
            }
            _ => {
                let text = format!(
                    "Slot migration {} contains slots that are no longer all owned by myself",
                    self.description
                );
                let mut acts = vec![Act::Log(Level::Warning, text)];
                acts.extend(self.fail("Slots are no longer owned by myself", facts));
                acts
            }
        }
    }
}
