//! What is told after a command: to replicas, the command itself, something in its place, or nothing, and the
//! deletions that expiry and eviction made on the way; to those who watch keys or subscribed to what happens to them,
//! the changes.
//!
//! What belongs together, the effects of a transaction or of one command, is one [`Unit`]: replicas get it between
//! `MULTI` and `EXEC` if it is more than one command.

use super::Server;
use super::call::{Call, Propagation};
use crate::db::keyspace::Modified;
use crate::db::notify::Class;
use crate::resp::encode::encode_command;
use crate::server::migration_feed::feed_migrations;
use crate::server::observe::latency;
use crate::server::output;
use crate::server::tracking;
use crate::server::transaction;
use crate::spec::CommandFlags;

/// Commands that are propagated together.
#[derive(Debug, Default)]
pub struct Unit {
    /// The part of the replication stream that they will be, and that of the append-only file, and how many they are
    /// in each: a script may choose who is told.
    stream: Vec<u8>,
    aof: Vec<u8>,
    stream_commands: usize,
    aof_commands: usize,
}

/// Who is told what commands do: a script may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    pub aof: bool,
    pub replicas: bool,
}

impl Default for Targets {
    fn default() -> Targets {
        Targets { aof: true, replicas: true }
    }
}

/// What commands have left to tell. A turn in the midst of a script begins with none.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// What is propagated together, while it is being gathered.
    unit: Option<Unit>,
    /// Who is told what commands do.
    targets: Targets,
}

impl Effects {
    /// Chooses who is told what commands do from here on.
    pub(crate) fn set_targets(&mut self, targets: Targets) {
        self.targets = targets;
    }
}

/// Whether anybody is told: if not, a handler need not work out what.
pub(crate) fn is_propagated(server: &Server) -> bool {
    server.persistence.records_commands()
        || server.net.migrations.wants_writes()
        || (server.repl.stream().is_some() && !server.repl.is_replica())
}

/// Propagates this in place of the command that is running.
pub(crate) fn propagate_instead(server: &Server, call: &mut Call, command: &[&[u8]]) {
    if !is_propagated(server) {
        // Nobody listens: no copies.
        call.propagation = Propagation::Nothing;
        return;
    }
    let command = command.iter().map(|arg| arg.to_vec()).collect();
    match &mut call.propagation {
        Propagation::Instead(all) => all.push(command),
        other => *other = Propagation::Instead(vec![command]),
    }
}

/// Whether what is propagated is being gathered.
pub(crate) fn gathers_unit(server: &Server) -> bool {
    server.effects.unit.is_some()
}

/// Starts to gather what is propagated.
pub(crate) fn begin_unit(server: &mut Server) {
    server.effects.unit = Some(Unit::default());
}

/// Propagates what was gathered.
pub(crate) fn end_unit(server: &mut Server) {
    let Some(Unit { mut stream, aof, stream_commands, aof_commands }) = server.effects.unit.take()
    else {
        return;
    };
    if server.lifecycle.shutdown.exit_code().is_some() {
        // A script was ended in its midst, because the server ends: half of what it does is not to be kept.
        return;
    }
    if !aof.is_empty() && server.persistence.records_commands() {
        annotate_aof(server);
        server.persistence.aof.feed_unit(aof_commands, &aof);
        count_unreplicated(server, aof_commands);
    }
    if server.repl.is_replica() {
        // It became one on the way: its history is another's now.
        server.repl.forget_selected_db();
        return;
    }
    if server.repl.stream().is_none() {
        return;
    }
    if stream_commands > 1 {
        let mut whole = Vec::with_capacity(stream.len() + 32);
        encode_command(&[b"MULTI"], &mut whole);
        whole.append(&mut stream);
        encode_command(&[b"EXEC"], &mut whole);
        stream = whole;
    }
    if stream_commands > 0 {
        server.repl.feed_bytes(&stream);
    }
}

