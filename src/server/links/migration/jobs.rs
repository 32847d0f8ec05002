//! All moves of slots that this node takes part in, and those that are over, to be shown.

use super::job::Job;
use super::walk::Walk;
use crate::server::token::Token;
use crate::util::slot_set::SlotSet;
use std::collections::BTreeMap;

/// The moves, the newest first.
#[derive(Debug, Default)]
pub struct Jobs {
    all: Vec<Job>,
    /// Slots that have left with their keys still here, which are being deleted, and how far that has come.
    pub(crate) leftovers: BTreeMap<u16, Walk>,
    /// Whether any job wants the writes to its slots.
    wants_writes: bool,
    /// What has happened since this was asked last.
    news: News,
    loaded: Loaded,
}

/// What has happened to moves.
#[derive(Debug, Default)]
pub struct News {
    /// Slots have other owners.
    pub owners_changed: bool,
    /// All keys of a database were deleted.
    pub flushed: bool,
    /// What these clients, which import, sent could not be done; whether memory was short.
    pub errors: Vec<((Token, u64), bool)>,
}

/// What loading a snapshot means to moves.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The data that they are about is the snapshot's now.
    pub replaced: bool,
    /// Which slots were about to move, as the primary tells it.
    pub open: Option<Vec<u8>>,
    /// Those that were on their way to the snapshot's writer, with the names of their moves.
    pub imports: Vec<(String, SlotSet)>,
}

impl Jobs {
    /// Adds one. Those that are over are shown while there are no more than `most`.
    pub fn add(&mut self, job: Job, most: usize) {
        self.all.insert(0, job);
        let over = self.all.len().saturating_sub(most);
        for _ in 0..over {
            if let Some(oldest) = self.all.iter().rposition(|job| job.state.is_over()) {
                self.all.remove(oldest);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.all.iter()
    }

    pub fn named(&self, name: &str) -> Option<&Job> {
        self.all.iter().find(|job| job.name == name)
    }

    pub fn named_mut(&mut self, name: &str) -> Option<&mut Job> {
        self.all.iter_mut().find(|job| job.name == name)
    }

    /// The job whose connection a client is.
    pub fn of_client(&self, client: (Token, u64)) -> Option<&Job> {
        self.all.iter().find(|job| job.client == Some(client))
    }

    /// The names of those that are not over.
    pub fn unfinished(&self) -> Vec<String> {
        let unfinished = self.all.iter().filter(|job| !job.state.is_over());
        unfinished.map(|job| job.name.clone()).collect()
    }

    pub fn is_idle(&self) -> bool {
        self.leftovers.is_empty() && self.all.iter().all(|job| job.state.is_over())
    }

    /// Whether a slot is on its way from this node.
    pub fn exports(&self, slot: u16) -> bool {
        self.has(slot, true)
    }

    /// Whether a slot is on its way to this node.
    pub fn imports(&self, slot: u16) -> bool {
        self.has(slot, false)
    }

    /// The moves to this node, or to its primary, that are not over.
    pub fn imports_under_way(&self) -> impl Iterator<Item = &Job> {
        self.all.iter().filter(|job| !job.is_export() && !job.state.is_over())
    }

    /// Whether any slot is on its way to this node, or to its primary.
    pub fn imports_any(&self) -> bool {
        self.imports_under_way().next().is_some()
    }

    fn has(&self, slot: u16, export: bool) -> bool {
        let mut all = self.all.iter().filter(|job| !job.state.is_over());
        all.any(|job| job.is_export() == export && job.slots.contains(slot))
    }

    /// Whether any job wants the writes to its slots.
    #[inline]
    pub fn wants_writes(&self) -> bool {
        self.wants_writes
    }

    /// Jobs have changed: finds out what follows for all of them.
    pub fn note_states(&mut self) {
        self.wants_writes = self.all.iter().any(Job::wants_writes);
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.all.iter_mut()
    }

    pub fn note_owners_changed(&mut self) {
        self.news.owners_changed = true;
    }

    pub fn note_flush(&mut self) {
        self.news.flushed = true;
    }

    pub fn note_replaced(&mut self) {
        self.loaded.replaced = true;
    }

    /// Which slots a snapshot says were about to move, and which were on their way to its writer.
    pub fn note_loaded(&mut self, open: Option<Vec<u8>>, imports: Vec<(String, SlotSet)>) {
        (self.loaded.open, self.loaded.imports) = (open, imports);
    }

    pub fn take_loaded(&mut self) -> Loaded {
        std::mem::take(&mut self.loaded)
    }

    pub fn note_error(&mut self, client: (Token, u64), out_of_memory: bool) {
        self.news.errors.push((client, out_of_memory));
    }

    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Whether writes are held back.
    pub fn pauses(&self) -> bool {
        self.all.iter().any(Job::pauses)
    }
}
