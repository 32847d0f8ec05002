//! What is told to replicas after a command: the command itself, something in its place, or nothing; and the
//! deletions that expiry and eviction made on the way.
#![forbid(unsafe_code)]

use super::Server;

/// What to propagate of the command that is running.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Propagation {
    /// The command as it came, if it changed anything.
    #[default]
    Automatic,
    /// The command as it came, even if it changed nothing: it may change something elsewhere.
    Forced,
    /// Nothing.
    Nothing,
    /// These commands, if it changed anything: its effect.
    Instead(Vec<Vec<Vec<u8>>>),
}

impl Server {
    /// Propagates this in place of the command that is running.
    pub fn propagate_instead(&mut self, command: &[&[u8]]) {
        if self.repl.stream.is_none() {
            // Nobody listens: no copies.
            self.propagation = Propagation::Nothing;
            return;
        }
        let command = command.iter().map(|arg| arg.to_vec()).collect();
        match &mut self.propagation {
            Propagation::Instead(all) => all.push(command),
            other => *other = Propagation::Instead(vec![command]),
        }
    }

    /// Propagates the command that is running, whether it changes anything or not.
    pub fn propagate_anyway(&mut self) {
        self.propagation = Propagation::Forced;
    }

    /// Propagates nothing of the command that is running.
    pub fn propagate_nothing(&mut self) {
        self.propagation = Propagation::Nothing;
    }

    /// Tells replicas what the command that just ran did, and empties the keyspace's queues.
    pub fn propagate_after(&mut self, changed: bool, args: &[&[u8]]) {
        self.propagate_deletions();
        let db = self.db;
        match std::mem::take(&mut self.propagation) {
            Propagation::Automatic if changed => self.propagate(db, args),
            Propagation::Forced => self.propagate(db, args),
            Propagation::Instead(commands) if changed => {
                for command in &commands {
                    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                    self.propagate(db, &args);
                }
            }
            _ => {}
        }
        self.ks.changes.notifications.waiting.clear();
    }

    /// Propagates the deletions that the keyspace made by itself.
    pub fn propagate_deletions(&mut self) {
        if self.ks.changes.deleted.is_empty() {
            return;
        }
        let verb: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        for (db, key) in std::mem::take(&mut self.ks.changes.deleted) {
            self.propagate(db, &[verb, &key]);
        }
    }

    /// Appends a command to the replication stream. A replica's stream is its primary's, not its own.
    fn propagate(&mut self, db: usize, args: &[&[u8]]) {
        if !self.repl.is_replica() {
            self.repl.feed(db, args);
        }
    }
}
