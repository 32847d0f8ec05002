//! What is told after a command: to replicas, the command itself, something in its place, or nothing, and the
//! deletions that expiry and eviction made on the way; to those who watch keys or subscribed to what happens to them,
//! the changes.
//!
//! What belongs together, the effects of a transaction or of one command, is one [`Unit`]: replicas get it between
//! `MULTI` and `EXEC` if it is more than one command.

use super::Server;
use super::call::{Call, Propagation};
use super::replication::encode_command;
use crate::db::keyspace::Modified;
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

impl Server {
    /// Whether anybody is told: if not, a handler need not work out what.
    pub fn is_propagated(&self) -> bool {
        self.records_aof() || (self.repl.stream.is_some() && !self.repl.is_replica())
    }

    /// Whether what is propagated is being gathered.
    pub fn gathers_unit(&self) -> bool {
        self.unit.is_some()
    }

    /// Starts to gather what is propagated.
    pub fn begin_unit(&mut self) {
        self.unit = Some(Unit::default());
    }

    /// Puts what has been gathered aside.
    pub fn take_unit(&mut self) -> Option<Unit> {
        self.unit.take()
    }

    /// Goes on gathering.
    pub fn restore_unit(&mut self, unit: Option<Unit>) {
        self.unit = unit;
    }

    /// Propagates what was gathered.
    pub fn end_unit(&mut self) {
        let Some(Unit { mut stream, aof, stream_commands, aof_commands }) = self.unit.take() else {
            return;
        };
        if self.shutdown.exit.is_some() {
            // A script was ended in its midst, because the server ends: half of what it does is not to be kept.
            return;
        }
        if !aof.is_empty() && self.records_aof() {
            self.annotate_aof();
            self.aof.feed_unit(aof_commands, &aof);
            self.count_unreplicated(aof_commands);
        }
        if self.repl.is_replica() {
            // It became one on the way: its history is another's now.
            self.repl.selected_db = None;
            return;
        }
        if self.repl.stream.is_none() {
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
            self.repl.feed_bytes(&stream);
        }
    }

    /// Tells what the command that just ran did, and empties the keyspace's queues.
    pub fn propagate_after(
        &mut self,
        call: &mut Call,
        changed: bool,
        flags: CommandFlags,
        args: &[&[u8]],
    ) {
        if call.propagation == Propagation::Automatic && !self.ks.changes.needs_attention() {
            if changed {
                self.propagate(call.db, args);
            }
            return;
        }
        let propagation = std::mem::take(&mut call.propagation);
        let own = match &propagation {
            Propagation::Automatic if changed => 1,
            Propagation::Forced | Propagation::ToReplicas => 1,
            Propagation::Instead(commands) if changed => commands.len(),
            _ => 0,
        };
        // Deletions of keys that the command happened to meet do not belong together.
        let expired = self.ks.changes.deleted.len() + self.ks.changes.expired_fields.len();
        let is_unit = own + expired > 1
            && self.unit.is_none()
            && !flags.contains(CommandFlags::TOUCHES_ARBITRARY_KEYS);
        if is_unit {
            self.begin_unit();
        }
        self.propagate_deletions();
        let db = call.db;
        match propagation {
            Propagation::Automatic if changed => self.propagate(db, args),
            Propagation::Forced => self.propagate(db, args),
            Propagation::ToReplicas => {
                let targets = self.propagates_to;
                self.propagates_to.aof = false;
                self.propagate(db, args);
                self.propagates_to = targets;
            }
            Propagation::Instead(commands) if changed => {
                for command in &commands {
                    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                    self.propagate(db, &args);
                }
            }
            _ => {}
        }
        if is_unit {
            self.end_unit();
        }
        self.tell_changes();
    }

    /// Tells subscribers and watchers what happened to keys.
    pub fn tell_changes(&mut self) {
        if !self.ks.changes.notifications.waiting.is_empty() {
            self.publish_notifications();
        }
        for Modified { db, key, by_server } in std::mem::take(&mut self.ks.changes.modified) {
            self.touch_watched_key(db, &key);
            self.tracking_key_changed(&key, self.clients.in_turn().filter(|_| !by_server));
        }
    }

    /// Propagates the deletions that the keyspace made by itself.
    pub fn propagate_deletions(&mut self) {
        if let Some(slowest) = &mut self.ks.changes.slowest_expiry {
            let took = std::mem::take(slowest);
            self.note_latency("expire-del", took);
        }
        for (db, key, fields) in std::mem::take(&mut self.ks.changes.expired_fields) {
            let mut command: Vec<&[u8]> = vec![b"HDEL", &key];
            command.extend(fields.iter().map(Vec::as_slice));
            self.propagate(db, &command);
        }
        if self.ks.changes.deleted.is_empty() {
            return;
        }
        let lazy = self.config.lazyfree_lazy_expire;
        for (db, key) in std::mem::take(&mut self.ks.changes.deleted) {
            self.propagate_deletion(db, &key, lazy);
        }
    }

    /// Propagates that a key was deleted, by `UNLINK` if it was freed in the background.
    pub fn propagate_deletion(&mut self, db: usize, key: &[u8], lazy: bool) {
        self.propagate(db, &[if lazy { b"UNLINK" } else { b"DEL" }, key]);
    }

    /// Appends a command to the unit, or to the append-only file and the replication stream. A replica's stream is
    /// its primary's, not its own.
    fn propagate(&mut self, db: usize, args: &[&[u8]]) {
        if self.aof.is_replaying {
            return;
        }
        let targets = self.propagates_to;
        let records = targets.aof && self.records_aof();
        let replicates = targets.replicas && self.repl.stream.is_some() && !self.repl.is_replica();
        if let Some(unit) = &mut self.unit {
            if records {
                self.aof.feed(db, args, Some(&mut unit.aof));
            }
            if replicates {
                self.repl.encode(db, args, &mut unit.stream);
            }
            unit.aof_commands += usize::from(records);
            unit.stream_commands += usize::from(replicates);
            return;
        }
        if records {
            self.annotate_aof();
            self.aof.feed(db, args, None);
            self.count_unreplicated(1);
        }
        if replicates {
            self.repl.feed(db, args);
        }
    }

    fn annotate_aof(&mut self) {
        if self.config.aof_timestamp_enabled {
            self.aof.annotate(self.ks.now_ms / 1000);
        }
    }

    /// Without a replication stream the offset counts commands: `WAITAOF` needs to know what is durable.
    fn count_unreplicated(&mut self, commands: usize) {
        if self.repl.stream.is_none() && !self.repl.is_replica() {
            self.repl.offset += commands as u64;
        }
    }
}
