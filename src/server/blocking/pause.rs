//! Clients wait: for a time or until somebody lets them go on (`CLIENT PAUSE`), until replicas have caught up
//! (`SHUTDOWN`), until another server is the primary (`FAILOVER`). Each of them has its own pause; the strongest rules.

use crate::server::Server;
use crate::server::blocking;
use crate::server::client::Blocked;
use crate::server::expiry;

/// What is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// Commands that write.
    Write,
    All,
}

/// Who pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausePurpose {
    Command,
    Shutdown,
    Failover,
    /// Slots move to another node.
    SlotMigration,
}

/// The pauses in force.
#[derive(Clone, Debug, Default)]
pub struct Pause {
    /// By purpose: what, and until when, in milliseconds since 1970 (`i64::MAX`: until it is ended).
    current: [Option<(PauseKind, i64)>; 4],
    /// Whether there may be any: cheap to ask.
    active: bool,
}

impl Pause {
    /// Whether there may be a pause: cheap, and true a little too long.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// What is paused now.
    pub fn kind(&self, now_ms: i64) -> Option<PauseKind> {
        let running = self.current.iter().flatten().filter(|(_, until)| *until > now_ms);
        running.map(|(kind, _)| *kind).max()
    }

    /// Whether somebody's pause is running.
    pub fn is_running(&self, purpose: PausePurpose, now_ms: i64) -> bool {
        self.current[purpose as usize].is_some_and(|(_, until)| until > now_ms)
    }

    /// When a pause ends next, in milliseconds since 1970; `None`: there is none, or it has no end.
    pub fn deadline_ms(&self) -> Option<i64> {
        self.current.iter().flatten().map(|(_, until)| *until).filter(|at| *at != i64::MAX).min()
    }

    /// Starts a pause. One for the same purpose that is running is never weakened or shortened.
    pub fn start(&mut self, purpose: PausePurpose, kind: PauseKind, until: i64, now_ms: i64) {
        let place = &mut self.current[purpose as usize];
        *place = Some(match place.filter(|&(_, end)| end > now_ms) {
            Some((old, end)) => (old.max(kind), end.max(until)),
            None => (kind, until),
        });
        self.active = true;
    }

    /// Ends one purpose's pause, and those whose time is over.
    fn end(&mut self, purpose: Option<PausePurpose>, now_ms: i64) {
        if let Some(purpose) = purpose {
            self.current[purpose as usize] = None;
        }
        for place in &mut self.current {
            *place = place.filter(|(_, until)| *until > now_ms);
        }
        self.active = self.current.iter().any(Option::is_some);
    }
}

/// Starts a pause, or makes the one that is running stronger or longer. `until` is in milliseconds since 1970.
pub(crate) fn pause_clients(
    server: &mut Server,
    purpose: PausePurpose,
    kind: PauseKind,
    until: i64,
) {
    server.blocking.pause.start(purpose, kind, until, server.ks.now_ms);
    expiry::restore_role(server);
}

/// Ends a pause, and has those who waited try again.
pub(crate) fn unpause_clients(server: &mut Server, purpose: PausePurpose) {
    server.blocking.pause.end(Some(purpose), server.ks.now_ms);
    paused_clients_go_on(server);
}

/// Ends the pauses whose time is over.
pub(crate) fn check_pause(server: &mut Server) {
    if server.blocking.pause.is_active()
        && server.blocking.pause.deadline_ms().is_some_and(|at| at <= server.ks.now_ms)
    {
        server.blocking.pause.end(None, server.ks.now_ms);
        paused_clients_go_on(server);
    }
}

/// Whoever still has to wait will find out when trying again.
fn paused_clients_go_on(server: &mut Server) {
    expiry::restore_role(server);
    for noted in server.clients.waiting().to_vec() {
        if let Some(token) = server.clients.find(noted)
            && server.clients[token].blocked.as_ref().is_some_and(|b| b.on == Blocked::Pause)
        {
            blocking::unblock_client(server, token);
        }
    }
}
