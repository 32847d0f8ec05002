//! Rewriting: what is in memory is written as a new base file, by a child or in slices between turns of the loop, while
//! the server goes on in a new incremental file. When that has ended, the manifest names these two, and the files
//! before them are history.

use super::AofState;
use super::rewrites::NextRewrite;
use crate::aof::encode_timestamp;
use crate::aof::rewrite::encode_entry;
use crate::resp::encode::encode_command;
use crate::server::Server;
use crate::server::client::ClientFlags;
use crate::server::config::SnapshotMethod;
use crate::server::observe::latency;
use crate::server::persistence;
use crate::server::persistence::aof;
use crate::server::persistence::aof::write;
use crate::server::persistence::child;
use crate::server::persistence::child::Progress;
use crate::server::persistence::forkless;
use crate::server::persistence::output::Plan;
use crate::server::persistence::saver::{Saver, Worker};
use crate::server::persistence::task::Task;
use crate::server::persistence::{SaveTarget, SnapshotUse};
use crate::sys::children::ChildEnd;
use crate::sys::durable::{IncrementalSync, rename_durably};
use crate::util::io_reason;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of commands gathered before they are written.
const CHUNK: usize = 64 * 1024;

/// What could not be done with a new base file.
const OPENING: &str = "Opening the temp file for AOF rewrite in rewriteAppendOnlyFile()";
const WRITING: &str = "Write error writing append only file on disk";

/// `BGREWRITEAOF`: starts a rewrite, or schedules one if another child is at work. Answers what to tell.
///
/// # Errors
/// Why not, to tell.
pub(crate) fn bgrewriteaof(server: &mut Server) -> Result<&'static str, &'static str> {
    if server.persistence.is_rewriting_aof() {
        return Err("Background append only file rewriting already in progress");
    }
    if server.persistence.saver().is_some() || is_in_exec(server) {
        server.persistence.aof.rewrites.schedule_on_demand();
        server.notice("Background append only file rewriting scheduled.");
        return Ok("Background append only file rewriting scheduled");
    }
    match rewrite_append_only_file_background(server) {
        Ok(()) => Ok("Background append only file rewriting started"),
        Err(_) => Err(
            "Can't execute an AOF background rewriting. Please check the server logs for more information.",
        ),
    }
}

fn is_in_exec(server: &Server) -> bool {
    server.clients.in_turn().is_some_and(|token| server.clients[token].is(ClientFlags::MULTI))
}

/// Starts the child, and goes on in a new incremental file.
///
/// # Errors
/// If there is a child already, or a file or process can't be made. It has been logged.
pub(crate) fn rewrite_append_only_file_background(server: &mut Server) -> io::Result<()> {
    if server.persistence.saver().is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let outcome = start_rewrite(server);
    if outcome.is_err() {
        server.persistence.aof.rewrites.could_not_start();
    }
    outcome
}

fn start_rewrite(server: &mut Server) -> io::Result<()> {
    aof::make_aof_dir(server)?;
    write::flush_append_only_file(server, true);
    if server.persistence.aof.state == AofState::WaitRewrite {
        // What an attempt before could not write will be in the base.
        server.persistence.aof.appender.discard_buffer();
    }
    open_new_incr_aof(server)?;
    if server.persistence.aof.state == AofState::WaitRewrite {
        // What is still being synced belongs to an earlier file, and maybe to another history.
        for job in server.persistence.bio.drain() {
            write::background_fsync_done(server, job);
        }
        server.persistence.aof.durable.begin_incomplete(server.repl.offset());
    }
    server.persistence.aof.rewrites.count_start();
    let rdb = server.config.aof_use_rdb_preamble;
    let keys = server.ks.len() as u64;
    let worker = start_worker(server, rdb).inspect_err(|error| {
        let what = "Can't rewrite append only file in background";
        server.warning(&format!("{what}: fork: {}", io_reason(error)));
    })?;
    let saver = Saver::new(Task::AofBase { rdb }, worker, keys, server.now_seconds());
    let by = match saver.method() {
        SnapshotMethod::Fork => format!("by pid {}", saver.id()),
        SnapshotMethod::Incremental => "without fork".to_string(),
    };
    server.notice(&format!("Background append only file rewriting started {by}"));
    server.persistence.set_saver(saver);
    server.persistence.aof.rewrites.unschedule();
    Ok(())
}

