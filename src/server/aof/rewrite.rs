//! Rewriting: a child writes what is in memory as a new base file; the server goes on in a new incremental file. When
//! the child has ended, the manifest names these two, and the files before them are history.

use super::AofState;
use crate::aof::rewrite::encode_entry;
use crate::aof::{encode_command, encode_timestamp};
use crate::server::Server;
use crate::server::child::Progress;
use crate::server::client::ClientFlags;
use crate::server::persistence::{SaveChild, SaveTarget, SnapshotUse};
use crate::sys::children::ChildEnd;
use crate::sys::durable::{IncrementalSync, rename_durably};
use crate::util::io_reason;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// After so many failures in a row, the next rewrite by itself has to wait.
const FAILURES_BEFORE_LIMIT: u32 = 3;
/// It waits a minute, then two, then four; no longer than this.
const MAX_DELAY_MINUTES: i64 = 60;
/// Bytes of commands gathered before they are written.
const CHUNK: usize = 64 * 1024;

/// What could not be done with a new base file.
const OPENING: &str = "Opening the temp file for AOF rewrite in rewriteAppendOnlyFile()";
const WRITING: &str = "Write error writing append only file on disk";

/// When a rewrite that failed again and again may be tried again by itself.
#[derive(Debug, Default)]
pub struct Retry {
    delay_minutes: i64,
    /// Seconds since 1970.
    not_before: Option<i64>,
}

impl Server {
    /// `BGREWRITEAOF`: starts a rewrite, or schedules one if another child is at work. Answers what to tell.
    ///
    /// # Errors
    /// Why not, to tell.
    pub fn bgrewriteaof(&mut self) -> Result<&'static str, &'static str> {
        if self.is_rewriting_aof() {
            return Err("Background append only file rewriting already in progress");
        }
        if self.persistence.child.is_some() || self.is_in_exec() {
            self.aof.rewrite_scheduled = true;
            // Who asks is not to suffer for failures of the past.
            self.aof.consecutive_failures = 0;
            self.notice("Background append only file rewriting scheduled.");
            return Ok("Background append only file rewriting scheduled");
        }
        match self.rewrite_append_only_file_background() {
            Ok(()) => Ok("Background append only file rewriting started"),
            Err(_) => Err(
                "Can't execute an AOF background rewriting. Please check the server logs for more information.",
            ),
        }
    }

    fn is_in_exec(&self) -> bool {
        self.clients.in_turn().is_some_and(|token| self.clients[token].is(ClientFlags::MULTI))
    }

    /// Starts the child, and goes on in a new incremental file.
    ///
    /// # Errors
    /// If there is a child already, or a file or process can't be made. It has been logged.
    pub fn rewrite_append_only_file_background(&mut self) -> io::Result<()> {
        if self.persistence.child.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let outcome = self.start_rewrite();
        if outcome.is_err() {
            self.aof.last_rewrite_ok = Some(false);
        }
        outcome
    }

    fn start_rewrite(&mut self) -> io::Result<()> {
        self.make_aof_dir()?;
        // The new file relies on no database selected in the old one.
        self.aof.selected_db = None;
        self.flush_append_only_file(true);
        self.open_new_incr_aof()?;
        if self.aof.state == AofState::WaitRewrite {
            // What is still being synced belongs to an earlier file, and maybe to another history.
            for job in self.bio.drain() {
                self.background_fsync_done(job);
            }
            self.aof.fsynced_pending = self.repl.offset;
            self.aof.fsynced_offset = Some(0);
        }
        self.aof.rewrites += 1;
        let rdb = self.config.aof_use_rdb_preamble;
        let target = SaveTarget::Aof { rdb };
        let pid = self.fork_saver(target, &[], None, |server, pid, progress| {
            let path = rewrite_temporary(&server.config.dir, pid);
            server.write_base_file(&path, rdb, progress)?;
            server.notice(&format!(
                "Successfully created the temporary AOF base file {}",
                path.file_name().unwrap_or_default().display()
            ));
            // Without a parent nobody will take the file from there.
            progress.report().inspect_err(|_| drop(fs::remove_file(&path)))
        });
        let pid = pid.inspect_err(|error| {
            self.warning(&format!(
                "Can't rewrite append only file in background: fork: {}",
                io_reason(error)
            ));
        })?;
        self.notice(&format!("Background append only file rewriting started by pid {pid}"));
        self.aof.rewrite_scheduled = false;
        Ok(())
    }

