//! What a client has queued since `MULTI`, and the keys that it watches.
//!
//! Made when it first queues or watches something and dropped with the end of the transaction, so that a client without
//! one pays for a pointer.

use crate::db::lent::Lent;
use crate::server::table::CommandId;
use crate::spec::CommandFlags;
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// What queued commands do decides whether `EXEC` may do it.
const CAUSES: CommandFlags = CommandFlags::READONLY
    .union(CommandFlags::WRITE)
    .union(CommandFlags::DENYOOM)
    .union(CommandFlags::PUBSUB)
    .union(CommandFlags::MAY_REPLICATE);
/// What `EXEC` may do only if every queued command may.
const PERMISSIONS: CommandFlags = CommandFlags::STALE.union(CommandFlags::LOADING);

/// Bytes of arguments that lie together. They are freed together, too, once they have been executed: what `EXEC` stores
/// takes the place of the queue.
const PIECE: usize = 4 * 1024;

/// A part of a queue.
#[derive(Debug, Default)]
pub struct Queued {
    /// The commands, with the number of their arguments.
    commands: Vec<(CommandId, usize)>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
    /// All arguments, one behind the other.
    bytes: Vec<u8>,
    /// A large argument of the only command that is here, in the buffer that it came in, and its index.
    kept: Option<(usize, Bytes)>,
}

impl Queued {
    fn memory(&self) -> usize {
        size_of::<Queued>()
            + self.commands.capacity() * size_of::<(CommandId, usize)>()
            + self.ends.capacity() * size_of::<usize>()
            + self.bytes.capacity()
            + self.kept.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    fn push(&mut self, id: CommandId, args: &[&[u8]], kept: Option<(usize, Bytes)>) {
        self.commands.push((id, args.len()));
        for (i, arg) in args.iter().enumerate() {
            if kept.as_ref().is_none_or(|&(at, _)| at != i) {
                self.bytes.extend_from_slice(arg);
            }
            self.ends.push(self.bytes.len());
        }
        self.kept = kept;
    }

    /// The argument that has a buffer of its own, for the keyspace to keep.
    pub fn kept(&self) -> Option<Bytes> {
        self.kept.as_ref().map(|(_, bytes)| bytes.clone())
    }

    /// Calls `execute` with each command and its arguments, in order.
    pub fn for_each(&self, mut execute: impl FnMut(CommandId, &[&[u8]])) {
        let (mut start, mut ends) = (0, self.ends.iter());
        let mut args: Vec<&[u8]> = Vec::new();
        for &(id, count) in &self.commands {
            args.clear();
            args.extend(ends.by_ref().take(count).map(|&end| {
                let arg = &self.bytes[start..end];
                start = end;
                arg
            }));
            if let Some((at, bytes)) = &self.kept {
                args[*at] = bytes;
            }
            execute(id, &args);
        }
    }
}

/// A client's queue and the keys that it watches.
#[derive(Debug)]
pub struct Transaction {
    queue: VecDeque<Queued>,
    /// How many commands are queued.
    len: usize,
    /// Bytes of their arguments, and of the places of these.
    bytes: usize,
    /// Memory of all parts of the queue but the last, in bytes.
    full_memory: usize,
    /// Flags that any queued command has, and flags that all have.
    any: CommandFlags,
    all: CommandFlags,
    /// The database that a queued command selects, the last of them; `None`: that of the client stays.
    pub selected_db: Option<usize>,
    pub watched: Vec<Watched>,
}

/// A key that a client watches.
#[derive(Debug)]
pub struct Watched {
    pub db: usize,
    pub key: Rc<[u8]>,
    /// Its time had come when it was watched: that it is deleted then is no change.
    pub expired: bool,
}

impl Default for Transaction {
    fn default() -> Transaction {
        Transaction {
            queue: VecDeque::new(),
            len: 0,
            bytes: 0,
            full_memory: 0,
            any: CommandFlags::empty(),
            all: CommandFlags::all(),
            selected_db: None,
            watched: Vec::new(),
        }
    }
}

impl Transaction {
    /// How many commands are queued.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the queue that count as unprocessed input of the client.
    pub fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Memory held, in bytes, the watched keys themselves not counted.
    pub fn memory(&self) -> usize {
        size_of::<Transaction>()
            + self.full_memory
            + self.queue.back().map_or(0, Queued::memory)
            + self.watched.capacity() * size_of::<Watched>()
    }

