//! Writing: what is executed gathers in a buffer, which goes to the file before the loop sleeps; and syncing.

use super::{Aof, AofState};
use crate::aof::encode_timestamp;
use crate::resp::encode::encode_command;
use crate::server::Server;
use crate::server::config::AppendFsync;
use crate::server::observe::latency;
use crate::util::io_reason;
use std::io::{self, Write};

/// How long writing may wait for a sync under way, in milliseconds: on Linux a write would wait for it anyway.
const POSTPONE_MS: i64 = 2000;
/// The time between two background syncs, in milliseconds.
const FSYNC_PERIOD_MS: i64 = 1000;
/// Seconds between two log lines about writing that fails.
const ERROR_LOG_PERIOD: i64 = 30;
/// A buffer larger than this is given back when it is empty.
const KEPT_BUFFER: usize = 64 * 1024;

impl Aof {
    /// Encodes a command for the file, with the database it belongs to.
    fn encode(&mut self, db: usize, args: &[&[u8]], out: &mut Vec<u8>) {
        if self.selected_db != Some(db) {
            self.selected_db = Some(db);
            encode_command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], out);
        }
        encode_command(args, out);
    }

    /// Buffers a command, or appends it to `unit`, which will be buffered as a whole.
    pub fn feed(&mut self, db: usize, args: &[&[u8]], unit: Option<&mut Vec<u8>>) {
        match unit {
            Some(unit) => self.encode(db, args, unit),
            None => {
                let mut buffer = std::mem::take(&mut self.buffer);
                self.encode(db, args, &mut buffer);
                self.buffer = buffer;
                self.holds_replies = true;
            }
        }
    }

    /// Buffers commands that belong together.
    pub fn feed_unit(&mut self, commands: usize, bytes: &[u8]) {
        if commands > 1 {
            encode_command(&[b"MULTI"], &mut self.buffer);
        }
        self.buffer.extend_from_slice(bytes);
        if commands > 1 {
            encode_command(&[b"EXEC"], &mut self.buffer);
        }
        self.holds_replies = true;
    }

    /// Notes in the file what time it is, once a second.
    pub fn annotate(&mut self, now_seconds: i64) {
        if self.annotated < now_seconds {
            self.annotated = now_seconds;
            encode_timestamp(now_seconds, &mut self.buffer);
        }
    }
}

/// A write that failed, and how many of the bytes that it had to write came before.
struct WriteFailure {
    error: io::Error,
    written: usize,
    expected: usize,
}

/// Writes the buffer to the file and syncs it, as `appendfsync` says. While a background sync is under way,
/// writing may wait for it for two seconds, unless `force`.
pub(crate) fn flush_append_only_file(server: &mut Server, force: bool) {
    let policy = server.config.appendfsync;
    if server.persistence.aof.file.is_none() {
        server.persistence.aof.holds_replies = false;
        return;
    }
    if server.persistence.aof.buffer.is_empty() {
        sync_what_was_written(server);
        return;
    }
    let now = server.ks.now_ms;
    let syncing = policy == AppendFsync::Everysec && server.persistence.bio.is_syncing();
    if syncing && !force {
        let since = *server.persistence.aof.postponed_since.get_or_insert(now);
        if now - since < POSTPONE_MS {
            server.persistence.aof.holds_replies = false;
            return;
        }
        server.persistence.aof.delayed_fsyncs += 1;
        server.notice("Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for fsync to complete, this may slow down Redis.");
    }
    if !server.persistence.aof.flush_sleep.is_zero() {
        std::thread::sleep(server.persistence.aof.flush_sleep);
    }
    let started = server.clock.nanos();
    let outcome = write_buffer(server);
    let event = if syncing {
        "aof-write-pending-fsync"
    } else if server.persistence.child.is_some() {
        "aof-write-active-child"
    } else {
        "aof-write-alone"
    };
    latency::note_since(server, event, started);
    latency::note_since(server, "aof-write", started);
    server.persistence.aof.postponed_since = None;
    if let Err(failure) = outcome {
        aof_write_failed(server, &failure);
        return;
    }
    if server.persistence.aof.write_error.take().is_some() {
        server.notice("AOF write error looks solved, Redis can write again.");
    }
    try_fsync(server);
}

