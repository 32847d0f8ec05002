//! The command logs: which commands took long, for `SLOWLOG`, and which were or were answered with many bytes, for
//! `COMMANDLOG`, each with its threshold.

use crate::ds::listpack::{Listpack, ListpackEntry};
use crate::ds::packed::Packed;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Arguments of an entry, and bytes of an argument, that are kept.
const MAX_ARGS: usize = 32;
const MAX_ARG_LEN: usize = 128;
/// The texts of an entry that come before its arguments.
const CLIENT_TEXTS: usize = 2;

/// What a log looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How long a command took, in microseconds.
    Duration,
    /// Bytes of the request.
    Request,
    /// Bytes of the reply.
    Reply,
}

pub const MEASURES: [Measure; 3] = [Measure::Duration, Measure::Request, Measure::Reply];

/// What was measured of one command, or an upper bound of it, in the order of [`MEASURES`].
pub type Measured = [u64; MEASURES.len()];

/// The logs.
#[derive(Debug, Default)]
pub struct CommandLogs([CommandLog; MEASURES.len()]);

impl CommandLogs {
    pub fn of(&self, measure: Measure) -> &CommandLog {
        &self.0[measure as usize]
    }

    pub fn of_mut(&mut self, measure: Measure) -> &mut CommandLog {
        &mut self.0[measure as usize]
    }

    /// Whether a command may belong into one of them.
    #[inline]
    pub fn want(&self, measured: Measured) -> bool {
        let [duration, request, reply] = &self.0;
        let [micros, request_bytes, reply_bytes] = measured;
        duration.wants(micros) || request.wants(request_bytes) || reply.wants(reply_bytes)
    }
}

/// One command.
#[derive(Clone, Debug)]
pub struct LogEntry {
    pub id: u64,
    /// Seconds since 1970.
    pub time: i64,
    /// What the log looks at.
    pub measured: u64,
    /// The client's address and name, then the arguments, in one allocation.
    texts: Packed,
}

impl LogEntry {
    /// The client's address, then its name.
    pub fn client(&self) -> impl Iterator<Item = ListpackEntry<'_>> {
        self.texts.view().iter().take(CLIENT_TEXTS)
    }

    pub fn arg_count(&self) -> usize {
        self.texts.view().len() - CLIENT_TEXTS
    }

    pub fn args(&self) -> impl Iterator<Item = ListpackEntry<'_>> {
        self.texts.view().iter().skip(CLIENT_TEXTS)
    }
}

/// The newest commands of one kind, newest first.
#[derive(Debug)]
pub struct CommandLog {
    entries: VecDeque<LogEntry>,
    next_id: u64,
    /// From which measure on commands are logged; the largest: none is.
    threshold: u64,
    max_len: usize,
}

impl Default for CommandLog {
    fn default() -> CommandLog {
        CommandLog { entries: VecDeque::new(), next_id: 0, threshold: u64::MAX, max_len: 0 }
    }
}

impl CommandLog {
    /// Logs commands of which at least so much is measured (negative: none) from now on, and keeps so many of them.
    pub fn configure(&mut self, threshold: i64, max_len: u64) {
        let threshold = u64::try_from(threshold).ok().filter(|_| max_len > 0);
        (self.threshold, self.max_len) = (threshold.unwrap_or(u64::MAX), max_len as usize);
    }

    /// The newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
    }

    /// Whether a command of which so much is measured belongs here.
    #[inline]
    pub fn wants(&self, measured: u64) -> bool {
        measured >= self.threshold
    }

    /// Adds a command, which a client of this address and name has sent.
    pub fn push(&mut self, measured: u64, time: i64, args: &[&[u8]], peer: &str, name: &[u8]) {
        let mut texts = Listpack::new();
        texts.push_back(peer.as_bytes());
        texts.push_back(name);
        let shown = if args.len() > MAX_ARGS { MAX_ARGS - 1 } else { args.len() };
        for arg in &args[..shown] {
            texts.push_back(&*shorten(arg));
        }
        if shown < args.len() {
            let text = format!("... ({} more arguments)", args.len() - shown);
            texts.push_back(text.as_bytes());
        }
        let entry = LogEntry { id: self.next_id, time, measured, texts: texts.into() };
        self.entries.push_front(entry);
        self.next_id += 1;
        self.entries.truncate(self.max_len);
    }
}

fn shorten(arg: &[u8]) -> Cow<'_, [u8]> {
    if arg.len() <= MAX_ARG_LEN {
        return arg.into();
    }
    let mut short = arg[..MAX_ARG_LEN].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_LEN).as_bytes());
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_commands_are_kept_newest_first() {
        let mut log = CommandLog::default();
        log.configure(10, 2);
        assert!(log.wants(10) && !log.wants(9));
        for micros in [10, 20, 30] {
            log.push(micros, 0, &[b"get", b"k"], "peer", b"");
        }
        let kept: Vec<_> = log.entries().map(|entry| (entry.id, entry.measured)).collect();
        assert_eq!(kept, [(2, 30), (1, 20)]);
        log.clear();
        log.push(40, 0, &[b"get", b"k"], "peer", b"");
        assert_eq!(log.entries().map(|entry| entry.id).collect::<Vec<_>>(), [3]);
        log.configure(-1, 2);
        assert!(!log.wants(i64::MAX as u64));
        log.configure(10, 0);
        assert!(!log.wants(10));
    }

    #[test]
    fn what_is_long_is_shortened() {
        let mut log = CommandLog::default();
        log.configure(0, 1);
        let long = [b'x'; MAX_ARG_LEN + 5];
        log.push(1, 0, &[&long[..]; MAX_ARGS + 1], "peer", b"name");
        let entry = log.entries().next().unwrap();
        assert_eq!((entry.arg_count(), entry.client().count()), (MAX_ARGS, CLIENT_TEXTS));
        let text = |entry: ListpackEntry| match entry {
            ListpackEntry::Str(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            ListpackEntry::Int(n) => n.to_string(),
        };
        let args: Vec<String> = entry.args().map(text).collect();
        assert_eq!(args[0], "x".repeat(MAX_ARG_LEN) + "... (5 more bytes)");
        assert_eq!(args[MAX_ARGS - 1], "... (2 more arguments)");
    }
}
