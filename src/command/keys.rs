//! Commands on keys, whatever they hold: deleting, counting, looking for, renaming, copying and moving them.
//!
//! `SCAN` is in [`scan`](super::scan), whole databases are in [`database`](super::database), `DUMP` and `RESTORE` in
//! [`dump`](super::dump), `MIGRATE` in [`migrate`](super::migrate).

use super::args::{db_index, is};
use crate::db::notify::Class;
use crate::db::{EntryRef, ExpiryRole, Keyspace};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::cluster;
use crate::server::table::Row;
use crate::util::glob::glob_match;
use crate::util::slot::pattern_slot;
use crate::value::Value;
use rand::RngCore;

pub const SAME_OBJECT: CommandError =
    CommandError::err("source and destination objects are the same");

/// `RANDOMKEY` on a replica looks for a key that has not expired so many times.
const RANDOM_TRIES: usize = 100;

fn del(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    del_generic(s, call, &args[1..], s.config.lazyfree_lazy_user_del)
}

fn unlink(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    del_generic(s, call, &args[1..], true)
}

fn del_generic(s: &mut Server, call: &mut Call, keys: &[&[u8]], lazy: bool) -> CommandResult {
    let mut deleted = 0;
    for key in keys {
        if let Some(entry) = s.ks.delete(call.db, key) {
            s.memory.free_entry(entry, lazy);
            s.ks.changes.write(Class::GENERIC, "del", call.db, key);
            deleted += 1;
        }
    }
    call.reply.int(deleted);
    Ok(())
}

fn exists(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let found = args[1..].iter().filter(|key| s.ks.lookup_no_touch(call.db, key).is_some()).count();
    call.reply.int(found as i64);
    Ok(())
}

fn touch(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    // What a client that must leave no trace asks for here is just that.
    let no_touch = std::mem::take(&mut s.ks.no_touch);
    let found = args[1..].iter().filter(|key| s.ks.lookup_read(call.db, key).is_some()).count();
    s.ks.no_touch = no_touch;
    call.reply.int(found as i64);
    Ok(())
}

fn type_(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let entry = s.ks.lookup_no_touch(call.db, args[1]);
    call.reply.simple(entry.map_or("none", |entry| entry.value().kind().name()));
    Ok(())
}

/// Whether clients must not see an entry any more, deleted or not.
pub fn is_expired(entry: EntryRef<'_>, now_ms: i64, role: ExpiryRole) -> bool {
    role != ExpiryRole::Keep && entry.expire().is_some_and(|at| at < now_ms)
}

fn keys(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let pattern = args[1];
    let Keyspace { dbs, now_ms, role, .. } = &s.ks;
    let at = call.reply.deferred();
    let mut n = 0;
    let mut visit = |entry: EntryRef<'_>| {
        let fits = pattern == b"*" || glob_match(pattern, entry.key(), false);
        if fits && !is_expired(entry, *now_ms, *role) {
            call.reply.bulk(entry.key());
            n += 1;
        }
    };
    let table = &dbs[call.db].table;
    match pattern_slot(pattern).filter(|_| s.cluster.is_some()) {
        Some(slot) => table.slot_iter(slot).for_each(&mut visit),
        None => table.iter_shown().for_each(&mut visit),
    }
    call.reply.set_array(at, n);
    Ok(())
}

fn randomkey(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let mut tries = 0;
    let key = loop {
        let random = &mut || s.rng.next_u64();
        let Some(entry) = s.ks.dbs[call.db].table.random(random) else { break None };
        let key = entry.key().to_vec();
        tries += 1;
        // A replica must not delete what has expired, and may have nothing else.
        if s.ks.peek(call.db, &key).is_some()
            || (s.ks.role == ExpiryRole::Hide && tries >= RANDOM_TRIES)
        {
            break Some(key);
        }
    };
    call.reply.bulk_or_null(key.as_deref());
    Ok(())
}

fn rename(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    rename_generic(s, call, args[1], args[2], true)?;
    call.reply.ok();
    Ok(())
}

fn renamenx(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let renamed = rename_generic(s, call, args[1], args[2], false)?;
    call.reply.int(renamed.into());
    Ok(())
}

