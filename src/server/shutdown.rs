//! Ending: on a signal or on command, with a snapshot or without, when the replicas have caught up or at once.

use super::Server;
use super::blocking::pause::{PauseKind, PausePurpose};
use super::client::Blocked;
use super::config::ShutdownFlags;
use super::persistence::SaveTarget;
use super::persistence::aof::AofState;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::blocking;
use crate::server::blocking::pause;
use crate::server::output;
use crate::server::persistence;
use crate::server::persistence::aof::rewrite;
use crate::server::persistence::aof::write;
use crate::server::replication;
use crate::server::replication::primary::feed;
use crate::server::replication::primary::snapshot;
use crate::server::replication::replica;
use std::sync::atomic::Ordering;

const FAILED: CommandError = CommandError::err("Errors trying to SHUTDOWN. Check logs.");

/// SIGTERM or SIGINT: an orderly end. SIGINT behind another ends at once: somebody sits at a terminal. A supervisor
/// that repeats its SIGTERM wants no data lost.
pub(crate) fn signal_received(server: &mut Server, signal: i32) {
    if server.lifecycle.shutdown.is_signalled() && signal == libc::SIGINT {
        exit_at_once(server);
        return;
    }
    if server.persistence.is_loading() {
        server.warning("Received shutdown signal during loading, scheduling shutdown.");
        remove_pid_file(server);
        server.lifecycle.shutdown.exit_with(0);
        return;
    }
    let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
    server.warning(&format!("Received {name} scheduling shutdown..."));
    server.lifecycle.shutdown.note_signal(signal);
}

fn exit_at_once(server: &mut Server) {
    server.warning("You insist... exiting now.");
    server.lifecycle.shutdown.exit_with(1);
}

/// `hz` times a second: begins to end if a signal has come.
pub(crate) fn heed_signal(server: &mut Server) {
    let Some(signal) = server.lifecycle.shutdown.unheeded_signal() else { return };
    let flags = match signal {
        libc::SIGINT => server.config.shutdown_on_sigint,
        _ => server.config.shutdown_on_sigterm,
    };
    if !begin_shutdown(server, flags) {
        server.lifecycle.shutdown.forget_signal();
    }
}

/// `SHUTDOWN`: nothing is answered if it works.
///
/// # Errors
/// If the snapshot can't be written.
pub(crate) fn shutdown_command(server: &mut Server, flags: ShutdownFlags) -> CommandResult {
    if begin_shutdown(server, flags) {
        if server.lifecycle.shutdown.is_pending()
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
    let shutdown = &server.lifecycle.shutdown;
    if !shutdown.is_pending() && !shutdown.is_signalled() {
        return false;
    }
    server.notice("Shutdown manually aborted.");
    cancel_shutdown(server);
    true
}

fn cancel_shutdown(server: &mut Server) {
    server.lifecycle.shutdown.cancel();
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
    server.lifecycle.shutdown.begin(flags);
    let timeout = i64::from(server.config.shutdown_timeout) * 1000;
    if !flags.contains(ShutdownFlags::NOW) && timeout > 0 && lagging_replicas(server) > 0 {
        let deadline_ms = server.ks.now_ms + timeout;
        server.lifecycle.shutdown.wait_until(deadline_ms);
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
    let links = server.repl.replicas().iter().filter_map(|&t| server.clients[t].replstate.as_ref());
    links.filter(|link| link.ack_offset() != server.repl.offset()).count()
}

/// Goes on ending once the replicas have caught up, or their time is over.
pub(crate) fn check_shutdown(server: &mut Server) {
    if !server.lifecycle.shutdown.is_pending() {
        return;
    }
    let overdue = server.lifecycle.shutdown.is_overdue(server.ks.now_ms);
    let over = overdue || lagging_replicas(server) == 0;
    if over && !finish_shutdown(server) {
        cancel_shutdown(server);
    }
}

/// Says which replicas are left behind.
fn report_replicas(server: &Server) {
    let all = server.repl.replicas().len();
    for &token in server.repl.replicas() {
        let Some(link) = &server.clients[token].replstate else { continue };
        let online = link.is_online();
        if online && link.ack_offset() != server.repl.offset() {
            server.notice(&format!(
                "Lagging replica {} reported offset {} behind master, lag={}, state=online.",
                replication::replica_name(server, token),
                server.repl.offset().saturating_sub(link.ack_offset()),
                server.now_seconds() - link.heard_seconds()
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
    if server.persistence.aof.is_off() {
        return true;
    }
    if server.persistence.is_rewriting_aof() {
        if server.persistence.aof.state() == AofState::WaitRewrite {
            if !force {
                server.warning("Writing initial AOF, can't exit.");
                return false;
            }
            server.warning("Writing initial AOF. Exit anyway.");
        }
        server.warning("There is a child rewriting the AOF. Killing it!");
        rewrite::kill_aof_rewrite(server);
    }
    server.notice("Calling fsync() on the AOF file.");
    write::flush_append_only_file(server, true);
    rewrite::sync_aof_now(server);
    true
}

/// Ends, unless something that must be written can't be: then the server goes on.
fn finish_shutdown(server: &mut Server) -> bool {
    server.process.notify("STOPPING=1");
    report_replicas(server);
    let ended = write_and_exit(server);
    if !ended {
        server
            .warning("Errors trying to shut down the server. Check the logs for more information.");
    }
    ended
}

fn write_and_exit(server: &mut Server) -> bool {
    let flags = server.lifecycle.shutdown.flags();
    if server.persistence.save_target() == Some(SaveTarget::Disk) {
        server.warning("There is a child saving an .rdb. Killing it!");
    }
    snapshot::kill_saver(server);
    if !close_aof(server, flags.contains(ShutdownFlags::FORCE)) {
        return false;
    }
    let wants_save = !server.config.save.is_empty() && !server.persistence.is_loading();
    let save = flags.contains(ShutdownFlags::SAVE)
        || (wants_save && !flags.contains(ShutdownFlags::NOSAVE));
    if save {
        server.notice("Saving the final RDB snapshot before exiting.");
        let insisting = server.lifecycle.shutdown.insisting();
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
    server.lifecycle.shutdown.exit_with(0);
    true
}

fn remove_pid_file(server: &Server) {
    if let Some(pidfile) = &server.config.pidfile {
        server.notice("Removing the pid file.");
        let _ = std::fs::remove_file(pidfile);
    }
}
