//! The target's side of a move.

use super::job::{Act, Facts, Job, Message, Owner, State};
use crate::server::observe::log::Level;

impl Job {
    pub(super) fn heard_by_target(&mut self, message: Message, facts: &Facts) -> Option<Vec<Act>> {
        let mut acts = Vec::new();
        match (message, self.state) {
            (Message::Ack, State::WaitAck) => self.enter(State::ReceiveSnapshot, facts, &mut acts),
            (Message::Ack, _) => {}
            (Message::SnapshotEof, State::ReceiveSnapshot) => {
                let text = format!(
                    "Slot migration {} successfully received slot snapshot. Beginning incremental stream...",
                    self.description
                );
                acts.extend([Act::Log(Level::Notice, text), Act::Send(Message::RequestPause)]);
                self.enter(State::WaitForPaused, facts, &mut acts);
            }
            (Message::Paused, State::WaitForPaused) => {
                acts.push(Act::Send(Message::RequestFailover));
                self.enter(State::FailoverRequested, facts, &mut acts);
            }
            (Message::FailoverGranted, State::FailoverRequested) => {
                let text = format!(
                    "Slot migration {} completed successfully. This node is now the owner of the slots",
                    self.description
                );
                acts.extend([Act::TakeOver, Act::Log(Level::Notice, text)]);
                acts.extend(self.finish(State::Success, None, facts));
            }
            _ => return None,
        }
        Some(acts)
    }

    pub(super) fn tick_target(&mut self, facts: &Facts) -> Vec<Act> {
        match self.state {
            // It was the primary's, or the old process's, and is now nobody's.
            State::OnPrimary if facts.is_primary => {
                self.fail("A failover occurred during slot import", facts)
            }
            State::OnPrimary | State::WaitAck => Vec::new(),
            // What is to be deleted is the new primary's to say.
            state if state.is_in_progress() && !facts.is_primary => {
                let mut acts = Vec::new();
                self.enter(State::OnPrimary, facts, &mut acts);
                acts.push(Act::Close);
                acts
            }
            state if state.is_in_progress() => self.acknowledge(facts),
            _ => Vec::new(),
        }
    }

    pub(super) fn owner_changed_for_target(&mut self, owner: Owner, facts: &Facts) -> Vec<Act> {
        match owner {
            _ if self.source.is_none() || !facts.is_primary => Vec::new(),
            Owner::Node(id) if Some(id) == self.source => Vec::new(),
            Owner::Myself => {
                self.fail("Slots were unexpectedly assigned to myself during import", facts)
            }
            _ => self.fail("Slots are no longer owned by source node", facts),
        }
    }
}
