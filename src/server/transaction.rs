//! Transactions: what a client has queued since `MULTI`, and the keys that it watches.
//!
//! A client's part is a [`Transaction`], made when it first queues or watches something and dropped with the end of
//! the transaction, so that a client without one pays for a pointer. Who watches a key is known by
//! [`watched`](super::blocking::watched). The keyspace notes modified keys only while anybody wants to know of them
//! (`changes.track`).

use super::Server;
use super::call::Call;
use super::client::{ClientFlags, Token};
use crate::db::lent::Lent;
use crate::server::table::CommandId;
use crate::server::tracking;
use crate::spec::CommandFlags;
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// What queued commands do decides whether `EXEC` may do it.
const CAUSES: CommandFlags = CommandFlags::READONLY
    .union(CommandFlags::WRITE)
    .union(CommandFlags::DENYOOM)
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
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    db: usize,
    key: Rc<[u8]>,
    /// Its time had come when it was watched: that it is deleted then is no change.
    expired: bool,
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

    /// How many keys are watched.
    pub fn watched(&self) -> usize {
        self.watched.len()
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
    fn push(&mut self, id: CommandId, flags: CommandFlags, args: &[&[u8]], lent: &Lent) {
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

    fn clear_queue(&mut self) {
        *self =
            Transaction { watched: std::mem::take(&mut self.watched), ..Transaction::default() };
    }
}

/// Whether a key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Missing,
    /// It is, but its time has come.
    Expired,
    Live,
}

/// Queues a command of a client in a transaction. A transaction that can't be executed any more takes no memory.
pub(crate) fn queue_multi_command(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    flags: CommandFlags,
    args: &[&[u8]],
) {
    let client = &mut server.clients[call.client];
    if !client.is(ClientFlags::DIRTY_CAS | ClientFlags::DIRTY_EXEC) {
        client.transaction.get_or_insert_default().push(id, flags, args, &server.ks.lent);
        server.exceeds_query_limit(call.client, 0);
    }
    call.reply.simple("QUEUED");
}

/// A command could not be queued: `EXEC` will fail.
pub(crate) fn flag_transaction(server: &mut Server, token: Token) {
    let Some(client) = server.clients.get_mut(token) else { return };
    if client.is(ClientFlags::MULTI) {
        client.flags |= ClientFlags::DIRTY_EXEC;
        if let Some(transaction) = &mut client.transaction {
            transaction.clear_queue();
        }
    }
}

/// Ends a client's transaction, if it is in one, without executing it, and unwatches its keys.
pub(crate) fn discard_transaction(server: &mut Server, token: Token) {
    unwatch_all_keys(server, token);
    let client = &mut server.clients[token];
    let state = ClientFlags::MULTI | ClientFlags::DIRTY_CAS | ClientFlags::DIRTY_EXEC;
    client.flags.remove(state);
    client.transaction = None;
}

/// Watches a key for a client.
pub(crate) fn watch_for_key(server: &mut Server, token: Token, db: usize, key: &[u8]) {
    let expired = presence(server, db, key) == Presence::Expired;
    let Some(key) = server.blocking.watched.add(db, key, token) else { return };
    let transaction = server.clients[token].transaction.get_or_insert_default();
    transaction.watched.push(Watched { db, key, expired });
    if transaction.watched.len() == 1 {
        server.blocking.watched.begin_watching();
        apply_key_watching(server);
    }
}

/// Forgets all that a client watches.
pub(crate) fn unwatch_all_keys(server: &mut Server, token: Token) {
    let Some(transaction) = &mut server.clients[token].transaction else { return };
    let watched = std::mem::take(&mut transaction.watched);
    if watched.is_empty() {
        return;
    }
    for Watched { db, key, .. } in watched {
        server.blocking.watched.remove(db, &key, token);
    }
    server.blocking.watched.end_watching();
    apply_key_watching(server);
    let client = &mut server.clients[token];
    if !client.is(ClientFlags::MULTI) {
        client.transaction = None;
    }
}

/// Has the keyspace note modified keys if anybody wants to know of them.
pub(crate) fn apply_key_watching(server: &mut Server) {
    server.ks.changes.track =
        server.blocking.watched.clients() > 0 || server.tracking.clients() > 0;
}

/// Whether the time of a watched key has come since it was watched, though nobody has deleted it yet.
pub(crate) fn is_watched_key_expired(server: &Server, token: Token) -> bool {
    server.clients[token].transaction.as_ref().is_some_and(|transaction| {
        let mut watched = transaction.watched.iter();
        watched.any(|w| !w.expired && presence(server, w.db, &w.key) == Presence::Expired)
    })
}

/// A key has another value now, or none: whoever watches it can't execute the transaction.
pub(crate) fn touch_watched_key(server: &mut Server, db: usize, key: &[u8]) {
    let watchers = server.blocking.watched.watchers(db, key);
    if watchers.is_empty() {
        return;
    }
    let gone = presence(server, db, key) == Presence::Missing;
    for token in watchers {
        touch_watcher(server, token, db, key, |watched| {
            // Of a key that had expired before, the deletion is no change; what follows is.
            let ignored = watched.expired && gone;
            watched.expired &= !gone;
            !ignored
        });
    }
}

/// A database is about to be emptied, or to be replaced by the database `replaced_with`: watched keys change
/// that are in either, unless nobody could have seen them before and after.
pub(crate) fn touch_all_watched_keys_in_db(
    server: &mut Server,
    emptied: usize,
    replaced_with: Option<usize>,
) {
    for key in server.blocking.watched.keys(emptied) {
        let before = presence(server, emptied, &key);
        let after = replaced_with.map_or(Presence::Missing, |db| presence(server, db, &key));
        if before == Presence::Missing && after == Presence::Missing {
            continue;
        }
        for token in server.blocking.watched.watchers(emptied, &key) {
            touch_watcher(server, token, emptied, &key, |watched| {
                let unseen = watched.expired || before == Presence::Missing;
                watched.expired = unseen && after == Presence::Expired;
                !unseen || after == Presence::Live
            });
        }
    }
}

/// All databases are about to be emptied or replaced by others: what anybody has seen of them is no longer so.
pub(crate) fn touch_all_watched_keys(server: &mut Server) {
    for db in 0..server.blocking.watched.databases() {
        touch_all_watched_keys_in_db(server, db, None);
    }
    tracking::tracking_invalidate_everything(server);
}

/// Spoils a client's transaction if what happened to a key that it watches `is_change`. It need not watch any
/// longer then.
fn touch_watcher(
    server: &mut Server,
    token: Token,
    db: usize,
    key: &[u8],
    is_change: impl FnOnce(&mut Watched) -> bool,
) {
    let client = &mut server.clients[token];
    let Some(transaction) = &mut client.transaction else { return };
    let mut watched = transaction.watched.iter_mut();
    let Some(watched) = watched.find(|w| w.db == db && *w.key == *key) else { return };
    if is_change(watched) {
        client.flags |= ClientFlags::DIRTY_CAS;
        transaction.clear_queue();
        unwatch_all_keys(server, token);
    }
}

fn presence(server: &Server, db: usize, key: &[u8]) -> Presence {
    match server.ks.dbs[db].table.get(server.ks.hash(key), key) {
        None => Presence::Missing,
        Some(entry) if entry.expire().is_some_and(|at| at < server.ks.now_ms) => Presence::Expired,
        Some(_) => Presence::Live,
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
