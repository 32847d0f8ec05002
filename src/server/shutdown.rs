//! Ending: on a signal or on command, with a snapshot or without, when the replicas have caught up or at once.

use super::Server;
use super::aof::AofState;
use super::client::Blocked;
use super::config::ShutdownFlags;
use super::pause::{PauseKind, PausePurpose};
use super::persistence::SaveTarget;
use super::replication::ReplState;
use crate::resp::error::{CommandError, CommandResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far ending has come.
#[derive(Debug, Default)]
pub struct Shutdown {
    /// The loop is to end, with this exit code.
    pub exit: Option<i32>,
    /// Waiting for replicas until then, in milliseconds since 1970.
    deadline: Option<i64>,
    flags: Option<ShutdownFlags>,
    /// A signal that has come and is heeded by the cron.
    asap: Option<i32>,
    /// True as soon as SIGINT has come, which the loop can't tell while the final snapshot is written.
    pub insisting: Option<Arc<AtomicBool>>,
}

impl Shutdown {
    /// Whether ending has begun and waits for replicas.
    pub fn is_pending(&self) -> bool {
        self.deadline.is_some()
    }

    /// How long it waits for replicas at most, in milliseconds, if it does.
    pub fn milliseconds_left(&self, now_ms: i64) -> Option<i64> {
        self.deadline.map(|deadline| deadline - now_ms)
    }
}

const FAILED: CommandError = CommandError::err("Errors trying to SHUTDOWN. Check logs.");

impl Server {
    /// SIGTERM or SIGINT: an orderly end. SIGINT behind another ends at once: somebody sits at a terminal. A supervisor
    /// that repeats its SIGTERM wants no data lost.
    pub fn signal_received(&mut self, signal: i32) {
        if self.shutdown.asap.is_some() && signal == libc::SIGINT {
            self.exit_at_once();
            return;
        }
        if self.loading.is_some() {
            self.warning("Received shutdown signal during loading, scheduling shutdown.");
            self.remove_pid_file();
            self.shutdown.exit = Some(0);
            return;
        }
        let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
        self.warning(&format!("Received {name} scheduling shutdown..."));
        self.shutdown.asap = Some(signal);
    }

    fn exit_at_once(&mut self) {
        self.warning("You insist... exiting now.");
        self.shutdown.exit = Some(1);
    }

    /// `hz` times a second: begins to end if a signal has come.
    pub fn heed_signal(&mut self) {
        let Some(signal) = self.shutdown.asap else { return };
        if self.shutdown.is_pending() || self.shutdown.exit.is_some() {
            return;
        }
        let flags = match signal {
            libc::SIGINT => self.config.shutdown_on_sigint,
            _ => self.config.shutdown_on_sigterm,
        };
        if !self.begin_shutdown(flags) {
            self.shutdown.asap = None;
        }
    }

    /// `SHUTDOWN`: nothing is answered if it works.
    ///
    /// # Errors
    /// If the snapshot can't be written.
    pub fn shutdown_command(&mut self, flags: ShutdownFlags) -> CommandResult {
        if self.begin_shutdown(flags) {
            if self.shutdown.is_pending()
                && let Some(token) = self.clients.in_turn()
            {
                self.block_client(token, Blocked::Shutdown, None);
            }
            return Ok(());
        }
        Err(FAILED)
    }

    /// `SHUTDOWN ABORT`: whether there was anything to abort.
    pub fn abort_shutdown(&mut self) -> bool {
        if self.shutdown.deadline.is_none() && self.shutdown.asap.is_none() {
            return false;
        }
        self.notice("Shutdown manually aborted.");
        self.cancel_shutdown();
        true
    }

    fn cancel_shutdown(&mut self) {
        let insisting = self.shutdown.insisting.take();
        self.shutdown = Shutdown { insisting, ..Shutdown::default() };
        self.unpause_clients(PausePurpose::Shutdown);
        for noted in self.clients.waiting().to_vec() {
            if let Some(token) = self.clients.find(noted)
                && self.clients[token].blocked.as_ref().is_some_and(|b| b.on == Blocked::Shutdown)
            {
                self.reply_to(token, |r| r.error(&FAILED));
                self.unblock_client(token);
            }
        }
    }

    /// Begins to end; `false` if that failed and the server goes on.
    fn begin_shutdown(&mut self, flags: ShutdownFlags) -> bool {
        self.notice("User requested shutdown...");
        self.shutdown.flags = Some(flags);
        let timeout = i64::from(self.config.shutdown_timeout) * 1000;
        if !flags.contains(ShutdownFlags::NOW) && timeout > 0 && self.lagging_replicas() > 0 {
            let deadline = self.ks.now_ms + timeout;
            self.shutdown.deadline = Some(deadline);
            // Nothing new is written, so that the replicas can catch up.
            self.pause_clients(PausePurpose::Shutdown, PauseKind::Write, i64::MAX);
            self.request_acks();
            self.notice(&format!(
                "{} replicas are lagging: waiting for them before shutting down.",
                self.lagging_replicas()
            ));
            return true;
        }
        self.finish_shutdown()
    }

    /// How many replicas have not said that they have all of the stream. One whose snapshot is being made has all of a
    /// stream that nobody has written to.
    fn lagging_replicas(&self) -> usize {
        let links = self.repl.replicas.iter().filter_map(|&t| self.clients[t].replica.as_ref());
        links.filter(|link| link.ack_offset != self.repl.offset).count()
    }

    /// Goes on ending once the replicas have caught up, or their time is over.
    pub fn check_shutdown(&mut self) {
        let Some(deadline) = self.shutdown.deadline else { return };
        let over = self.lagging_replicas() == 0 || self.ks.now_ms >= deadline;
        if over && !self.finish_shutdown() {
            self.cancel_shutdown();
        }
    }

    /// Says which replicas are left behind.
    fn report_replicas(&self) {
        let all = self.repl.replicas.len();
        for &token in &self.repl.replicas {
            let Some(link) = &self.clients[token].replica else { continue };
            let online = link.state == Some(ReplState::Online);
            if online && link.ack_offset != self.repl.offset {
                self.notice(&format!(
                    "Lagging replica {} reported offset {} behind master, lag={}, state=online.",
                    self.replica_name(token),
                    self.repl.offset.saturating_sub(link.ack_offset),
                    self.now_seconds() - link.ack_time
                ));
            }
        }
        if all > 0 {
            let synced = all - self.lagging_replicas();
            self.notice(&format!("{synced} of {all} replicas are in sync when shutting down."));
        }
    }

    /// Makes the append-only file durable; `false` if there is none yet that could be relied on.
    fn close_aof(&mut self, force: bool) -> bool {
        if self.aof.state == AofState::Off {
            return true;
        }
        if self.is_rewriting_aof() {
            if self.aof.state == AofState::WaitRewrite {
                if !force {
                    self.warning("Writing initial AOF, can't exit.");
                    return false;
                }
                self.warning("Writing initial AOF. Exit anyway.");
            }
            self.warning("There is a child rewriting the AOF. Killing it!");
            self.kill_aof_child();
        }
        self.notice("Calling fsync() on the AOF file.");
        self.flush_append_only_file(true);
        self.sync_aof_now();
        true
    }

    /// Ends, unless something that must be written can't be: then the server goes on.
    fn finish_shutdown(&mut self) -> bool {
        self.report_replicas();
        let ended = self.write_and_exit();
        if !ended {
            self.warning(
                "Errors trying to shut down the server. Check the logs for more information.",
            );
        }
        ended
    }

    fn write_and_exit(&mut self) -> bool {
        let flags = self.shutdown.flags.unwrap_or(ShutdownFlags::empty());
        if self.persistence.child.as_ref().is_some_and(|c| c.target == SaveTarget::Disk) {
            self.warning("There is a child saving an .rdb. Killing it!");
        }
        self.kill_save_child();
        if !self.close_aof(flags.contains(ShutdownFlags::FORCE)) {
            return false;
        }
        let wants_save = !self.config.save.is_empty() && self.loading.is_none();
        let save = flags.contains(ShutdownFlags::SAVE)
            || (wants_save && !flags.contains(ShutdownFlags::NOSAVE));
        if save {
            self.notice("Saving the final RDB snapshot before exiting.");
            // Who shuts down by command has not sent a signal yet: the first one insists on nothing.
            let insisting =
                self.shutdown.insisting.clone().filter(|_| self.shutdown.asap.is_some());
            if !self.rdb_save_until(insisting.as_slice()) {
                if insisting.is_some_and(|signal| signal.load(Ordering::Relaxed)) {
                    self.exit_at_once();
                    return true;
                }
                self.warning("Error trying to save the DB, can't exit.");
                if !flags.contains(ShutdownFlags::FORCE) {
                    return false;
                }
            }
        }
        self.discard_download();
        self.remove_pid_file();
        self.warning("Redis is now ready to exit, bye bye...");
        self.shutdown.exit = Some(0);
        true
    }

    fn remove_pid_file(&self) {
        if let Some(pidfile) = &self.config.pidfile {
            self.notice("Removing the pid file.");
            let _ = std::fs::remove_file(pidfile);
        }
    }
}
