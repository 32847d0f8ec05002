//! `ACL LOG`: what users were refused lately, the latest first.

use super::check::Denial;
use std::collections::VecDeque;

/// Refusals like one that is not older than this are counted with it, in milliseconds.
const GROUPING_MS: i64 = 60_000;
/// So many entries are compared with a new one.
const COMPARED: usize = 10;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Auth,
    /// A certificate that names nobody.
    Certificate,
    Denied(Denial),
}

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Subject::Auth => "auth",
            Subject::Certificate => "tls-cert",
            Subject::Denied(Denial::Command) => "command",
            Subject::Denied(Denial::Key) => "key",
            Subject::Denied(Denial::Channel) => "channel",
        }
    }
}

/// Where it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    TopLevel,
    Multi,
    Lua,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Origin::TopLevel => "toplevel",
            Origin::Multi => "multi",
            Origin::Lua => "lua",
        }
    }
}

/// One refusal, or several like it.
#[derive(Clone, Debug)]
pub struct AclLogEntry {
    pub count: u64,
    pub reason: Subject,
    pub context: Origin,
    /// The command, key or channel in question.
    pub object: Box<[u8]>,
    pub user: Box<[u8]>,
    /// The client that was refused last, as `CLIENT LIST` shows it.
    pub client_info: String,
    pub id: u64,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl AclLogEntry {
    fn is_like(&self, other: &AclLogEntry) -> bool {
        self.reason == other.reason
            && self.context == other.context
            && (self.updated_ms - other.updated_ms).abs() <= GROUPING_MS
            && self.object == other.object
            && self.user == other.user
    }
}

#[derive(Debug, Default)]
pub struct AclLog {
    entries: VecDeque<AclLogEntry>,
    next_id: u64,
    refused: Refused,
}

/// How often each was refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub logins: u64,
    pub certificates: u64,
    pub commands: u64,
    pub keys: u64,
    pub channels: u64,
}

impl AclLog {
    /// Counts and notes a refusal; at most `max` entries are kept.
    pub fn add(&mut self, mut entry: AclLogEntry, max: usize) {
        let count = match entry.reason {
            Subject::Auth => &mut self.refused.logins,
            Subject::Certificate => &mut self.refused.certificates,
            Subject::Denied(Denial::Command) => &mut self.refused.commands,
            Subject::Denied(Denial::Key) => &mut self.refused.keys,
            Subject::Denied(Denial::Channel) => &mut self.refused.channels,
        };
        *count += 1;
        let alike = self.entries.iter().take(COMPARED).position(|known| known.is_like(&entry));
        match alike.and_then(|at| self.entries.remove(at)) {
            Some(known) => {
                entry.count += known.count;
                (entry.id, entry.created_ms) = (known.id, known.created_ms);
            }
            None => {
                entry.id = self.next_id;
                self.next_id += 1;
            }
        }
        self.entries.push_front(entry);
        self.entries.truncate(max);
    }

    /// How often each was refused, whether it is in the log still or not.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// The entries, the latest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &AclLogEntry> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, at_ms: i64) -> AclLogEntry {
        AclLogEntry {
            count: 1,
            reason: Subject::Denied(Denial::Command),
            context: Origin::TopLevel,
            object: object.as_bytes().into(),
            user: (*b"u").into(),
            client_info: String::new(),
            id: 0,
            created_ms: at_ms,
            updated_ms: at_ms,
        }
    }

    #[test]
    fn like_entries_are_counted_together() {
        let mut log = AclLog::default();
        for (object, at) in [("a", 0), ("b", 1), ("a", 2), ("a", 2 + GROUPING_MS + 1), ("c", 0)] {
            log.add(entry(object, at), 3);
        }
        let seen: Vec<_> = log
            .entries()
            .map(|e| (String::from_utf8_lossy(&e.object).into_owned(), e.count, e.id, e.created_ms))
            .collect();
        assert_eq!(
            seen,
            [("c".into(), 1, 3, 0), ("a".into(), 1, 2, 60_003), ("a".into(), 2, 0, 0)]
        );
        log.clear();
        assert_eq!(log.refused(), Refused { commands: 5, ..Refused::default() });
    }
}