/// Starts the one that writes the base file. Commands are written by a child in any case: which of them make a value
/// is not known before all of it has been seen.
fn start_worker(server: &mut Server, rdb: bool) -> io::Result<Worker> {
    let dir = server.config.dir.clone();
    if rdb && server.config.snapshot_method == SnapshotMethod::Incremental {
        let id = server.persistence.next_walk_id();
        let plan = Plan::AofBase {
            path: rewrite_temporary(&dir, &id),
            incremental_fsync: server.config.aof_rewrite_incremental_fsync,
        };
        let walk =
            forkless::begin(server, plan, id, SaveTarget::Aof { rdb }, SnapshotUse::AofBase)?;
        return Ok(Worker::Walk(Box::new(walk)));
    }
    let target = SaveTarget::Aof { rdb };
    let child = child::fork_saver(server, target, &[], |server, pid, progress| {
        let path = rewrite_temporary(&dir, &pid.to_string());
        write_base_file(server, &path, rdb, progress)?;
        server.notice(&format!(
            "Successfully created the temporary AOF base file {}",
            path.file_name().unwrap_or_default().display()
        ));
        // Without a parent nobody will take the file from there.
        progress.report().inspect_err(|_| drop(fs::remove_file(&path)))
    })?;
    Ok(Worker::Child(child))
}

/// Opens the incremental file in which the server goes on. Before the first rewrite has ended it is in no
/// manifest, and has a name for the time being.
fn open_new_incr_aof(server: &mut Server) -> io::Result<()> {
    if server.persistence.aof.is_off() {
        return Ok(());
    }
    let mut manifest = server.persistence.aof.manifest.clone();
    let prefix = server.config.appendfilename.clone();
    let in_manifest = server.persistence.aof.state == AofState::On;
    let name = if in_manifest { manifest.add_incr(&prefix) } else { temporary_incr(&prefix) };
    let file = open_incr(server, &name, true)?;
    if in_manifest {
        aof::persist_aof_manifest(server, &mut manifest)?;
    }
    server.notice(&format!("Creating AOF incr file {name} on background rewrite"));
    let aof = &mut server.persistence.aof;
    aof.manifest = manifest;
    let old = aof.appender.open(file, 0);
    if aof.appender.owes() {
        server.warning(
            "The AOF files before it lack what could not be written: writes are refused until they have that, or \
             there is a new base.",
        );
    } else if let Some(old) = old {
        server.persistence.bio.fsync_and_close(old, server.repl.offset());
        aof.appender.note_fsync(server.ks.now_ms);
    }
    Ok(())
}

fn open_incr(server: &Server, name: &str, empty: bool) -> io::Result<File> {
    let path = aof::aof_path(server, name);
    let opened = (|| {
        if empty {
            File::create(&path)?;
        }
        OpenOptions::new().append(true).create(true).open(&path)
    })();
    opened.inspect_err(|error| {
        server.warning(&format!("Can't open the append-only file {name}: {}", io_reason(error)));
    })
}

/// Writes what is in memory as a base file, and makes it durable.
fn write_base_file(
    server: &Server,
    path: &Path,
    rdb: bool,
    progress: &mut Progress,
) -> io::Result<()> {
    let mut can_t = WRITING;
    let written = (|| {
        let file = File::create(path).inspect_err(|_| can_t = OPENING)?;
        let file = IncrementalSync::new(file, server.config.aof_rewrite_incremental_fsync);
        let file = if rdb {
            persistence::write_snapshot(server, file, SnapshotUse::AofBase, progress)?
        } else {
            write_commands(server, file, progress)?
        };
        file.file.sync_all()
    })();
    written.inspect_err(|error| {
        server.warning(&format!("{can_t}: {}", io_reason(error)));
        let _ = fs::remove_file(path);
    })
}

