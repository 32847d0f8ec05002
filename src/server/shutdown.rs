//! Ending: on a signal or on command, with a snapshot or without, when the replicas have caught up or at once.

use super::Server;
use super::client::Blocked;
use super::config::ShutdownFlags;
use super::pause::{PauseKind, PausePurpose};
use super::persistence::SaveTarget;
use super::persistence::aof::AofState;
use super::replication::ReplState;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::blocking;
use crate::server::output;
use crate::server::pause;
use crate::server::persistence;
use crate::server::persistence::aof;
use crate::server::persistence::aof::rewrite;
use crate::server::persistence::aof::write;
use crate::server::replication::primary;
use crate::server::replication::primary::feed;
use crate::server::replication::replica;
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

/// SIGTERM or SIGINT: an orderly end. SIGINT behind another ends at once: somebody sits at a terminal. A supervisor
/// that repeats its SIGTERM wants no data lost.
pub(crate) fn signal_received(server: &mut Server, signal: i32) {
    if server.shutdown.asap.is_some() && signal == libc::SIGINT {
        exit_at_once(server);
        return;
    }
    if server.persistence.loading.is_some() {
        server.warning("Received shutdown signal during loading, scheduling shutdown.");
        remove_pid_file(server);
        server.shutdown.exit = Some(0);
        return;
    }
    let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
    server.warning(&format!("Received {name} scheduling shutdown..."));
    server.shutdown.asap = Some(signal);
}

fn exit_at_once(server: &mut Server) {
    server.warning("You insist... exiting now.");
    server.shutdown.exit = Some(1);
}

/// `hz` times a second: begins to end if a signal has come.
pub(crate) fn heed_signal(server: &mut Server) {
    let Some(signal) = server.shutdown.asap else { return };
    if server.shutdown.is_pending() || server.shutdown.exit.is_some() {
        return;
    }
    let flags = match signal {
        libc::SIGINT => server.config.shutdown_on_sigint,
        _ => server.config.shutdown_on_sigterm,
    };
    if !begin_shutdown(server, flags) {
        server.shutdown.asap = None;
    }
}

/// `SHUTDOWN`: nothing is answered if it works.
///
/// # Errors
/// If the snapshot can't be written.
pub(crate) fn shutdown_command(server: &mut Server, flags: ShutdownFlags) -> CommandResult {
    if begin_shutdown(server, flags) {
        if server.shutdown.is_pending()
            && let Some(token) = server.clients.in_turn()
        {
            blocking::block_client(server, token, Blocked::Shutdown, None);
        }
        return Ok(());
    }
    Err(FAILED)
}

/// `SHUTDOWN ABORT`: whether there was anything to abort.
pub(crate) fn abort_shutdown(server: &mut Server) -> bool {
    if server.shutdown.deadline.is_none() && server.shutdown.asap.is_none() {
        return false;
    }
    server.notice("Shutdown manually aborted.");
    cancel_shutdown(server);
    true
}

fn cancel_shutdown(server: &mut Server) {
    let insisting = server.shutdown.insisting.take();
    server.shutdown = Shutdown { insisting, ..Shutdown::default() };
    pause::unpause_clients(server, PausePurpose::Shutdown);
    for noted in server.clients.waiting().to_vec() {
        if let Some(token) = server.clients.find(noted)
            && server.clients[token].blocked.as_ref().is_some_and(|b| b.on == Blocked::Shutdown)
        {
            output::reply_to(server, token, |r| r.error(&FAILED));
            blocking::unblock_client(server, token);
        }
    }
}

/// Begins to end; `false` if that failed and the server goes on.
fn begin_shutdown(server: &mut Server, flags: ShutdownFlags) -> bool {
    server.notice("User requested shutdown...");
    server.shutdown.flags = Some(flags);
    let timeout = i64::from(server.config.shutdown_timeout) * 1000;
    if !flags.contains(ShutdownFlags::NOW) && timeout > 0 && lagging_replicas(server) > 0 {
        let deadline = server.ks.now_ms + timeout;
        server.shutdown.deadline = Some(deadline);
        // Nothing new is written, so that the replicas can catch up.
        pause::pause_clients(server, PausePurpose::Shutdown, PauseKind::Write, i64::MAX);
        feed::request_acks(server);
        server.notice(&format!(
            "{} replicas are lagging: waiting for them before shutting down.",
            lagging_replicas(server)
        ));
        return true;
    }
    finish_shutdown(server)
}