/// Renames a key, unless the new name is taken and `replace` is not set; returns whether it did.
fn rename_generic(
    s: &mut Server,
    call: &mut Call,
    from: &[u8],
    to: &[u8],
    replace: bool,
) -> CommandResult<bool> {
    let db = call.db;
    if s.ks.lookup_write(db, from).is_none() {
        return Err(CommandError::NO_SUCH_KEY);
    }
    if from == to {
        return Ok(false);
    }
    if s.ks.lookup_write(db, to).is_some() {
        if !replace {
            return Ok(false);
        }
        make_room(s, db, to);
    }
    if let Some(entry) = s.ks.remove(db, from) {
        let entry = entry.with_key(to);
        // Nobody has asked for it by this name.
        entry.view().set_lru(s.ks.access.fresh());
        s.ks.add(db, entry);
    }
    s.ks.changes.write(Class::GENERIC, "rename_from", db, from);
    s.ks.changes.signal_modified(db, to);
    s.ks.changes.notifications.push(Class::GENERIC, "rename_to", db, to);
    Ok(true)
}

/// Deletes a key whose place another one takes; returns whether it was there.
pub fn make_room(s: &mut Server, db: usize, key: &[u8]) -> bool {
    let Some(entry) = s.ks.delete(db, key) else { return false };
    s.memory.free_entry(entry, s.config.lazyfree_lazy_server_del);
    true
}

/// Puts a command's result under a key, in place of whatever is there, and announces `event`; `None`, an empty result,
/// deletes what is there.
pub fn store_result(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    result: Option<Value>,
    class: Class,
    event: &'static str,
) {
    let db = call.db;
    let Some(value) = result else { return delete_destination(s, call, key) };
    if s.ks.lookup_write(db, key).is_none() {
        s.ks.changes.notifications.push(Class::NEW, "new", db, key);
    }
    if let Some(old) = s.ks.set(db, key, value, None) {
        s.memory.free_entry(old, s.config.lazyfree_lazy_server_del);
    }
    s.ks.changes.write(class, event, db, key);
}

/// Deletes what is under the key of an empty result. Nobody looks it up before: a key whose time has come is announced
/// as deleted, too.
pub fn delete_destination(s: &mut Server, call: &mut Call, key: &[u8]) {
    let Some(entry) = s.ks.remove(call.db, key) else { return };
    s.memory.free_entry(entry, s.config.lazyfree_lazy_server_del);
    s.ks.changes.write(Class::GENERIC, "del", call.db, key);
}

fn copy(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    let (mut db, mut replace) = (call.db, false);
    let mut rest = args[3..].iter();
    while let Some(arg) = rest.next() {
        if is(arg, "REPLACE") {
            replace = true;
        } else if is(arg, "DB")
            && let Some(index) = rest.next()
        {
            if db_index(index, s.config.databases as usize)? != 0 && cluster::has_one_database(s) {
                return Err(CommandError::err(
                    "Copying to another database is not allowed in cluster mode",
                ));
            }
            db = db_index(index, s.ks.dbs.len())?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if db == call.db && from == to {
        return Err(SAME_OBJECT);
    }
    let free = s.ks.lookup_read(call.db, from).is_some()
        && (s.ks.lookup_write(db, to).is_none() || replace);
    if free && let Some(entry) = s.ks.peek(call.db, from) {
        let copy = entry.copy_as(to);
        copy.view().set_lru(s.ks.access.fresh());
        make_room(s, db, to);
        s.ks.add(db, copy);
        s.ks.changes.write(Class::GENERIC, "copy_to", db, to);
    }
    call.reply.int(free.into());
    Ok(())
}

fn move_(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if cluster::has_one_database(s) {
        return Err(CommandError::err("MOVE is not allowed in cluster mode"));
    }
    let (key, from) = (args[1], call.db);
    let to = db_index(args[2], s.ks.dbs.len())?;
    if from == to {
        return Err(SAME_OBJECT);
    }
    let movable = s.ks.lookup_write(from, key).is_some() && s.ks.lookup_write(to, key).is_none();
    if movable && let Some(entry) = s.ks.remove(from, key) {
        entry.view().set_lru(s.ks.access.fresh());
        s.ks.add(to, entry);
        s.ks.changes.signal_modified(to, key);
        s.ks.changes.write(Class::GENERIC, "move_from", from, key);
        s.ks.changes.notifications.push(Class::GENERIC, "move_to", to, key);
    }
    call.reply.int(movable.into());
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("copy", copy),
    ("del", del),
    ("exists", exists),
    ("keys", keys),
    ("move", move_),
    ("randomkey", randomkey),
    ("rename", rename),
    ("renamenx", renamenx),
    ("touch", touch),
    ("type", type_),
    ("unlink", unlink),
];
