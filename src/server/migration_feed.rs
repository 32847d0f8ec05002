//! Writes to slots that leave: what was done to keys that have been sent is sent, too.
//!
//! A command whose keys have all been sent goes as it is. If it has others beside those, the other side could not do
//! the same; it is sent what has become of those that it has.

use crate::db::EntryRef;
use crate::resp::encode::encode_command;
use crate::server::Server;
use crate::server::links::migration::job::Job;
use crate::server::links::migration::walk::Walk;
use crate::server::output;
use crate::spec::keys::get_keys_from_command;
use bytes::Bytes;

/// Sends a command that was just executed to whom it concerns.
pub(crate) fn feed_migrations(server: &mut Server, db: usize, args: &[&[u8]]) {
    let Some(id) = server.commands.find(args[0]) else { return };
    let Ok(id) = server.commands.resolve(id, args) else { return };
    let keys = get_keys_from_command(server.commands.get(id).spec, args);
    let keys: Vec<&[u8]> = keys.iter().map(|key| args[key.pos]).collect();
    // Without keys there is nothing in it for the other side: the slots come into view there all at once.
    let Some(first) = keys.first() else { return };
    let slot = server.ks.hash(first).slot();
    if !server.cluster.as_ref().is_some_and(|cluster| cluster.owns(slot)) {
        // What is deleted of a slot that has gone is not deleted there.
        return;
    }
    let concerns = |job: &&Job| job.wants_writes() && job.slots.contains(slot);
    let Some(job) = server.net.migrations.iter().find(concerns) else { return };
    let (name, noted, selected) = (job.name.clone(), job.client, job.db);
    let has_passed = |key: &&[u8]| {
        let hash = server.ks.hash(key);
        job.walk.as_ref().is_none_or(|walk: &Walk| walk.has_passed(db, hash))
    };
    let sent: Vec<&[u8]> = keys.iter().copied().filter(has_passed).collect();
    let mut bytes = Vec::new();
    if sent.is_empty() {
        return;
    }
    if selected != db {
        encode_select(db, &mut bytes);
    }
    if sent.len() == keys.len() {
        encode_command(args, &mut bytes);
    } else {
        sent.iter().for_each(|key| encode_key(server, db, key, &mut bytes));
    }
    if let Some(job) = server.net.migrations.named_mut(&name) {
        job.db = db;
    }
    if let Some(token) = noted.and_then(|noted| server.clients.find(noted)) {
        output::add_output(server, token, Bytes::from(bytes));
    }
}

pub(crate) fn encode_select(db: usize, out: &mut Vec<u8>) {
    encode_command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], out);
}

/// What a key is now: its value, or that it is gone.
fn encode_key(server: &Server, db: usize, key: &[u8], out: &mut Vec<u8>) {
    match server.ks.dbs[db].table.get(server.ks.hash(key), key) {
        Some(entry) => encode_entry(server, entry, out),
        None => encode_command(&[b"DEL", key], out),
    }
}

/// A key with its value and expiry, whatever the other side has under its name.
pub(crate) fn encode_entry(server: &Server, entry: EntryRef<'_>, out: &mut Vec<u8>) {
    let version = server.config.expiring_fields_version();
    let payload = crate::rdb::dump::dump(entry.value(), false, version);
    let mut digits = itoa::Buffer::new();
    let expire = digits.format(entry.expire().unwrap_or(0)).as_bytes();
    encode_command(&[b"RESTORE", entry.key(), expire, &payload, b"REPLACE", b"ABSTTL"], out);
}
