//! Messages of the bus, counted by kind.

use crate::bus::Kind;

const KINDS: usize = Kind::ALL.len();

/// What `CLUSTER INFO` counts.
#[derive(Clone, Debug, Default)]
pub struct BusStats {
    sent: [u64; KINDS],
    received: [u64; KINDS],
    links_over_limit: u64,
}

impl BusStats {
    /// Kinds of which messages were sent, with their number.
    pub fn sent(&self) -> impl Iterator<Item = (Kind, u64)> {
        counted(&self.sent)
    }

    /// Kinds of which messages were received, with their number.
    pub fn received(&self) -> impl Iterator<Item = (Kind, u64)> {
        counted(&self.received)
    }

    /// How many links were closed because too much waited on them.
    pub fn links_over_limit(&self) -> u64 {
        self.links_over_limit
    }

    pub(super) fn count_sent(&mut self, kind: Kind, messages: usize) {
        self.sent[kind as usize] += messages as u64;
    }

    pub(super) fn count_received(&mut self, kind: Kind) {
        self.received[kind as usize] += 1;
    }

    pub(super) fn count_link_over_limit(&mut self) {
        self.links_over_limit += 1;
    }
}

fn counted(counts: &[u64; KINDS]) -> impl Iterator<Item = (Kind, u64)> {
    Kind::ALL.into_iter().zip(*counts).filter(|&(_, count)| count > 0)
}
