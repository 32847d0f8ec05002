//! The slow log: commands that took longer than `slowlog-log-slower-than`.

use crate::ds::listpack::{Listpack, ListpackEntry};
use crate::ds::packed::Packed;
use crate::spec::CommandFlags;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Arguments of an entry, and bytes of an argument, that are kept.
const MAX_ARGS: usize = 32;
const MAX_ARG_LEN: usize = 128;
/// The texts of an entry that come before its arguments.
const CLIENT_TEXTS: usize = 2;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    pub id: u64,
    /// Seconds since 1970.
    pub time: i64,
    pub micros: u64,
    /// The client's address and name, then the arguments, in one allocation.
    texts: Packed,
}

impl SlowEntry {
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

/// The newest slow commands, newest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowEntry>,
    next_id: u64,
    /// Microseconds; negative: nothing is logged.
    threshold_us: i64,
    max_len: usize,
}

impl SlowLog {
    /// Logs commands that take at least so many microseconds (negative: none) from now on, and keeps so many of them.
    pub fn configure(&mut self, threshold_us: i64, max_len: usize) {
        (self.threshold_us, self.max_len) = (threshold_us, max_len);
    }

    /// The newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &SlowEntry> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
    }

    /// Whether a command that took so long belongs here.
    #[inline]
    pub fn wants(&self, micros: u64, flags: CommandFlags) -> bool {
        self.threshold_us >= 0
            && self.max_len > 0
            && micros >= self.threshold_us as u64
            && !flags.contains(CommandFlags::SKIP_SLOWLOG)
    }

    /// Adds a command, which a client of this address and name has sent.
    pub fn push(&mut self, micros: u64, time: i64, args: &[&[u8]], peer: &str, name: &[u8]) {
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
        self.entries.push_front(SlowEntry { id: self.next_id, time, micros, texts: texts.into() });
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
        let mut log = SlowLog::default();
        log.configure(10, 2);
        assert!(log.wants(10, CommandFlags::empty()) && !log.wants(9, CommandFlags::empty()));
        assert!(!log.wants(10, CommandFlags::SKIP_SLOWLOG));
        for micros in [10, 20, 30] {
            log.push(micros, 0, &[b"get", b"k"], "peer", b"");
        }
        let kept: Vec<_> = log.entries().map(|entry| (entry.id, entry.micros)).collect();
        assert_eq!(kept, [(2, 30), (1, 20)]);
        log.clear();
        log.push(40, 0, &[b"get", b"k"], "peer", b"");
        assert_eq!(log.entries().map(|entry| entry.id).collect::<Vec<_>>(), [3]);
        log.configure(-1, 2);
        assert!(!log.wants(u64::MAX, CommandFlags::empty()));
    }

    #[test]
    fn what_is_long_is_shortened() {
        let mut log = SlowLog::default();
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