    /// The flags that `EXEC`, whose own are `own`, has with this queue.
    pub fn exec_flags(&self, own: CommandFlags) -> CommandFlags {
        (own | self.any & CAUSES) - (PERMISSIONS - self.all)
    }

    /// Adds a command. A large argument is not copied if its buffer is lent.
    pub fn push(&mut self, id: CommandId, flags: CommandFlags, args: &[&[u8]], lent: &Lent) {
        let size = args.iter().map(|arg| arg.len()).sum::<usize>();
        let mut parts = args.iter().enumerate();
        let kept = parts.find_map(|(i, arg)| lent.part(arg).map(|bytes| (i, bytes)));
        let last = self.queue.back().filter(|last| last.kept.is_none() && kept.is_none());
        if last.is_none_or(|last| last.bytes.len() + size > PIECE) {
            self.full_memory += self.queue.back().map_or(0, Queued::memory);
            self.queue.push_back(Queued::default());
        }
        if let Some(last) = self.queue.back_mut() {
            last.push(id, args, kept);
        }
        self.len += 1;
        self.bytes += size + args.len() * size_of::<usize>();
        self.any |= flags;
        self.all &= flags;
    }

    /// Takes the first commands out of the queue.
    pub fn take_first(&mut self) -> Option<Queued> {
        self.queue.pop_front()
    }

    /// Calls `execute` with each queued command and its arguments, in order.
    pub fn for_each(&self, mut execute: impl FnMut(CommandId, &[&[u8]])) {
        self.queue.iter().for_each(|queued| queued.for_each(&mut execute));
    }

    pub fn clear_queue(&mut self) {
        *self =
            Transaction { watched: std::mem::take(&mut self.watched), ..Transaction::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_back_what_it_was_given() {
        let mut transaction = Transaction::default();
        let commands: [(CommandId, &[&[u8]]); 4] = [
            (7, &[b"set", b"k", b""]),
            (1, &[b"ping"]),
            (7, &[b"", b"", b"x"]),
            (9, &[b"get", b"k"]),
        ];
        for (id, args) in commands {
            transaction.push(id, CommandFlags::empty(), args, &Lent::default());
        }
        let mut seen = Vec::new();
        transaction.for_each(|id, args| {
            seen.push((id, args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>()));
        });
        let given = commands.map(|(id, args)| (id, args.iter().map(|arg| arg.to_vec()).collect()));
        assert_eq!(seen, given);
        assert_eq!(transaction.queued_bytes(), 13 + 9 * 8);
        transaction.clear_queue();
        assert_eq!((transaction.len(), transaction.queued_bytes()), (0, 0));
    }

    #[test]
    fn exec_does_what_its_queue_does() {
        let own = CommandFlags::STALE | CommandFlags::LOADING | CommandFlags::NOSCRIPT;
        let mut transaction = Transaction::default();
        assert_eq!(transaction.exec_flags(own), own);
        let get = CommandFlags::READONLY | CommandFlags::FAST;
        transaction.push(
            0,
            CommandFlags::STALE | CommandFlags::LOADING | CommandFlags::ADMIN,
            &[],
            &Lent::default(),
        );
        assert_eq!(transaction.exec_flags(own), own);
        transaction.push(0, get | CommandFlags::STALE, &[], &Lent::default());
        let expected = CommandFlags::STALE | CommandFlags::NOSCRIPT | CommandFlags::READONLY;
        assert_eq!(transaction.exec_flags(own), expected);
        transaction.push(0, CommandFlags::WRITE | CommandFlags::DENYOOM, &[], &Lent::default());
        let causes = CommandFlags::READONLY | CommandFlags::WRITE | CommandFlags::DENYOOM;
        assert_eq!(transaction.exec_flags(own), causes | CommandFlags::NOSCRIPT);
    }
}
