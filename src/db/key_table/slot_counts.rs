//! How many keys there are in runs of neighbouring slots, and how many of them are marked.

use crate::util::slot::SLOTS;

/// Slots that are counted together, and how many such runs there are.
const RUN: usize = 128;
const RUNS: usize = SLOTS as usize / RUN;

/// How many keys the runs of slots have, and how many of these are marked.
pub(super) struct SlotCounts {
    pub keys: Sums,
    pub marked: Sums,
}

/// The counts of one thing: of all slots, and of each run of them.
pub(super) struct Sums {
    pub all: usize,
    runs: [usize; RUNS],
}

impl Sums {
    const NONE: Sums = Sums { all: 0, runs: [0; RUNS] };

    #[inline]
    pub fn add(&mut self, slot: u16, count: usize) {
        self.all += count;
        self.runs[usize::from(slot) / RUN] += count;
    }

    #[inline]
    pub fn subtract(&mut self, slot: u16, count: usize) {
        self.all -= count;
        self.runs[usize::from(slot) / RUN] -= count;
    }

    /// The slot of the `n`th that is counted, if `of_slot` says how many each slot has.
    pub fn slot_of(&self, mut n: usize, of_slot: impl Fn(u16) -> usize) -> Option<u16> {
        let mut passes = |count: usize| match n.checked_sub(count) {
            Some(rest) => {
                n = rest;
                true
            }
            None => false,
        };
        let run = self.runs.iter().position(|&count| !passes(count))?;
        let mut slots = (run * RUN) as u16..((run + 1) * RUN) as u16;
        slots.find(|&slot| !passes(of_slot(slot)))
    }

    /// The first slot from `slot` on for which `has_any`.
    pub fn next_slot(&self, slot: usize, has_any: impl Fn(u16) -> bool) -> Option<u16> {
        let mut slot = slot;
        while slot < usize::from(SLOTS) {
            if self.runs[slot / RUN] == 0 {
                slot = (slot / RUN + 1) * RUN;
            } else if has_any(slot as u16) {
                return Some(slot as u16);
            } else {
                slot += 1;
            }
        }
        None
    }
}

impl SlotCounts {
    pub const NONE: SlotCounts = SlotCounts { keys: Sums::NONE, marked: Sums::NONE };

    pub fn change_mark(&mut self, slot: u16, before: bool, after: bool) {
        self.marked.subtract(slot, usize::from(before));
        self.marked.add(slot, usize::from(after));
    }

    pub fn insert(&mut self, slot: u16, marked: bool) {
        self.keys.add(slot, 1);
        self.marked.add(slot, usize::from(marked));
    }

    pub fn remove(&mut self, slot: u16, marked: bool) {
        self.keys.subtract(slot, 1);
        self.marked.subtract(slot, usize::from(marked));
    }
}
