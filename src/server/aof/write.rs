//! Writing: what is executed gathers in a buffer, which goes to the file before the loop sleeps; and syncing.

use super::{Aof, AofState};
use crate::aof::{encode_command, encode_timestamp};
use crate::server::Server;
use crate::server::config::AppendFsync;
use crate::util::io_reason;
use std::io::{self, Write};
use std::time::Duration;

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

impl Server {
    /// Writes the buffer to the file and syncs it, as `appendfsync` says. While a background sync is under way,
    /// writing may wait for it for two seconds, unless `force`.
    pub fn flush_append_only_file(&mut self, force: bool) {
        let policy = self.config.appendfsync;
        if self.aof.file.is_none() {
            self.aof.holds_replies = false;
            return;
        }
        if self.aof.buffer.is_empty() {
            self.sync_what_was_written();
            return;
        }
        let now = self.ks.now_ms;
        let syncing = policy == AppendFsync::Everysec && self.bio.is_syncing();
        if syncing && !force {
            let since = *self.aof.postponed_since.get_or_insert(now);
            if now - since < POSTPONE_MS {
                self.aof.holds_replies = false;
                return;
            }
            self.aof.delayed_fsyncs += 1;
            self.notice("Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for fsync to complete, this may slow down Redis.");
        }
        if !self.aof.flush_sleep.is_zero() {
            std::thread::sleep(self.aof.flush_sleep);
        }
        let started = self.clock.nanos();
        let outcome = self.write_buffer();
        let event = if syncing {
            "aof-write-pending-fsync"
        } else if self.persistence.child.is_some() {
            "aof-write-active-child"
        } else {
            "aof-write-alone"
        };
        self.note_latency(event, self.clock.since(started));
        self.note_latency("aof-write", self.clock.since(started));
        self.aof.postponed_since = None;
        if let Err(failure) = outcome {
            self.aof_write_failed(&failure);
            return;
        }
        if self.aof.write_error.take().is_some() {
            self.notice("AOF write error looks solved, Redis can write again.");
        }
        self.try_fsync();
    }

    /// Writes the whole buffer, or as much as can't be taken back.
    fn write_buffer(&mut self) -> Result<(), WriteFailure> {
        let aof = &mut self.aof;
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

    fn aof_write_failed(&mut self, failure: &WriteFailure) {
        let WriteFailure { error, written, expected } = failure;
        let now = self.now_seconds();
        if now - self.aof.error_logged > ERROR_LOG_PERIOD {
            self.aof.error_logged = now;
            self.warning(&match written {
                0 => format!("Error writing to the AOF file: {}", io_reason(error)),
                _ => format!("Short write while writing to the AOF file: (nwritten={written}, expected={expected})"),
            });
        }
        if self.config.appendfsync == AppendFsync::Always {
            // What was executed can't be undone, and must not be acknowledged.
            self.warning("Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...");
            self.shutdown.exit = Some(1);
            return;
        }
        self.aof.write_error = Some(io_reason(error));
        self.aof.holds_replies = false;
    }

    /// The buffer is empty: syncs what was written before, if it is due.
    fn sync_what_was_written(&mut self) {
        let unsynced = self.aof.synced_size != self.aof.incr_size;
        let due = match self.config.appendfsync {
            AppendFsync::Always => true,
            AppendFsync::Everysec => {
                self.ks.now_ms - self.aof.last_fsync_ms >= FSYNC_PERIOD_MS && !self.bio.is_syncing()
            }
            AppendFsync::No => false,
        };
        if unsynced && due {
            self.try_fsync();
            return;
        }
        self.aof.holds_replies = false;
        let all_durable = !unsynced && self.bio.is_idle() && self.aof.fsync_error.is_none();
        if all_durable && self.config.appendfsync != AppendFsync::No {
            // The offset may have grown by what does not belong into the file.
            self.aof.fsynced_pending = self.repl.offset;
        }
    }

    fn try_fsync(&mut self) {
        let offset = self.repl.offset;
        let spare_disk = self.config.no_appendfsync_on_rewrite && self.persistence.child.is_some();
        let policy = self.config.appendfsync;
        if policy == AppendFsync::Always && !spare_disk {
            let started = self.clock.nanos();
            let outcome = self.aof.file.as_ref().map_or(Ok(()), |file| file.sync_data());
            if let Err(error) = outcome {
                self.warning(&format!(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                    io_reason(&error)
                ));
                self.shutdown.exit = Some(1);
                return;
            }
            self.note_latency("aof-fsync-always", self.clock.since(started));
            self.aof.synced_size = self.aof.incr_size;
            self.aof.last_fsync_ms = self.ks.now_ms;
            self.aof.fsynced_pending = offset;
        } else if policy == AppendFsync::Everysec
            && !spare_disk
            && self.ks.now_ms - self.aof.last_fsync_ms >= FSYNC_PERIOD_MS
        {
            if !self.bio.is_syncing()
                && let Some(file) = &self.aof.file
            {
                match self.bio.fsync(file, offset) {
                    Ok(()) => self.aof.synced_size = self.aof.incr_size,
                    Err(error) => self.aof.fsync_error = Some(io_reason(&error)),
                }
            }
            self.aof.last_fsync_ms = self.ks.now_ms;
        }
        self.aof.holds_replies = false;
    }

    /// Sees what has become durable in the background.
    pub fn check_background_fsync(&mut self) {
        for job in self.bio.finished() {
            self.background_fsync_done(job);
        }
        if self.aof.state == AofState::On && self.aof.fsynced_offset.is_some() {
            self.aof.fsynced_offset = Some(self.aof.fsynced_pending);
        }
    }

    pub(super) fn background_fsync_done(&mut self, job: crate::server::bio::Fsynced) {
        match job.outcome {
            Ok(()) => {
                self.aof.fsynced_pending = self.aof.fsynced_pending.max(job.offset);
                self.aof.fsync_error = None;
            }
            // There is nothing to sync in what is no ordinary file.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                if self.aof.fsync_error.is_none() {
                    self.warning(&format!("Fail to fsync the AOF file: {}", io_reason(&error)));
                }
                self.aof.fsync_error = Some(io_reason(&error));
            }
        }
    }

    /// `hz` times a second: a write that was postponed, and once a second one that failed, is tried again.
    pub fn retry_aof_write(&mut self, once_a_second: bool) {
        if self.aof.postponed_since.is_some() || (once_a_second && self.aof.write_error.is_some()) {
            self.flush_append_only_file(false);
        }
    }

    /// Notes that something took long, if it did.
    pub fn note_latency(&mut self, event: &'static str, took: Duration) {
        let ms = took.as_millis() as u64;
        let threshold = self.config.latency_monitor_threshold;
        if threshold > 0 && ms >= threshold {
            self.latency.add(event, self.now_seconds(), ms);
        }
    }
}
