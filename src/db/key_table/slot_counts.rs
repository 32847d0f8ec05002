//! How many keys there are in each slot and in each run of neighbouring slots, and how many of them are marked.

use crate::db::order::RUN;
use crate::util::slot::SLOTS;
use std::mem;

/// How many runs of slots there are.
pub(super) const RUNS: usize = (SLOTS / RUN) as usize;

/// How many keys slots have, and how many of these are marked.
#[derive(Default)]
pub(super) struct SlotCounts {
    pub keys: Sums,
    pub marked: Sums,
}

/// The counts of one thing: of all slots, of each run of them, and of each slot.
pub(super) struct Sums {
    all: usize,
    runs: [usize; RUNS],
    /// Empty until something is counted.
    slots: Vec<usize>,
}

impl Default for Sums {
    fn default() -> Sums {
        Sums { all: 0, runs: [0; RUNS], slots: Vec::new() }
    }
}

impl Sums {
    pub fn all(&self) -> usize {
        self.all
    }

    #[inline]
    pub fn of(&self, slot: u16) -> usize {
        self.slots.get(usize::from(slot)).copied().unwrap_or(0)
    }

    #[inline]
    fn add(&mut self, slot: u16) {
        if self.slots.is_empty() {
            self.slots = vec![0; SLOTS.into()];
        }
        self.all += 1;
        self.runs[usize::from(slot / RUN)] += 1;
        self.slots[usize::from(slot)] += 1;
    }

    #[inline]
    fn subtract(&mut self, slot: u16) {
        self.all -= 1;
        self.runs[usize::from(slot / RUN)] -= 1;
        self.slots[usize::from(slot)] -= 1;
    }

    /// The run that has the `n`th of what is counted, and which one of the run's it is.
    pub fn run_of(&self, n: usize) -> Option<(usize, usize)> {
        let mut n = n;
        self.runs.iter().enumerate().find_map(|(run, &count)| match n.checked_sub(count) {
            None => Some((run, n)),
            Some(rest) => {
                n = rest;
                None
            }
        })
    }

    /// The first run from `run` on that has any.
    pub fn next_run(&self, run: usize) -> Option<usize> {
        (run..RUNS).find(|&run| self.runs[run] > 0)
    }

    /// The first slot from `slot` on that has any.
    pub fn next_slot(&self, slot: u16) -> Option<u16> {
        let mut from = slot;
        loop {
            let run = self.next_run((from / RUN).into())? as u16;
            let behind = (run + 1) * RUN;
            if let found @ Some(_) = (from.max(run * RUN)..behind).find(|&slot| self.of(slot) > 0) {
                return found;
            }
            from = behind;
        }
    }

    fn memory(&self) -> usize {
        mem::size_of_val(&*self.slots)
    }
}

impl SlotCounts {
    pub fn change_mark(&mut self, slot: u16, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.marked.add(slot),
            (true, false) => self.marked.subtract(slot),
            _ => {}
        }
    }

    #[inline]
    pub fn insert(&mut self, slot: u16, marked: bool) {
        self.keys.add(slot);
        self.change_mark(slot, false, marked);
    }

    #[inline]
    pub fn remove(&mut self, slot: u16, marked: bool) {
        self.keys.subtract(slot);
        self.change_mark(slot, marked, false);
    }

    /// Bytes beside its own.
    pub fn memory(&self) -> usize {
        self.keys.memory() + self.marked.memory()
    }
}