    /// Opens the incremental file in which the server goes on. Before the first rewrite has ended it is in no
    /// manifest, and has a name for the time being.
    fn open_new_incr_aof(&mut self) -> io::Result<()> {
        if self.aof.state == AofState::Off {
            return Ok(());
        }
        let mut manifest = self.aof.manifest.clone();
        let prefix = self.config.appendfilename.clone();
        let in_manifest = self.aof.state == AofState::On;
        let name = if in_manifest { manifest.add_incr(&prefix) } else { temporary_incr(&prefix) };
        let file = self.open_incr(&name, true)?;
        if in_manifest {
            self.persist_aof_manifest(&mut manifest)?;
        }
        self.notice(&format!("Creating AOF incr file {name} on background rewrite"));
        if let Some(old) = self.aof.file.replace(file) {
            self.bio.fsync_and_close(old, self.repl.offset);
            self.aof.last_fsync_ms = self.ks.now_ms;
        }
        self.aof.manifest = manifest;
        (self.aof.incr_size, self.aof.synced_size) = (0, 0);
        Ok(())
    }

    fn open_incr(&self, name: &str, empty: bool) -> io::Result<File> {
        let path = self.aof_path(name);
        let opened = (|| {
            if empty {
                File::create(&path)?;
            }
            OpenOptions::new().append(true).create(true).open(&path)
        })();
        opened.inspect_err(|error| {
            self.warning(&format!("Can't open the append-only file {name}: {}", io_reason(error)));
        })
    }

    /// Writes what is in memory as a base file, and makes it durable.
    fn write_base_file(&self, path: &Path, rdb: bool, progress: &mut Progress) -> io::Result<()> {
        let mut can_t = WRITING;
        let written = (|| {
            let file = File::create(path).inspect_err(|_| can_t = OPENING)?;
            let file = IncrementalSync::new(file, self.config.aof_rewrite_incremental_fsync);
            let file = if rdb {
                self.write_snapshot(file, SnapshotUse::AofBase, progress)?
            } else {
                self.write_commands(file, progress)?
            };
            file.file.sync_all()
        })();
        written.inspect_err(|error| {
            self.warning(&format!("{can_t}: {}", io_reason(error)));
            let _ = fs::remove_file(path);
        })
    }

