//! What a client with `CLIENT TRACKING` wants to hear of keys that it has read.

use super::Client;
use crate::server::token::Noted;
use bitflags::bitflags;
use std::collections::BTreeSet;

/// What a prefix takes beside its name, in bytes: its places in the client's set and in the server's.
const PREFIX_COST: usize = 2 * size_of::<Box<[u8]>>();

bitflags! {
    /// The options of `CLIENT TRACKING`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct TrackingOptions: u8 {
        const BCAST = 1 << 0;
        /// Only keys of commands behind `CLIENT CACHING YES` are remembered.
        const OPTIN = 1 << 1;
        /// Keys of commands behind `CLIENT CACHING NO` are not remembered.
        const OPTOUT = 1 << 2;
        /// The client does not hear of its own changes.
        const NOLOOP = 1 << 3;
    }
}

/// What a tracking client wants.
#[derive(Debug, Default)]
pub struct ClientTracking {
    pub options: TrackingOptions,
    /// `CLIENT CACHING` came, for the next command or transaction.
    pub caching: bool,
    /// Who is told in its place.
    pub redirect: Option<Noted>,
    /// The client that was to be told has gone.
    pub broken_redirect: bool,
    /// What it hears of in broadcasting mode.
    pub prefixes: BTreeSet<Box<[u8]>>,
}

impl ClientTracking {
    /// Whether the keys are to be remembered of the command that it executes.
    pub fn keeps_what_it_reads(&self) -> bool {
        let has = |options| self.options.contains(options);
        !has(TrackingOptions::BCAST)
            && (!has(TrackingOptions::OPTIN) || self.caching)
            && (!has(TrackingOptions::OPTOUT) || !self.caching)
    }

    /// Memory held, in bytes, the names of the prefixes not counted.
    pub fn memory(&self) -> usize {
        size_of::<ClientTracking>() + self.prefixes.len() * PREFIX_COST
    }
}

impl Client {
    /// The id of the client that invalidations go to: 0 for none, -1 without tracking.
    pub fn redirect_id(&self) -> i64 {
        match &self.tracking {
            None => -1,
            Some(tracking) => tracking.redirect.map_or(0, |(_, id)| id as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_keeps_is_its_choice() {
        let (by_default, opt_in) = (TrackingOptions::empty(), TrackingOptions::OPTIN);
        let (opt_out, broadcast) = (TrackingOptions::OPTOUT, TrackingOptions::BCAST);
        for (options, caching, keeps) in [
            (by_default, false, true),
            (opt_in, false, false),
            (opt_in, true, true),
            (opt_out, false, true),
            (opt_out, true, false),
            (broadcast, false, false),
        ] {
            let tracking = ClientTracking { options, caching, ..ClientTracking::default() };
            assert_eq!(tracking.keeps_what_it_reads(), keeps, "{options:?} {caching}");
        }
    }
}
