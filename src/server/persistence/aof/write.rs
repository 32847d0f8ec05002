//! Writing: what is executed gathers in a buffer, which goes to the file before the loop sleeps; and syncing.

use super::AofState;
use super::appender::{Flush, Sync, WriteFailure};
use crate::server::Server;
use crate::server::config::AppendFsync;
use crate::server::observe::latency;
use crate::server::persistence::bio::Fsynced;
use crate::util::io_reason;
use std::io;

/// Writes the buffer to the file and syncs it, as `appendfsync` says. While a background sync is under way,
/// writing may wait for it for two seconds, unless `force`.
pub(crate) fn flush_append_only_file(server: &mut Server, force: bool) {
    if force {
        write_owed(server);
    }
    let syncing =
        server.config.appendfsync == AppendFsync::Everysec && server.persistence.bio.is_syncing();
    let aof = &mut server.persistence.aof;
    match aof.appender.next_flush(syncing, force, server.ks.now_ms) {
        Flush::NoFile | Flush::Postponed => return,
        Flush::Empty => {
            sync_what_was_written(server);
            return;
        }
        Flush::Write { waited_in_vain: false } => {}
        Flush::Write { waited_in_vain: true } => server.notice("Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for fsync to complete, this may slow down Redis."),
    }
    let pause = server.persistence.aof.flush_sleep;
    if !pause.is_zero() {
        std::thread::sleep(pause);
    }
    let started = server.ks.clock.nanos();
    let (grown, outcome) = server.persistence.aof.appender.write();
    server.persistence.aof.rewrites.grow(grown);
    let event = if syncing {
        "aof-write-pending-fsync"
    } else if server.persistence.saver().is_some() {
        "aof-write-active-child"
    } else {
        "aof-write-alone"
    };
    latency::note_since(server, event, started);
    latency::note_since(server, "aof-write", started);
    if let Err(failure) = outcome {
        aof_write_failed(server, &failure);
        return;
    }
    write_works(server);
    try_fsync(server);
}

/// Tries to complete the files before the present one.
fn write_owed(server: &mut Server) {
    if !server.persistence.aof.appender.owes() {
        return;
    }
    match server.persistence.aof.appender.write_owed() {
        Ok(()) => write_works(server),
        Err(error) => server.persistence.aof.appender.write_failed(io_reason(&error)),
    }
}

/// A write works; if one had failed, that is over.
pub(super) fn write_works(server: &mut Server) {
    if server.persistence.aof.appender.write_works() {
        server.notice("AOF write error looks solved, Redis can write again.");
    }
}

fn aof_write_failed(server: &mut Server, failure: &WriteFailure) {
    let WriteFailure { error, written, expected } = failure;
    let now = server.now_seconds();
    if server.persistence.aof.appender.take_error_log_due(now) {
        server.warning(&match written {
            0 => format!("Error writing to the AOF file: {}", io_reason(error)),
            _ => format!("Short write while writing to the AOF file: (nwritten={written}, expected={expected})"),
        });
    }
    if server.config.appendfsync == AppendFsync::Always {
        // What was executed can't be undone, and must not be acknowledged.
        server.warning(
            "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...",
        );
        server.lifecycle.shutdown.exit_with(1);
        return;
    }
    server.persistence.aof.appender.write_failed(io_reason(error));
}

/// The buffer is empty: syncs what was written before, if it is due.
fn sync_what_was_written(server: &mut Server) {
    let policy = server.config.appendfsync;
    let bio = &server.persistence.bio;
    let aof = &mut server.persistence.aof;
    if aof.appender.owes_sync(policy, bio.is_syncing(), server.ks.now_ms) {
        try_fsync(server);
        return;
    }
    aof.appender.release_replies();
    let all_durable =
        aof.appender.is_all_synced() && bio.is_idle() && !aof.appender.has_fsync_error();
    if all_durable && policy != AppendFsync::No {
        // The offset may have grown by what does not belong into the file.
        aof.durable.reach(server.repl.offset());
    }
}

fn try_fsync(server: &mut Server) {
    let offset = server.repl.offset();
    let now_ms = server.ks.now_ms;
    let spares_disk =
        server.config.no_appendfsync_on_rewrite && server.persistence.saver().is_some();
    let aof = &mut server.persistence.aof;
    match aof.appender.next_sync(server.config.appendfsync, spares_disk, now_ms) {
        Sync::No => {}
        Sync::Now => {
            let started = server.ks.clock.nanos();
            if let Err(error) = aof.appender.sync_now(now_ms) {
                server.warning(&format!(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                    io_reason(&error)
                ));
                server.lifecycle.shutdown.exit_with(1);
                return;
            }
            aof.durable.reach(offset);
            latency::note_since(server, "aof-fsync-always", started);
        }
        Sync::Background => {
            let bio = &mut server.persistence.bio;
            if !bio.is_syncing()
                && let Some(file) = aof.appender.file()
            {
                match bio.fsync(file, offset) {
                    Ok(()) => aof.appender.note_synced(),
                    Err(error) => drop(aof.appender.fsync_failed(io_reason(&error))),
                }
            }
            aof.appender.note_fsync(now_ms);
        }
    }
    server.persistence.aof.appender.release_replies();
}

/// Sees what has become durable in the background.
pub(crate) fn check_background_fsync(server: &mut Server) {
    for job in server.persistence.bio.finished() {
        background_fsync_done(server, job);
    }
    let aof = &mut server.persistence.aof;
    // What is synced in this file counts for nothing as long as one before it lacks commands.
    if aof.state == AofState::On && !aof.appender.owes() {
        aof.durable.tell();
    }
}

pub(super) fn background_fsync_done(server: &mut Server, job: Fsynced) {
    let aof = &mut server.persistence.aof;
    match job.outcome {
        Ok(()) => {
            aof.durable.reach_at_least(job.offset);
            aof.appender.fsync_works();
        }
        // There is nothing to sync in what is no ordinary file.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        Err(error) => {
            if aof.appender.fsync_failed(io_reason(&error)) {
                server.warning(&format!("Fail to fsync the AOF file: {}", io_reason(&error)));
            }
        }
    }
}

/// `hz` times a second: a write that was postponed, and once a second one that failed, is tried again.
pub(crate) fn retry_aof_write(server: &mut Server, once_a_second: bool) {
    if once_a_second {
        write_owed(server);
    }
    let appender = &server.persistence.aof.appender;
    if appender.is_postponed() || (once_a_second && appender.has_write_error()) {
        flush_append_only_file(server, false);
    }
}
