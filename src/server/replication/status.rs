//! How each replication link is just now, for those who show it: `REPLTRACE`, metrics and the live page.

use super::primary::feed;
use super::replica_name;
use crate::server::Server;
use crate::server::links::trace::{LinkRole, LinkTrace};

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is over, and has been for so many seconds.
    Over { seconds: i64 },
    /// Who says that it is a replica has not asked for anything yet.
    ShakingHands,
    /// A replica: what it has not acknowledged, what it has not been sent, and for how long it has not been heard.
    Replica { state: &'static str, lag_bytes: u64, unsent_bytes: u64, silent_seconds: i64 },
    /// There is no connection to the primary, for so many seconds of this attempt, and since the link was up.
    Down { state: &'static str, waits_seconds: i64, down_seconds: Option<i64> },
    /// The primary: what has been received and not been applied, and for how long it has not been heard.
    Primary { state: &'static str, lag_bytes: u64, silent_seconds: i64 },
    /// It ends in this moment.
    Unknown,
}

impl Condition {
    /// In a word, as `ROLE` and `INFO` have it.
    pub fn state(&self) -> &'static str {
        match self {
            Condition::Over { .. } => "over",
            Condition::ShakingHands => "handshake",
            Condition::Replica { state, .. }
            | Condition::Down { state, .. }
            | Condition::Primary { state, .. } => state,
            Condition::Unknown => "unknown",
        }
    }

    /// Bytes that the replica's side lacks, and seconds since the other side was heard.
    pub fn lag(&self) -> Option<(u64, i64)> {
        match *self {
            Condition::Replica { lag_bytes, silent_seconds, .. }
            | Condition::Primary { lag_bytes, silent_seconds, .. } => {
                Some((lag_bytes, silent_seconds))
            }
            _ => None,
        }
    }
}

/// Whom a link is with, as far as that is known now, and how it is.
pub(crate) fn condition(server: &Server, link: &LinkTrace) -> (String, Condition) {
    if let Some(ended) = link.ended {
        let seconds = server.now_seconds() - ended;
        return (link.peer.clone(), Condition::Over { seconds });
    }
    match link.role {
        LinkRole::Primary => of_replica(server, link),
        LinkRole::Replica => (link.peer.clone(), of_primary(server)),
    }
}

fn of_replica(server: &Server, link: &LinkTrace) -> (String, Condition) {
    let found = server.clients.iter().find_map(|(token, client)| {
        let replica = client.replstate.as_ref()?;
        (replica.trace() == Some(link.id)).then_some((token, replica))
    });
    let Some((token, replica)) = found else { return (link.peer.clone(), Condition::Unknown) };
    let peer = match replica.announced.listening_port {
        0 => link.peer.clone(),
        _ => replica_name(server, token),
    };
    if replica.is_shaking_hands() {
        return (peer, Condition::ShakingHands);
    }
    let condition = Condition::Replica {
        state: replica.state_name(),
        lag_bytes: server.repl.offset().saturating_sub(replica.ack_offset()),
        unsent_bytes: feed::replica_lag_bytes(server, token) as u64,
        silent_seconds: server.now_seconds() - replica.heard_seconds(),
    };
    (peer, condition)
}

fn of_primary(server: &Server) -> Condition {
    let Some(primary) = server.repl.primary() else { return Condition::Unknown };
    let (state, now) = (primary.role_name(), server.now_seconds());
    if !primary.is_connected() && !primary.is_syncing() {
        let waits_seconds = now - primary.since_seconds();
        let down_seconds = server.repl.down_since_seconds().map(|since| now - since);
        return Condition::Down { state, waits_seconds, down_seconds };
    }
    let client = primary.token().filter(|_| primary.is_connected());
    let lag_bytes = match client.and_then(|token| server.clients.get(token)) {
        Some(client) => client.read_offset - client.applied_offset,
        None => primary.kept_bytes().2,
    };
    Condition::Primary { state, lag_bytes, silent_seconds: now - primary.heard_seconds() }
}