/// Writes the commands that make what is in memory.
fn write_commands<W: Write>(server: &Server, mut out: W, progress: &mut Progress) -> io::Result<W> {
    let mut chunk = Vec::with_capacity(2 * CHUNK);
    if server.config.aof_timestamp_enabled {
        encode_timestamp(server.now_seconds(), &mut chunk);
    }
    for library in server.scripting.libraries.iter() {
        encode_command(&[b"FUNCTION", b"LOAD", &library.code], &mut chunk);
    }
    for (n, db) in server.ks.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        encode_command(&[b"SELECT", n.to_string().as_bytes()], &mut chunk);
        for entry in db.table.iter() {
            encode_entry(entry.key(), entry.value(), entry.expire(), &mut chunk);
            if chunk.len() >= CHUNK {
                out.write_all(&chunk)?;
                chunk.clear();
            }
            progress.key_saved(server.config.rdb_key_save_delay)?;
        }
    }
    out.write_all(&chunk)?;
    Ok(out)
}

/// The child has ended.
pub(crate) fn background_rewrite_done(server: &mut Server, saver: &Saver, end: ChildEnd) {
    let SaveTarget::Aof { rdb } = saver.target() else { return };
    let temporary = rewrite_temporary(&server.config.dir, &saver.id());
    match end {
        ChildEnd::Exited(0) => {
            server.notice("Background AOF rewrite terminated with success");
            let ok = install_base_file(server, &temporary, rdb).is_ok();
            server.persistence.aof.rewrites.ended(ok);
            if ok {
                server.notice("Background AOF rewrite finished successfully");
                if server.persistence.aof.state == AofState::WaitRewrite {
                    server.persistence.aof.state = AofState::On;
                    server.persistence.aof.durable.tell();
                }
            }
        }
        ChildEnd::Exited(_) => {
            server.persistence.aof.rewrites.ended(false);
            server.warning("Background AOF rewrite terminated with error");
        }
        ChildEnd::Signaled(signal) => {
            // SIGUSR1 is how an operator ends a child on purpose.
            if signal != libc::SIGUSR1 {
                server.persistence.aof.rewrites.ended(false);
            }
            server.warning(&format!("Background AOF rewrite terminated by signal {signal}"));
        }
    }
    server.persistence.bio.unlink(&temporary);
    let seconds = server.now_seconds() - saver.started();
    server.persistence.aof.rewrites.note_duration(seconds);
    if server.persistence.aof.state == AofState::WaitRewrite {
        // The next attempt starts from what is in memory then.
        server.persistence.aof.appender.discard_buffer();
        let name = temporary_incr(&server.config.appendfilename);
        server.notice(&format!("Removing the temp incr aof file {name} in the background"));
        let path = aof::aof_path(server, &name);
        server.persistence.bio.unlink(&path);
        server.persistence.aof.rewrites.schedule();
    }
}

/// Puts the new base file in its place, and the manifest that names it.
fn install_base_file(server: &mut Server, temporary: &Path, rdb: bool) -> io::Result<()> {
    let prefix = server.config.appendfilename.clone();
    let mut manifest = server.persistence.aof.manifest.clone();
    let base = manifest.add_base(&prefix, rdb);
    let base_path = aof::aof_path(server, &base);
    rename_aof(server, temporary, &base_path, "base")?;
    let mut new_files = vec![base_path.clone()];
    if server.persistence.aof.state == AofState::WaitRewrite {
        let from = aof::aof_path(server, &temporary_incr(&prefix));
        let to = aof::aof_path(server, &manifest.add_incr(&prefix));
        if let Err(error) = rename_aof(server, &from, &to, "incr") {
            server.persistence.bio.unlink(&base_path);
            return Err(error);
        }
        new_files.push(to);
    }
    manifest.retire_incr(usize::from(server.persistence.aof.appender.file().is_some()));
    if let Err(error) = aof::persist_aof_manifest(server, &mut manifest) {
        for path in new_files {
            server.persistence.bio.unlink(&path);
        }
        return Err(error);
    }
    server.persistence.aof.manifest = manifest;
    server.persistence.aof.appender.forget_owed();
    write::write_works(server);
    let aof = &mut server.persistence.aof;
    if !aof.is_off() {
        let size = fs::metadata(&base_path).map_or(0, |m| m.len()) + aof.appender.size();
        aof.rewrites.set_sizes(size, size);
    }
    aof::delete_aof_history(server);
    Ok(())
}