    /// Writes the commands that make what is in memory.
    fn write_commands<W: Write>(&self, mut out: W, progress: &mut Progress) -> io::Result<W> {
        let mut chunk = Vec::with_capacity(2 * CHUNK);
        if self.config.aof_timestamp_enabled {
            encode_timestamp(self.now_seconds(), &mut chunk);
        }
        for library in self.libraries.iter() {
            encode_command(&[b"FUNCTION", b"LOAD", &library.code], &mut chunk);
        }
        for (n, db) in self.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
            encode_command(&[b"SELECT", n.to_string().as_bytes()], &mut chunk);
            for entry in db.table.iter() {
                encode_entry(entry.key(), entry.value(), entry.expire(), &mut chunk);
                if chunk.len() >= CHUNK {
                    out.write_all(&chunk)?;
                    chunk.clear();
                }
                progress.key_saved(self.config.rdb_key_save_delay)?;
            }
        }
        out.write_all(&chunk)?;
        Ok(out)
    }

    /// The child has ended.
    pub fn background_rewrite_done(&mut self, child: &SaveChild, end: ChildEnd) {
        let SaveTarget::Aof { rdb } = child.target else { return };
        let temporary = rewrite_temporary(&self.config.dir, child.pid);
        match end {
            ChildEnd::Exited(0) => {
                self.notice("Background AOF rewrite terminated with success");
                let ok = self.install_base_file(&temporary, rdb).is_ok();
                self.note_rewrite(ok);
                if ok {
                    self.notice("Background AOF rewrite finished successfully");
                    if self.aof.state == AofState::WaitRewrite {
                        self.aof.state = AofState::On;
                        self.aof.fsynced_offset = Some(self.aof.fsynced_pending);
                    }
                }
            }
            ChildEnd::Exited(_) => {
                self.note_rewrite(false);
                self.warning("Background AOF rewrite terminated with error");
            }
            ChildEnd::Signaled(signal) => {
                // SIGUSR1 is how an operator ends a child on purpose.
                if signal != libc::SIGUSR1 {
                    self.note_rewrite(false);
                }
                self.warning(&format!("Background AOF rewrite terminated by signal {signal}"));
            }
        }
        self.bio.unlink(&temporary);
        self.aof.last_rewrite_seconds = Some(self.now_seconds() - child.started);
        if self.aof.state == AofState::WaitRewrite {
            // The next attempt starts from what is in memory then.
            self.aof.buffer = Vec::new();
            self.aof.holds_replies = false;
            let name = temporary_incr(&self.config.appendfilename);
            self.notice(&format!("Removing the temp incr aof file {name} in the background"));
            let path = self.aof_path(&name);
            self.bio.unlink(&path);
            self.aof.rewrite_scheduled = true;
        }
    }

    fn note_rewrite(&mut self, ok: bool) {
        self.aof.last_rewrite_ok = Some(ok);
        self.aof.consecutive_failures = if ok { 0 } else { self.aof.consecutive_failures + 1 };
    }

    /// Puts the new base file in its place, and the manifest that names it.
    fn install_base_file(&mut self, temporary: &Path, rdb: bool) -> io::Result<()> {
        let prefix = self.config.appendfilename.clone();
        let mut manifest = self.aof.manifest.clone();
        let base = manifest.add_base(&prefix, rdb);
        let base_path = self.aof_path(&base);
        self.rename_aof(temporary, &base_path, "base")?;
        let mut new_files = vec![base_path.clone()];
        if self.aof.state == AofState::WaitRewrite {
            let from = self.aof_path(&temporary_incr(&prefix));
            let to = self.aof_path(&manifest.add_incr(&prefix));
            if let Err(error) = self.rename_aof(&from, &to, "incr") {
                self.bio.unlink(&base_path);
                return Err(error);
            }
            new_files.push(to);
        }
        manifest.retire_incr(usize::from(self.aof.file.is_some()));
        if let Err(error) = self.persist_aof_manifest(&mut manifest) {
            for path in new_files {
                self.bio.unlink(&path);
            }
            return Err(error);
        }
        self.aof.manifest = manifest;
        if self.aof.state != AofState::Off {
            let base_size = fs::metadata(&base_path).map_or(0, |m| m.len());
            self.aof.current_size = base_size + self.aof.incr_size;
            self.aof.rewrite_base_size = self.aof.current_size;
        }
        self.delete_aof_history();
        Ok(())
    }

    fn rename_aof(&mut self, from: &Path, to: &Path, kind: &str) -> io::Result<()> {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        let started = self.clock.nanos();
        rename_durably(from, to).inspect_err(|error| {
            self.warning(&format!(
                "Error trying to rename the temporary AOF {kind} file {} into {}: {}",
                name(from),
                to.display(),
                io_reason(error)
            ));
        })?;
        self.note_latency("aof-rename", self.clock.since(started));
        self.notice(&format!(
            "Successfully renamed the temporary AOF {kind} file {} into {}",
            name(from),
            name(to)
        ));
        Ok(())
    }

    /// Whether a rewrite by itself has to wait, because several have failed in a row.
    fn is_rewrite_limited(&mut self) -> bool {
        if self.aof.consecutive_failures < FAILURES_BEFORE_LIMIT {
            self.aof.retry = Retry::default();
            return false;
        }
        let now = self.now_seconds();
        if let Some(at) = self.aof.retry.not_before {
            if now >= at {
                self.aof.retry.not_before = None;
            }
            return now < at;
        }
        let minutes = (self.aof.retry.delay_minutes * 2).clamp(1, MAX_DELAY_MINUTES);
        self.aof.retry = Retry { delay_minutes: minutes, not_before: Some(now + minutes * 60) };
        self.warning(&format!("Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {minutes} minutes"));
        true
    }

    /// Starts a rewrite that was scheduled, or one that the file's growth calls for.
    pub fn check_aof_rewrite(&mut self) {
        if self.persistence.child.is_some() || self.loading.is_some() {
            return;
        }
        if self.aof.rewrite_scheduled {
            if !self.is_rewrite_limited() {
                // A failure has been logged; the next round tries again.
                let _ = self.rewrite_append_only_file_background();
            }
            return;
        }
        let percentage = u64::from(self.config.auto_aof_rewrite_percentage);
        let size = self.aof.current_size;
        if self.aof.state != AofState::On
            || percentage == 0
            || size <= self.config.auto_aof_rewrite_min_size
        {
            return;
        }
        let base = self.aof.rewrite_base_size.max(1);
        let growth = (size.saturating_mul(100) / base).saturating_sub(100);
        if growth >= percentage && !self.is_rewrite_limited() {
            self.notice(&format!("Starting automatic rewriting of AOF on {growth}% growth"));
            let _ = self.rewrite_append_only_file_background();
        }
    }

    /// Turns the append-only file on: it will be complete when a first rewrite has ended.
    ///
    /// # Errors
    /// If the rewrite can't be started; it stays off then.
    pub fn start_append_only(&mut self) -> io::Result<()> {
        self.aof.state = AofState::WaitRewrite;
        if self.persistence.child.is_some() && !self.is_rewriting_aof() {
            self.aof.rewrite_scheduled = true;
            self.notice("AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible.");
        } else if self.is_in_exec() {
            self.aof.rewrite_scheduled = true;
            self.notice("AOF was enabled during a transaction. An AOF background was scheduled to start when possible.");
        } else {
            if self.is_rewriting_aof() {
                // It has begun without an incremental file to go with it.
                self.notice("AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and starting a rewrite now.");
                self.kill_aof_child();
            }
            if let Err(error) = self.rewrite_append_only_file_background() {
                self.aof.state = AofState::Off;
                self.warning("Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. Check the above logs for more info about the error.");
                return Err(error);
            }
        }
        self.aof.last_fsync_ms = self.ks.now_ms;
        if self.aof.fsync_error.take().is_some() {
            self.warning("AOF reopen, just ignore the AOF fsync error in bio job");
        }
        if self.aof.write_error.take().is_some() {
            self.warning("AOF reopen, just ignore the last error.");
        }
        Ok(())
    }

    /// The data is another since a full synchronisation: the append-only file starts anew, if there is to be one.
    pub fn restart_aof_after_sync(&mut self) {
        if !self.config.appendonly {
            return;
        }
        self.stop_append_only();
        self.notice("Restarting AOF after successful sync");
        if self.start_append_only().is_err() {
            // It goes on trying, as after any failed rewrite.
            self.aof.state = AofState::WaitRewrite;
            self.aof.rewrite_scheduled = true;
        }
    }

    /// Turns the append-only file off. What is in it stays.
    pub fn stop_append_only(&mut self) {
        if self.aof.state == AofState::Off {
            return;
        }
        self.flush_append_only_file(true);
        self.sync_aof_now();
        self.aof.file = None;
        self.aof.buffer = Vec::new();
        self.aof.holds_replies = false;
        self.aof.selected_db = None;
        self.aof.state = AofState::Off;
        if std::mem::take(&mut self.aof.rewrite_scheduled) {
            self.notice("AOF was disabled but there is a scheduled AOF background, cancel it.");
        }
        (self.aof.incr_size, self.aof.synced_size) = (0, 0);
        (self.aof.fsynced_offset, self.aof.fsynced_pending) = (None, 0);
        self.aof.postponed_since = None;
        self.kill_aof_child();
    }

    /// Syncs the file while everybody waits.
    pub fn sync_aof_now(&mut self) {
        let Some(file) = &self.aof.file else { return };
        match file.sync_data() {
            Ok(()) => {
                self.aof.synced_size = self.aof.incr_size;
                self.aof.last_fsync_ms = self.ks.now_ms;
            }
            Err(error) => {
                self.warning(&format!("Fail to fsync the AOF file: {}.", io_reason(&error)));
            }
        }
    }

    /// Ends the child that rewrites, if there is one.
    pub fn kill_aof_child(&mut self) {
        let Some(mut child) = self.take_child_if(|target| matches!(target, SaveTarget::Aof { .. }))
        else {
            return;
        };
        self.notice(&format!("Killing running AOF rewrite child: {}", child.pid));
        self.end_child(&mut child, libc::SIGUSR1);
        let temporary = rewrite_temporary(&self.config.dir, child.pid);
        self.bio.unlink(&temporary);
    }

    /// The data has been loaded at start-up: makes the files complete, and opens the one to go on in.
    ///
    /// # Errors
    /// If that is not possible. It has been logged.
    pub fn open_aof_on_server_start(&mut self) -> io::Result<()> {
        if !self.config.appendonly {
            return Ok(());
        }
        self.make_aof_dir()?;
        let prefix = self.config.appendfilename.clone();
        let mut manifest = self.aof.manifest.clone();
        if manifest.is_empty() {
            let rdb = self.config.aof_use_rdb_preamble;
            let base = manifest.add_base(&prefix, rdb);
            let name = format!("temp-rewriteaof-{}.aof", std::process::id());
            let temporary = self.config.dir.join(name);
            self.write_base_file(&temporary, rdb, &mut Progress::default())?;
            let to = self.aof_path(&base);
            if let Err(error) = self.rename_aof(&temporary, &to, "base") {
                self.bio.unlink(&temporary);
                return Err(error);
            }
            self.notice(&format!("Creating AOF base file {base} on server start"));
        }
        let (name, verb) = match manifest.incr.last() {
            Some(last) => (last.name.clone(), "Opening"),
            None => (manifest.add_incr(&prefix), "Creating"),
        };
        let file = self.open_incr(&name, false)?;
        let started = self.clock.nanos();
        self.aof.incr_size = file.metadata()?.len();
        self.note_latency("aof-fstat", self.clock.since(started));
        self.aof.synced_size = self.aof.incr_size;
        self.persist_aof_manifest(&mut manifest)?;
        self.aof.file = Some(file);
        self.aof.manifest = manifest;
        self.aof.state = AofState::On;
        self.aof.fsynced_offset = Some(self.repl.offset);
        self.aof.fsynced_pending = self.repl.offset;
        self.aof.last_fsync_ms = self.ks.now_ms;
        self.notice(&format!("{verb} AOF incr file {name} on server start"));
        self.delete_aof_history();
        Ok(())
    }
}

fn temporary_incr(prefix: &str) -> String {
    format!("temp-{prefix}.incr")
}

/// Where the child writes the base file.
fn rewrite_temporary(dir: &Path, pid: i32) -> PathBuf {
    dir.join(format!("temp-rewriteaof-bg-{pid}.aof"))
}
