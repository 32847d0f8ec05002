//! The append-only file at run time: `aof.c`'s part that is not its format.
//!
//! * [`appender`]: the file that is written to: what is buffered, written, synced, and what is due next.
//! * [`rewrites`]: whether a rewrite is due.
//! * [`durable`]: up to where the replication stream is durable.
//! * [`write`]: what is executed gathers in a buffer, and goes to the file before the loop sleeps; when it is synced.
//! * [`rewrite`]: a child writes a new base file while the server goes on in a new incremental file; turning the
//!   append-only file on (which starts with a rewrite) and off.
//! * [`load`]: the files are executed again.
//!
//! No reply leaves the server while the buffer holds what it may acknowledge: a client that has its answer will find
//! the write in the file, whatever happens to the process; and with `appendfsync always`, whatever happens to the
//! machine.

pub(crate) mod appender;
pub(crate) mod durable;
pub mod load;
pub mod rewrite;
pub(crate) mod rewrites;
pub mod write;

use crate::aof::Manifest;
use crate::aof::manifest::manifest_name;
use crate::server::Server;
use crate::sys::durable::sync_dir_of;
use appender::Appender;
use durable::DurableOffset;
use load::Replay;
use rewrites::Rewrites;
use std::fs;
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

/// Whether the files are being executed: nothing of it is written or propagated.
#[derive(Default)]
enum Replaying {
    #[default]
    No,
    /// A slice of them is.
    Running,
    /// It goes on in another turn of the loop.
    Paused(Box<Replay>),
}

/// The append-only file.
#[derive(Default)]
pub struct Aof {
    state: AofState,
    manifest: Manifest,
    appender: Appender,
    durable: DurableOffset,
    rewrites: Rewrites,
    replaying: Replaying,
    /// `DEBUG AOF-FLUSH-SLEEP`.
    flush_sleep: Duration,
}

impl Aof {
    pub(crate) fn state(&self) -> AofState {
        self.state
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state == AofState::Off
    }

    /// Whether the files are being executed: nothing of it is written or propagated.
    #[inline]
    pub(crate) fn is_replaying(&self) -> bool {
        !matches!(self.replaying, Replaying::No)
    }

    /// Whether what is executed goes to the file. `is_rewriting`: a child rewrites it.
    #[inline]
    pub(crate) fn records(&self, is_rewriting: bool) -> bool {
        match self.state {
            AofState::Off => false,
            _ if self.is_replaying() => false,
            AofState::On => true,
            AofState::WaitRewrite => is_rewriting,
        }
    }

    /// Buffers a command, or appends it to `unit`, which will be buffered as a whole.
    pub(crate) fn feed(&mut self, db: usize, args: &[&[u8]], unit: Option<&mut Vec<u8>>) {
        self.appender.feed(db, args, unit);
    }

    /// Buffers commands that belong together.
    pub(crate) fn feed_unit(&mut self, commands: usize, bytes: &[u8]) {
        self.appender.feed_unit(commands, bytes);
    }

    /// Notes in the file what time it is, once a second.
    pub(crate) fn annotate(&mut self, now_seconds: i64) {
        self.appender.annotate(now_seconds);
    }

    /// Whether no reply may leave, because what it acknowledges is not in the file.
    #[inline]
    pub(crate) fn holds_replies(&self) -> bool {
        self.appender.holds_replies()
    }

    /// Why the file can't be written or synced, since it last could.
    #[inline]
    pub(crate) fn error(&self) -> Option<&String> {
        self.appender.error()
    }

    /// What is on its way into the file.
    pub(crate) fn appender(&self) -> &Appender {
        &self.appender
    }

    pub(crate) fn rewrites(&self) -> &Rewrites {
        &self.rewrites
    }

    /// The child that rewrites has so many bytes of memory of its own.
    pub(crate) fn note_cow(&mut self, bytes: u64) {
        self.rewrites.note_cow(bytes);
    }

    /// The replication offset up to which everything is durable; `None`: there is no complete file.
    pub(crate) fn durable_offset(&self) -> Option<u64> {
        self.durable.get()
    }

    /// `DEBUG AOF-FLUSH-SLEEP`: each write takes so long.
    pub(crate) fn set_flush_sleep(&mut self, pause: Duration) {
        self.flush_sleep = pause;
    }
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