fn rename_aof(server: &mut Server, from: &Path, to: &Path, kind: &str) -> io::Result<()> {
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let started = server.ks.clock.nanos();
    rename_durably(from, to).inspect_err(|error| {
        server.warning(&format!(
            "Error trying to rename the temporary AOF {kind} file {} into {}: {}",
            name(from),
            to.display(),
            io_reason(error)
        ));
    })?;
    latency::note_since(server, "aof-rename", started);
    server.notice(&format!(
        "Successfully renamed the temporary AOF {kind} file {} into {}",
        name(from),
        name(to)
    ));
    Ok(())
}

/// Starts a rewrite that was scheduled, or one that the file's growth calls for.
pub(crate) fn check_aof_rewrite(server: &mut Server) {
    if server.persistence.saver().is_some() || server.persistence.is_loading() {
        return;
    }
    let percentage = u64::from(server.config.auto_aof_rewrite_percentage);
    let min_size = server.config.auto_aof_rewrite_min_size;
    let now = server.now_seconds();
    let aof = &mut server.persistence.aof;
    let next = aof.rewrites.next(aof.state == AofState::On, percentage, min_size, now);
    match next {
        NextRewrite::Nothing => return,
        NextRewrite::Limited { minutes } => {
            server.warning(&format!("Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {minutes} minutes"));
            return;
        }
        NextRewrite::Grown { percent } => {
            server.notice(&format!("Starting automatic rewriting of AOF on {percent}% growth"));
        }
        NextRewrite::Scheduled => {}
    }
    // A failure has been logged; the next round tries again.
    let _ = rewrite_append_only_file_background(server);
}

/// Turns the append-only file on: it will be complete when a first rewrite has ended.
///
/// # Errors
/// If the rewrite can't be started; it stays off then.
pub(crate) fn start_append_only(server: &mut Server) -> io::Result<()> {
    server.persistence.aof.state = AofState::WaitRewrite;
    if server.persistence.saver().is_some() && !server.persistence.is_rewriting_aof() {
        server.persistence.aof.rewrites.schedule();
        server.notice("AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible.");
    } else if is_in_exec(server) {
        server.persistence.aof.rewrites.schedule();
        server.notice("AOF was enabled during a transaction. An AOF background was scheduled to start when possible.");
    } else {
        if server.persistence.is_rewriting_aof() {
            // It has begun without an incremental file to go with it.
            server.notice("AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and starting a rewrite now.");
            kill_aof_rewrite(server);
        }
        if let Err(error) = rewrite_append_only_file_background(server) {
            server.persistence.aof.state = AofState::Off;
            server.warning("Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. Check the above logs for more info about the error.");
            return Err(error);
        }
    }
    let now_ms = server.ks.now_ms;
    server.persistence.aof.appender.note_fsync(now_ms);
    if server.persistence.aof.appender.fsync_works() {
        server.warning("AOF reopen, just ignore the AOF fsync error in bio job");
    }
    if server.persistence.aof.appender.write_works() {
        server.warning("AOF reopen, just ignore the last error.");
    }
    Ok(())
}

