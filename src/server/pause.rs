//! `CLIENT PAUSE`: clients wait, for a time, or until somebody lets them go on.
#![forbid(unsafe_code)]

use super::Server;
use super::client::Blocked;
use crate::db::ExpiryRole;

/// What is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// Commands that write.
    Write,
    All,
}

/// The pause in force.
#[derive(Clone, Debug, Default)]
pub struct Pause {
    current: Option<(PauseKind, i64)>,
}

impl Pause {
    /// Whether there may be a pause: cheap, and true a little too long.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.current.is_some()
    }

    /// What is paused now.
    pub fn kind(&self, now_ms: i64) -> Option<PauseKind> {
        self.current.filter(|&(_, until)| until > now_ms).map(|(kind, _)| kind)
    }

    /// When the pause ends, in milliseconds since 1970; `None`: there is none, or it has no end.
    pub fn deadline(&self) -> Option<i64> {
        self.current.map(|(_, until)| until).filter(|&until| until != i64::MAX)
    }

    /// Starts a pause. One that is running is never weakened or shortened.
    pub fn start(&mut self, kind: PauseKind, until: i64, now_ms: i64) {
        self.current = Some(match self.current.filter(|&(_, end)| end > now_ms) {
            Some((old, end)) => (old.max(kind), end.max(until)),
            None => (kind, until),
        });
    }
}

impl Server {
    /// Starts a pause, or makes the one that is running stronger or longer. `until` is in milliseconds since 1970.
    pub fn pause_clients(&mut self, kind: PauseKind, until: i64) {
        self.pause.start(kind, until, self.ks.now_ms);
        self.restore_expiry_role();
    }

    /// Who decides that keys have expired, where it is not the primary that speaks: nobody while clients are paused,
    /// because nothing may change then.
    pub fn restore_expiry_role(&mut self) {
        let hide = self.repl.is_replica() || self.pause.is_active();
        self.ks.role = if hide { ExpiryRole::Hide } else { ExpiryRole::Delete };
    }

    /// Ends the pause, and has those who waited try again.
    pub fn unpause_clients(&mut self) {
        self.pause.current = None;
        self.restore_expiry_role();
        for noted in self.blocked.clone() {
            if let Some(token) = self.still(noted)
                && self.clients[token].blocked.as_ref().is_some_and(|b| b.on == Blocked::Pause)
            {
                self.unblock_client(token);
            }
        }
    }

    /// Ends the pause when its time is over.
    pub fn check_pause(&mut self) {
        if self.pause.is_active() && self.pause.kind(self.ks.now_ms).is_none() {
            self.unpause_clients();
        }
    }
}
