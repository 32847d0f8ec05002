//! What may stand between a request and its execution, in one word: no bit set, and nothing needs to be asked.
//!
//! [`process_command`](crate::server::dispatch) knows a dozen reasons to refuse a request, to hold it back or to show
//! it to somebody. None of them applies to nearly all requests of nearly all servers. So they are asked about once for
//! a client's turn, and again after each command that could change an answer; a command that only reads or changes
//! keys, or does nothing but answer, can't, and finds its answer by one comparison of the gates of its
//! [`Call`](super::call::Call) with the bits that concern it.

use crate::spec::CommandFlags;
use bitflags::bitflags;

bitflags! {
    /// Reasons to look more closely at a request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Gates: u16 {
        /// Always closed, for the commands that are more than a change or a reading of keys.
        const COMMAND = 1 << 0;
        /// The client is more than one that sends requests and reads replies, or may not do everything.
        const CLIENT = 1 << 1;
        /// Slots are to be checked.
        const CLUSTER = 1 << 2;
        /// Somebody caches keys, or watches every command.
        const OBSERVERS = 1 << 3;
        /// Memory is limited.
        const MEMORY = 1 << 4;
        /// For writes: the disk, the role or the number of replicas may be against it.
        const WRITE = 1 << 5;
        /// This server is a replica that may have no data to show.
        const STALE = 1 << 6;
        /// A snapshot is being loaded, or a script runs for long.
        const BUSY = 1 << 7;
        /// Clients may have to wait.
        const PAUSE = 1 << 8;
    }
}

impl Gates {
    /// What concerns a command with these flags.
    pub fn of_command(flags: CommandFlags) -> Gates {
        let is_more = flags.intersects(
            CommandFlags::BLOCKING
                | CommandFlags::RUNS_SCRIPT
                | CommandFlags::NO_MANDATORY_KEYS
                | CommandFlags::PROTECTED
                | CommandFlags::ADMIN
                | CommandFlags::PUBSUB
                | CommandFlags::MAY_REPLICATE
                | CommandFlags::NO_MULTI,
        );
        if flags.contains(CommandFlags::ONLY_ANSWERS) {
            let others = Gates::all() - Gates::COMMAND - Gates::CLUSTER;
            let fails_with_disk = flags.contains(CommandFlags::SHOWS_DISK_ERRORS);
            return if fails_with_disk { others } else { others - Gates::WRITE };
        }
        if is_more || !flags.intersects(CommandFlags::READONLY | CommandFlags::WRITE) {
            return Gates::all();
        }
        let others = Gates::all() - Gates::COMMAND;
        if flags.contains(CommandFlags::WRITE) { others } else { others - Gates::WRITE }
    }
}
