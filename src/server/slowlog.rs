//! The slow log: commands that took longer than `slowlog-log-slower-than`.
#![forbid(unsafe_code)]

use crate::command::spec::CommandFlags;
use std::collections::VecDeque;

/// Arguments of an entry, and bytes of an argument, that are kept.
const MAX_ARGS: usize = 32;
const MAX_ARG_LEN: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    pub id: u64,
    /// Seconds since 1970.
    pub time: i64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub peer: String,
    pub name: Vec<u8>,
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

    /// Adds a command.
    pub fn push(&mut self, micros: u64, time: i64, args: &[&[u8]], peer: String, name: Vec<u8>) {
        let mut kept: Vec<Vec<u8>> = args.iter().take(MAX_ARGS).map(|arg| shorten(arg)).collect();
        if args.len() > MAX_ARGS {
            let text = format!("... ({} more arguments)", args.len() - MAX_ARGS + 1);
            kept[MAX_ARGS - 1] = text.into_bytes();
        }
        self.entries.push_front(SlowEntry {
            id: self.next_id,
            time,
            micros,
            args: kept,
            peer,
            name,
        });
        self.next_id += 1;
        self.entries.truncate(self.max_len);
    }
}

fn shorten(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= MAX_ARG_LEN {
        return arg.to_vec();
    }
    let mut short = arg[..MAX_ARG_LEN].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - MAX_ARG_LEN).as_bytes());
    short
}