/// Tells what the command that just ran did, where that is more or less than the command as it came, and empties the
/// keyspace's queues.
pub(crate) fn propagate_after(
    server: &mut Server,
    call: &mut Call,
    changed: bool,
    flags: CommandFlags,
    args: &[&[u8]],
) {
    let propagation = std::mem::take(&mut call.propagation);
    let own = match &propagation {
        Propagation::Automatic if changed => 1,
        Propagation::Forced | Propagation::ToReplicas => 1,
        Propagation::Instead(commands) if changed => commands.len(),
        _ => 0,
    };
    // Deletions of keys that the command happened to meet do not belong together.
    let expired = server.ks.changes.deleted.len() + server.ks.changes.expired_fields.len();
    let is_unit = own + expired > 1
        && server.effects.unit.is_none()
        && !flags.contains(CommandFlags::TOUCHES_ARBITRARY_KEYS);
    if is_unit {
        begin_unit(server);
    }
    propagate_deletions(server);
    let db = call.db;
    match propagation {
        Propagation::Automatic if changed => propagate(server, db, args),
        Propagation::Forced => propagate(server, db, args),
        Propagation::ToReplicas => {
            let targets = server.effects.targets;
            server.effects.targets.aof = false;
            propagate(server, db, args);
            server.effects.targets = targets;
        }
        Propagation::Instead(commands) if changed => {
            for command in &commands {
                let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                propagate(server, db, &args);
            }
        }
        _ => {}
    }
    if is_unit {
        end_unit(server);
    }
    tell_changes(server);
}

/// Tells subscribers and watchers what happened to keys.
pub(crate) fn tell_changes(server: &mut Server) {
    if !server.ks.changes.notifications.waiting.is_empty() {
        publish_notifications(server);
    }
    for Modified { db, key, by_server } in std::mem::take(&mut server.ks.changes.modified) {
        transaction::touch_watched_key(server, db, &key);
        tracking::tracking_key_changed(
            server,
            &key,
            server.clients.in_turn().filter(|_| !by_server),
        );
    }
}

/// Publishes what happened to keys, in the order in which it happened.
pub(crate) fn publish_notifications(server: &mut Server) {
    let enabled = server.ks.changes.notifications.enabled;
    for event in std::mem::take(&mut server.ks.changes.notifications.waiting) {
        if enabled.contains(Class::KEYSPACE) {
            let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
            channel.extend_from_slice(&event.key);
            output::publish(server, &channel, event.name.as_bytes());
        }
        if enabled.contains(Class::KEYEVENT) {
            let channel = format!("__keyevent@{}__:{}", event.db, event.name);
            output::publish(server, channel.as_bytes(), &event.key);
        }
    }
}

/// Propagates the deletions that the keyspace made by itself.
pub(crate) fn propagate_deletions(server: &mut Server) {
    if let Some(slowest) = &mut server.ks.changes.slowest_expiry {
        let took = std::mem::take(slowest);
        latency::note(server, "expire-del", took);
    }
    for (db, key, fields) in std::mem::take(&mut server.ks.changes.expired_fields) {
        let mut command: Vec<&[u8]> = vec![b"HDEL", &key];
        command.extend(fields.iter().map(Vec::as_slice));
        propagate(server, db, &command);
    }
    if server.ks.changes.deleted.is_empty() {
        return;
    }
    let lazy = server.config.lazyfree_lazy_expire;
    for (db, key) in std::mem::take(&mut server.ks.changes.deleted) {
        propagate_deletion(server, db, &key, lazy);
    }
}

/// Propagates that a key was deleted, by `UNLINK` if it was freed in the background.
pub(crate) fn propagate_deletion(server: &mut Server, db: usize, key: &[u8], lazy: bool) {
    propagate(server, db, &[if lazy { b"UNLINK" } else { b"DEL" }, key]);
}

/// Appends a command to the unit, or to the append-only file and the replication stream. A replica's stream is
/// its primary's, not its own.
pub(crate) fn propagate(server: &mut Server, db: usize, args: &[&[u8]]) {
    if server.persistence.aof.is_replaying() {
        return;
    }
    if server.net.migrations.wants_writes() {
        feed_migrations(server, db, args);
    }
    let targets = server.effects.targets;
    let records = targets.aof && server.persistence.records_commands();
    let replicates =
        targets.replicas && server.repl.stream().is_some() && !server.repl.is_replica();
    if let Some(unit) = &mut server.effects.unit {
        if records {
            server.persistence.aof.feed(db, args, Some(&mut unit.aof));
        }
        if replicates {
            server.repl.encode(db, args, &mut unit.stream);
        }
        unit.aof_commands += usize::from(records);
        unit.stream_commands += usize::from(replicates);
        return;
    }
    if records {
        annotate_aof(server);
        server.persistence.aof.feed(db, args, None);
        count_unreplicated(server, 1);
    }
    if replicates {
        server.repl.feed(db, args);
    }
}

fn annotate_aof(server: &mut Server) {
    if server.config.aof_timestamp_enabled {
        server.persistence.aof.annotate(server.ks.now_ms / 1000);
    }
}

/// Without a replication stream the offset counts commands: `WAITAOF` needs to know what is durable.
fn count_unreplicated(server: &mut Server, commands: usize) {
    if server.repl.stream().is_none() && !server.repl.is_replica() {
        server.repl.count_untold(commands as u64);
    }
}