/// The data is another since a full synchronisation: the append-only file starts anew, if there is to be one.
pub(crate) fn restart_aof_after_sync(server: &mut Server) {
    if !server.config.appendonly {
        return;
    }
    stop_append_only(server);
    server.notice("Restarting AOF after successful sync");
    if start_append_only(server).is_err() {
        // It goes on trying, as after any failed rewrite.
        server.persistence.aof.state = AofState::WaitRewrite;
        server.persistence.aof.rewrites.schedule();
    }
}

/// Turns the append-only file off. What is in it stays.
pub(crate) fn stop_append_only(server: &mut Server) {
    if server.persistence.aof.is_off() {
        return;
    }
    write::flush_append_only_file(server, true);
    sync_aof_now(server);
    let aof = &mut server.persistence.aof;
    aof.state = AofState::Off;
    aof.appender.close();
    aof.durable.forget();
    if aof.rewrites.unschedule() {
        server.notice("AOF was disabled but there is a scheduled AOF background, cancel it.");
    }
    kill_aof_rewrite(server);
}

/// Syncs the file while everybody waits.
pub(crate) fn sync_aof_now(server: &mut Server) {
    if let Err(error) = server.persistence.aof.appender.sync_now(server.ks.now_ms) {
        server.warning(&format!("Fail to fsync the AOF file: {}.", io_reason(&error)));
    }
}

/// Ends whoever rewrites.
pub(crate) fn kill_aof_rewrite(server: &mut Server) {
    let Some(mut saver) =
        server.persistence.take_saver_if(|target| matches!(target, SaveTarget::Aof { .. }))
    else {
        return;
    };
    server.notice(&match saver.method() {
        SnapshotMethod::Fork => format!("Killing running AOF rewrite child: {}", saver.id()),
        SnapshotMethod::Incremental => "Ending the running AOF rewrite".to_string(),
    });
    persistence::end_saver(server, &mut saver, libc::SIGUSR1);
    let temporary = rewrite_temporary(&server.config.dir, &saver.id());
    server.persistence.bio.unlink(&temporary);
}

/// The data has been loaded at start-up: makes the files complete, and opens the one to go on in.
///
/// # Errors
/// If that is not possible. It has been logged.
pub(crate) fn open_aof_on_server_start(server: &mut Server) -> io::Result<()> {
    if !server.config.appendonly {
        return Ok(());
    }
    aof::make_aof_dir(server)?;
    let prefix = server.config.appendfilename.clone();
    let mut manifest = server.persistence.aof.manifest.clone();
    if manifest.is_empty() {
        let rdb = server.config.aof_use_rdb_preamble;
        let base = manifest.add_base(&prefix, rdb);
        let name = format!("temp-rewriteaof-{}.aof", std::process::id());
        let temporary = server.config.dir.join(name);
        write_base_file(server, &temporary, rdb, &mut Progress::default())?;
        let to = aof::aof_path(server, &base);
        if let Err(error) = rename_aof(server, &temporary, &to, "base") {
            server.persistence.bio.unlink(&temporary);
            return Err(error);
        }
        server.notice(&format!("Creating AOF base file {base} on server start"));
    }
    let (name, verb) = match manifest.incr.last() {
        Some(last) => (last.name.clone(), "Opening"),
        None => (manifest.add_incr(&prefix), "Creating"),
    };
    let file = open_incr(server, &name, false)?;
    let started = server.ks.clock.nanos();
    let size = file.metadata()?.len();
    latency::note_since(server, "aof-fstat", started);
    aof::persist_aof_manifest(server, &mut manifest)?;
    let aof = &mut server.persistence.aof;
    aof.appender.open(file, size);
    aof.appender.note_fsync(server.ks.now_ms);
    aof.manifest = manifest;
    aof.state = AofState::On;
    aof.durable.start(server.repl.offset());
    server.notice(&format!("{verb} AOF incr file {name} on server start"));
    aof::delete_aof_history(server);
    Ok(())
}

fn temporary_incr(prefix: &str) -> String {
    format!("temp-{prefix}.incr")
}

/// Where the saver that is known by `id` writes the base file.
fn rewrite_temporary(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("temp-rewriteaof-bg-{id}.aof"))
}