/// How many replicas have not said that they have all of the stream. One whose snapshot is being made has all of a
/// stream that nobody has written to.
fn lagging_replicas(server: &Server) -> usize {
    let links = server.repl.replicas.iter().filter_map(|&t| server.clients[t].replica.as_ref());
    links.filter(|link| link.ack_offset != server.repl.offset).count()
}

/// Goes on ending once the replicas have caught up, or their time is over.
pub(crate) fn check_shutdown(server: &mut Server) {
    let Some(deadline) = server.shutdown.deadline else { return };
    let over = lagging_replicas(server) == 0 || server.ks.now_ms >= deadline;
    if over && !finish_shutdown(server) {
        cancel_shutdown(server);
    }
}

/// Says which replicas are left behind.
fn report_replicas(server: &Server) {
    let all = server.repl.replicas.len();
    for &token in &server.repl.replicas {
        let Some(link) = &server.clients[token].replica else { continue };
        let online = link.state == Some(ReplState::Online);
        if online && link.ack_offset != server.repl.offset {
            server.notice(&format!(
                "Lagging replica {} reported offset {} behind master, lag={}, state=online.",
                primary::replica_name(server, token),
                server.repl.offset.saturating_sub(link.ack_offset),
                server.now_seconds() - link.ack_time
            ));
        }
    }
    if all > 0 {
        let synced = all - lagging_replicas(server);
        server.notice(&format!("{synced} of {all} replicas are in sync when shutting down."));
    }
}

/// Makes the append-only file durable; `false` if there is none yet that could be relied on.
fn close_aof(server: &mut Server, force: bool) -> bool {
    if server.persistence.aof.state == AofState::Off {
        return true;
    }
    if aof::is_rewriting_aof(server) {
        if server.persistence.aof.state == AofState::WaitRewrite {
            if !force {
                server.warning("Writing initial AOF, can't exit.");
                return false;
            }
            server.warning("Writing initial AOF. Exit anyway.");
        }
        server.warning("There is a child rewriting the AOF. Killing it!");
        rewrite::kill_aof_child(server);
    }
    server.notice("Calling fsync() on the AOF file.");
    write::flush_append_only_file(server, true);
    rewrite::sync_aof_now(server);
    true
}

/// Ends, unless something that must be written can't be: then the server goes on.
fn finish_shutdown(server: &mut Server) -> bool {
    report_replicas(server);
    let ended = write_and_exit(server);
    if !ended {
        server
            .warning("Errors trying to shut down the server. Check the logs for more information.");
    }
    ended
}

fn write_and_exit(server: &mut Server) -> bool {
    let flags = server.shutdown.flags.unwrap_or(ShutdownFlags::empty());
    if server.persistence.child.as_ref().is_some_and(|c| c.target == SaveTarget::Disk) {
        server.warning("There is a child saving an .rdb. Killing it!");
    }
    persistence::kill_save_child(server);
    if !close_aof(server, flags.contains(ShutdownFlags::FORCE)) {
        return false;
    }
    let wants_save = !server.config.save.is_empty() && server.persistence.loading.is_none();
    let save = flags.contains(ShutdownFlags::SAVE)
        || (wants_save && !flags.contains(ShutdownFlags::NOSAVE));
    if save {
        server.notice("Saving the final RDB snapshot before exiting.");
        // Who shuts down by command has not sent a signal yet: the first one insists on nothing.
        let insisting =
            server.shutdown.insisting.clone().filter(|_| server.shutdown.asap.is_some());
        if !persistence::rdb_save_until(server, insisting.as_slice()) {
            if insisting.is_some_and(|signal| signal.load(Ordering::Relaxed)) {
                exit_at_once(server);
                return true;
            }
            server.warning("Error trying to save the DB, can't exit.");
            if !flags.contains(ShutdownFlags::FORCE) {
                return false;
            }
        }
    }
    replica::discard_download(server);
    remove_pid_file(server);
    server.warning("Redis is now ready to exit, bye bye...");
    server.shutdown.exit = Some(0);
    true
}

fn remove_pid_file(server: &Server) {
    if let Some(pidfile) = &server.config.pidfile {
        server.notice("Removing the pid file.");
        let _ = std::fs::remove_file(pidfile);
    }
}
