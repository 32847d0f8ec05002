//! Memory: what the data and the clients may hold of it, and how it is given back.
//!
//! * [`defrag`]: values move while there are holes between them.
//! * [`evict`]: keys go while the data are over `maxmemory`.
//! * [`client_eviction`]: clients go while they hold more than `maxmemory-clients`.
//! * [`lazyfree`]: the thread that frees what is large.
//! * [`overhead`]: what is used for something else than keys and values.
//! * [`reclaim`]: when free memory is given back to the system.

pub(crate) mod client_eviction;
pub(crate) mod defrag;
pub(crate) mod evict;
pub(crate) mod lazyfree;
pub(crate) mod overhead;
pub(crate) mod reclaim;

use super::clients::Clients;
use super::config::Config;
use super::token::Token;
use crate::db::{Db, Entry};
use crate::sys::process::resident_memory;
use crate::sys::processors::Processors;
use crate::util::alloc;
use client_eviction::ClientMemory;
use defrag::Defrag;
use evict::Eviction;
use lazyfree::LazyFree;
use reclaim::Reclaim;

/// What is known of memory, and the thread that frees it.
#[derive(Default)]
pub(crate) struct Memory {
    lazyfree: LazyFree,
    reclaim: Reclaim,
    eviction: Eviction,
    clients: ClientMemory,
    defrag: Defrag,
}

impl Memory {
    pub fn new(config: &Config) -> Memory {
        let mut memory = Memory::default();
        memory.apply_config(config);
        memory
    }

    /// Heeds whether what clients hold is limited.
    pub fn apply_config(&mut self, config: &Config) {
        self.clients.set_limited(config.maxmemory_clients != 0);
    }

    /// Has the thread that frees run on these processors.
    pub fn set_processors(&mut self, processors: Option<Processors>) {
        self.lazyfree.set_processors(processors);
    }

    /// Frees an entry: see [`LazyFree::free_entry`].
    pub fn free_entry(&mut self, entry: Entry, lazy: bool) {
        self.lazyfree.free_entry(entry, lazy);
    }

    /// Frees whole databases: see [`LazyFree::free_databases`].
    pub fn free_databases(&mut self, dbs: Vec<Db>, lazy: bool) {
        self.lazyfree.free_databases(dbs, lazy);
    }

    /// The books of the thread that frees.
    pub fn lazyfree(&self) -> &LazyFree {
        &self.lazyfree
    }

    pub fn defrag(&self) -> &Defrag {
        &self.defrag
    }

    pub fn eviction(&self) -> &Eviction {
        &self.eviction
    }

    /// Heeds that `maxmemory` or its policy may be another.
    pub fn policy_changed(&mut self) {
        self.eviction.policy_changed();
    }

    /// Counts anew what a client holds, and `besides` it bytes that are taken out of it for the moment.
    #[inline]
    pub fn count_client(&mut self, clients: &Clients, token: Token, besides: usize) {
        self.clients.count(clients, token, besides);
    }

    /// Counts all clients anew: once more for accuracy, or because the limit may be another.
    pub fn count_clients(&mut self, clients: &Clients) {
        self.clients.count_all(clients);
    }

    /// `CONFIG RESETSTAT`
    pub fn reset_stats(&mut self) {
        self.eviction.reset_stats();
        self.lazyfree.reset_freed();
        self.defrag.reset_stats();
    }

    /// Gives memory back to the system, if it is time to look and there is any worth it.
    pub fn give_back(&mut self, now_ms: i64) {
        if self.lazyfree.is_purging() || !self.reclaim.is_time(now_ms) {
            return;
        }
        if let Some(given_back) = self.lazyfree.take_purged() {
            self.reclaim.note_purge(given_back);
        }
        if self.reclaim.look(resident_memory().total, alloc::used_memory() as u64) {
            alloc::release();
            self.lazyfree.purge();
        }
    }

    /// Gives memory back to the system that is known to be free.
    fn purge(&mut self) {
        self.reclaim.look(resident_memory().total, alloc::used_memory() as u64);
        alloc::release();
        self.lazyfree.purge();
    }
}