/// Writes the whole buffer, or as much as can't be taken back.
fn write_buffer(server: &mut Server) -> Result<(), WriteFailure> {
    let aof = &mut server.persistence.aof;
    let Some(file) = &mut aof.file else { return Ok(()) };
    let (mut written, expected) = (0, aof.buffer.len());
    let outcome = loop {
        if written == expected {
            break Ok(());
        }
        match file.write(&aof.buffer[written..]) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    let outcome = outcome.map_err(|error| WriteFailure { error, written, expected });
    if outcome.is_err() && written > 0 && file.set_len(aof.incr_size).is_ok() {
        // Half a command is not left in the file.
        written = 0;
    }
    aof.incr_size += written as u64;
    aof.current_size += written as u64;
    if written == expected {
        aof.buffer.clear();
        aof.buffer.shrink_to(KEPT_BUFFER);
    } else {
        aof.buffer.drain(..written);
    }
    outcome
}

fn aof_write_failed(server: &mut Server, failure: &WriteFailure) {
    let WriteFailure { error, written, expected } = failure;
    let now = server.now_seconds();
    if now - server.persistence.aof.error_logged > ERROR_LOG_PERIOD {
        server.persistence.aof.error_logged = now;
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
    server.persistence.aof.write_error = Some(io_reason(error));
    server.persistence.aof.holds_replies = false;
}

/// The buffer is empty: syncs what was written before, if it is due.
fn sync_what_was_written(server: &mut Server) {
    let unsynced = server.persistence.aof.synced_size != server.persistence.aof.incr_size;
    let due = match server.config.appendfsync {
        AppendFsync::Always => true,
        AppendFsync::Everysec => {
            server.ks.now_ms - server.persistence.aof.last_fsync_ms >= FSYNC_PERIOD_MS
                && !server.persistence.bio.is_syncing()
        }
        AppendFsync::No => false,
    };
    if unsynced && due {
        try_fsync(server);
        return;
    }
    server.persistence.aof.holds_replies = false;
    let all_durable = !unsynced
        && server.persistence.bio.is_idle()
        && server.persistence.aof.fsync_error.is_none();
    if all_durable && server.config.appendfsync != AppendFsync::No {
        // The offset may have grown by what does not belong into the file.
        server.persistence.aof.fsynced_pending = server.repl.offset();
    }
}

fn try_fsync(server: &mut Server) {
    let offset = server.repl.offset();
    let spare_disk = server.config.no_appendfsync_on_rewrite && server.persistence.child.is_some();
    let policy = server.config.appendfsync;
    if policy == AppendFsync::Always && !spare_disk {
        let started = server.clock.nanos();
        let outcome = server.persistence.aof.file.as_ref().map_or(Ok(()), |file| file.sync_data());
        if let Err(error) = outcome {
            server.warning(&format!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                io_reason(&error)
            ));
            server.lifecycle.shutdown.exit_with(1);
            return;
        }
        latency::note_since(server, "aof-fsync-always", started);
        server.persistence.aof.synced_size = server.persistence.aof.incr_size;
        server.persistence.aof.last_fsync_ms = server.ks.now_ms;
        server.persistence.aof.fsynced_pending = offset;
    } else if policy == AppendFsync::Everysec
        && !spare_disk
        && server.ks.now_ms - server.persistence.aof.last_fsync_ms >= FSYNC_PERIOD_MS
    {
        if !server.persistence.bio.is_syncing()
            && let Some(file) = &server.persistence.aof.file
        {
            match server.persistence.bio.fsync(file, offset) {
                Ok(()) => server.persistence.aof.synced_size = server.persistence.aof.incr_size,
                Err(error) => server.persistence.aof.fsync_error = Some(io_reason(&error)),
            }
        }
        server.persistence.aof.last_fsync_ms = server.ks.now_ms;
    }
    server.persistence.aof.holds_replies = false;
}

/// Sees what has become durable in the background.
pub(crate) fn check_background_fsync(server: &mut Server) {
    for job in server.persistence.bio.finished() {
        background_fsync_done(server, job);
    }
    if server.persistence.aof.state == AofState::On
        && server.persistence.aof.fsynced_offset.is_some()
    {
        server.persistence.aof.fsynced_offset = Some(server.persistence.aof.fsynced_pending);
    }
}

pub(super) fn background_fsync_done(
    server: &mut Server,
    job: crate::server::persistence::bio::Fsynced,
) {
    match job.outcome {
        Ok(()) => {
            server.persistence.aof.fsynced_pending =
                server.persistence.aof.fsynced_pending.max(job.offset);
            server.persistence.aof.fsync_error = None;
        }
        // There is nothing to sync in what is no ordinary file.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        Err(error) => {
            if server.persistence.aof.fsync_error.is_none() {
                server.warning(&format!("Fail to fsync the AOF file: {}", io_reason(&error)));
            }
            server.persistence.aof.fsync_error = Some(io_reason(&error));
        }
    }
}

/// `hz` times a second: a write that was postponed, and once a second one that failed, is tried again.
pub(crate) fn retry_aof_write(server: &mut Server, once_a_second: bool) {
    if server.persistence.aof.postponed_since.is_some()
        || (once_a_second && server.persistence.aof.write_error.is_some())
    {
        flush_append_only_file(server, false);
    }
}
