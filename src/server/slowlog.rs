//! The slow log: commands that took longer than `slowlog-log-slower-than`.

use crate::ds::listpack::{Entry, Listpack};
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
    pub fn client(&self) -> impl Iterator<Item = Entry<'_>> {
        self.texts.view().iter().take(CLIENT_TEXTS)
    }

    pub fn arg_count(&self) -> usize {
        self.texts.view().len() - CLIENT_TEXTS
    }

    pub fn args(&self) -> impl Iterator<Item = Entry<'_>> {
        self.texts.view().iter().skip(CLIENT_TEXTS)
    }
}

/// The newest slow commands, newest first.
#[derive(Debug)]
pub struct SlowLog {
    pub entries: VecDeque<SlowEntry>,
    next_id: u64,
    /// Microseconds; negative: nothing is logged.
    pub threshold: i64,
    pub max_len: usize,
}

impl SlowLog {
    pub fn new(threshold: i64, max_len: usize) -> SlowLog {
        SlowLog { entries: VecDeque::new(), next_id: 0, threshold, max_len }
    }

    /// Whether a command that took so long belongs here.
    #[inline]
    pub fn wants(&self, micros: u64, flags: CommandFlags) -> bool {
        self.threshold >= 0
            && self.max_len > 0
            && micros >= self.threshold as u64
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
