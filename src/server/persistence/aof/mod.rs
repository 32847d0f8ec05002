//! The append-only file at run time: `aof.c`'s part that is not its format.
//!
//! * [`write`]: what is executed gathers in a buffer, and goes to the file before the loop sleeps; when it is synced.
//! * [`rewrite`]: a child writes a new base file while the server goes on in a new incremental file; turning the
//!   append-only file on (which starts with a rewrite) and off.
//! * [`load`]: the files are executed again.
//!
//! No reply leaves the server while the buffer holds what it may acknowledge: a client that has its answer will find
//! the write in the file, whatever happens to the process; and with `appendfsync always`, whatever happens to the
//! machine.

pub mod load;
pub mod rewrite;
pub mod write;

use super::SaveTarget;
use crate::aof::Manifest;
use crate::aof::manifest::manifest_name;
use crate::server::Server;
use crate::sys::durable::sync_dir_of;
use load::Replay;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Whether there is an append-only file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AofState {
    #[default]
    Off,
    On,
    /// Turned on, but there is no complete file before the first rewrite has ended.
    WaitRewrite,
}

/// The append-only file.
#[derive(Default)]
pub struct Aof {
    pub state: AofState,
    pub manifest: Manifest,
    /// The incremental file that is written to.
    file: Option<File>,
    /// What was executed and is not in the file yet.
    buffer: Vec<u8>,
    /// The database that the file has selected; `None`: the next command selects its own.
    selected_db: Option<usize>,
    /// The last annotated second.
    annotated: i64,
    /// The buffer has got something since it was last written: no reply may leave.
    holds_replies: bool,
    /// Bytes of all files, and of all when the last rewrite ended.
    pub current_size: u64,
    pub rewrite_base_size: u64,
    /// Bytes of the file that is written to, and how many of them were synced or are being synced.
    incr_size: u64,
    synced_size: u64,
    last_fsync_ms: i64,
    /// Since when writing waits for a slow sync, in milliseconds since 1970.
    postponed_since: Option<i64>,
    /// How often it waited in vain.
    pub delayed_fsyncs: u64,
    /// Why the last write failed, until one works.
    pub write_error: Option<String>,
    /// Why the last background sync failed, until one works.
    pub fsync_error: Option<String>,
    error_logged: i64,
    /// The replication offset that is durable; `None`: there is no complete file.
    pub fsynced_offset: Option<u64>,
    /// The same, before the first rewrite has ended.
    fsynced_pending: u64,
    /// A rewrite waits for another child.
    pub rewrite_scheduled: bool,
    pub rewrites: u64,
    pub last_rewrite_ok: Option<bool>,
    /// Seconds.
    pub last_rewrite_seconds: Option<i64>,
    pub last_cow_bytes: u64,
    pub consecutive_failures: u32,
    retry: rewrite::Retry,
    /// `DEBUG AOF-FLUSH-SLEEP`.
    pub flush_sleep: Duration,
    /// The files are being executed: nothing of it is written or propagated.
    pub is_replaying: bool,
    replay: Option<Box<Replay>>,
}

impl Aof {
    /// Bytes that wait to be written.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub fn buffer_memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// Bytes of the file that is written to that were synced, or are being synced in the background; `None`: no file is
    /// written to.
    pub fn synced_size(&self) -> Option<u64> {
        self.file.as_ref().map(|_| self.synced_size)
    }

    /// Whether no reply may leave, because what it acknowledges is not in the file.
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.holds_replies
    }
}

/// Whether what is executed goes to the append-only file.
#[inline]
pub(crate) fn records_aof(server: &Server) -> bool {
    match server.persistence.aof.state {
        AofState::Off => false,
        _ if server.persistence.aof.is_replaying => false,
        AofState::On => true,
        AofState::WaitRewrite => is_rewriting_aof(server),
    }
}

/// Whether a child rewrites the append-only file.
pub(crate) fn is_rewriting_aof(server: &Server) -> bool {
    matches!(&server.persistence.child, Some(c) if matches!(c.target, SaveTarget::Aof { .. }))
}

/// The directory of the append-only files.
pub(crate) fn aof_dir(server: &Server) -> PathBuf {
    server.config.dir.join(&server.config.appenddirname)
}

fn aof_path(server: &Server, name: &str) -> PathBuf {
    aof_dir(server).join(name)
}

fn make_aof_dir(server: &Server) -> io::Result<()> {
    let dir = aof_dir(server);
    let made = match fs::create_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| sync_dir_of(&dir)),
    };
    if let Err(error) = &made {
        let text = format!(
            "Can't open or create append-only dir {}: {}",
            server.config.appenddirname,
            crate::util::io_reason(error)
        );
        server.warning(&text);
    }
    made
}

/// Writes the manifest to disk, if it has changed.
fn persist_aof_manifest(server: &Server, manifest: &mut Manifest) -> io::Result<()> {
    let prefix = &server.config.appendfilename;
    manifest.persist(&aof_dir(server), prefix).inspect_err(|error| {
        server.warning(&format!(
            "Error trying to write the AOF manifest file {}: {}",
            manifest_name(prefix),
            crate::util::io_reason(error)
        ));
    })
}

/// Deletes the files that a rewrite has made superfluous, unless `aof-disable-auto-gc`.
pub(crate) fn delete_aof_history(server: &mut Server) {
    if server.config.aof_disable_auto_gc || server.persistence.aof.manifest.history.is_empty() {
        return;
    }
    for file in std::mem::take(&mut server.persistence.aof.manifest.history) {
        server.notice(&format!("Removing the history file {} in the background", file.name));
        let path = aof_path(server, &file.name);
        server.persistence.bio.unlink(&path);
    }
    let mut manifest = std::mem::take(&mut server.persistence.aof.manifest);
    manifest.dirty = true;
    // If this fails, it has been logged; the next manifest that is written will not name them either.
    let _ = persist_aof_manifest(server, &mut manifest);
    server.persistence.aof.manifest = manifest;
}
