//! What `CLUSTERTRACE` shows of the past: what this node has said of failures, votes and moves, when, and why each slot
//! belongs to whom it belongs to. Bounded: steps, and changes of slots.

use super::Now;
use crate::bus::NodeId;
use crate::util::slot_set::SlotSet;
use std::collections::VecDeque;

/// Steps remembered.
const MAX_STEPS: usize = 256;
/// Changes of slots remembered, each of any number of slots.
const MAX_CHANGES: usize = 64;
/// Bytes of a step's text.
const MAX_TEXT: usize = 400;
/// Slots that change for the same reason are one change for so many milliseconds.
const SAME_CHANGE_MS: i64 = 60_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds since 1970; if it happened several times in a row, the last time.
    pub at_ms: i64,
    pub text: String,
    /// How often in a row it happened.
    pub times: u32,
}

/// Why a slot has another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotReason {
    /// It was in `nodes.conf`.
    Loaded,
    /// `CLUSTER ADDSLOTS`, `DELSLOTS` or `FLUSHSLOTS`.
    Assigned,
    /// `CLUSTER SETSLOT`.
    SetSlot,
    /// `CLUSTER RESET`.
    Reset,
    /// Its owner is none any more, or was forgotten.
    Released,
    /// The new owner has claimed it, with this epoch.
    Claimed { epoch: u64 },
    /// This node has taken its primary's place, with this epoch.
    TookOver { epoch: u64 },
    /// It was sent here with all its keys, and this node has claimed it, with this epoch.
    Migrated { epoch: u64 },
    /// The node that it was being imported from has let go of it.
    LetGo,
}

/// Slots that changed their owner together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// Milliseconds since 1970, of the last of them.
    pub at_ms: i64,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    pub reason: SlotReason,
    pub slots: SlotSet,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    now_ms: i64,
    steps: VecDeque<Step>,
    /// Steps that are not remembered any more.
    forgotten: u64,
    changes: VecDeque<SlotChange>,
}

impl Trace {
    /// What is noted from now on happens at this time.
    pub(super) fn at(&mut self, now: Now) {
        self.now_ms = now.wall_ms;
    }

    pub(super) fn note(&mut self, text: &str) {
        let text: String = text.chars().take(MAX_TEXT).collect();
        if let Some(last) = self.steps.back_mut().filter(|last| last.text == text) {
            last.times = last.times.saturating_add(1);
            last.at_ms = self.now_ms;
            return;
        }
        if self.steps.len() == MAX_STEPS {
            self.steps.pop_front();
            self.forgotten += 1;
        }
        self.steps.push_back(Step { at_ms: self.now_ms, text, times: 1 });
    }

    pub(super) fn slot_moved(
        &mut self,
        slot: u16,
        from: Option<NodeId>,
        to: Option<NodeId>,
        reason: SlotReason,
    ) {
        let at_ms = self.now_ms;
        if let Some(last) = self.changes.back_mut()
            && (last.from, last.to, last.reason) == (from, to, reason)
            && at_ms - last.at_ms < SAME_CHANGE_MS
        {
            last.at_ms = at_ms;
            last.slots.insert(slot);
            return;
        }
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
        }
        let slots = SlotSet::from_iter([slot]);
        self.changes.push_back(SlotChange { at_ms, from, to, reason, slots });
    }

    /// The oldest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// Steps that are not remembered any more.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The last change of each slot that is remembered, the newest first: no slot is in two of them.
    pub fn last_changes(&self) -> Vec<SlotChange> {
        let mut seen = SlotSet::default();
        let mut last = Vec::new();
        for change in self.changes.iter().rev() {
            let slots: SlotSet = change.slots.iter().filter(|&slot| seen.insert(slot)).collect();
            if !slots.is_empty() {
                last.push(SlotChange { slots, ..change.clone() });
            }
        }
        last
    }

    /// Forgets the steps. Why slots are where they are stays known.
    pub(super) fn reset(&mut self) {
        self.steps.clear();
        self.forgotten = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(trace: &mut Trace, wall_ms: i64) {
        trace.at(Now { wall_ms, mono_ms: 0 });
    }

    #[test]
    fn the_last_change_of_each_slot_is_known() {
        let (a, b) = (NodeId::from_random([1; 20]), NodeId::from_random([2; 20]));
        let mut trace = Trace::default();
        (0..100).for_each(|slot| trace.slot_moved(slot, None, Some(a), SlotReason::Assigned));
        at(&mut trace, 1000);
        for slot in 50..60 {
            trace.slot_moved(slot, Some(a), Some(b), SlotReason::Claimed { epoch: 3 });
        }
        let changes = trace.last_changes();
        let shown: Vec<_> = changes.iter().map(|c| (c.at_ms, c.to, c.slots.ranges())).collect();
        assert_eq!(shown, [(1000, Some(b), vec![50..=59]), (0, Some(a), vec![0..=49, 60..=99])]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut trace = Trace::default();
        for number in 0..1000 {
            at(&mut trace, number);
            trace.note(&format!("{number} {}", "x".repeat(1000)));
            trace.note("again");
            trace.note("again");
            let reason = SlotReason::Claimed { epoch: number as u64 };
            trace.slot_moved(number as u16, None, None, reason);
        }
        assert_eq!((trace.steps().count(), trace.forgotten()), (MAX_STEPS, 2000 - 256));
        let last = trace.steps().last().unwrap();
        assert_eq!((last.at_ms, last.text.as_str(), last.times), (999, "again", 2));
        assert_eq!(trace.last_changes().len(), MAX_CHANGES);
    }
}
