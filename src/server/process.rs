//! The process: where it comes from, what supervises it, and what it is to the system.

use super::cluster::file::ClusterFile;
use super::oom_score::OomScore;
use crate::sys::processors::Processors;
use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

/// Where the server came from, for `INFO` and `CONFIG REWRITE`.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub executable: String,
    /// Absolute; empty: started without a configuration file.
    pub config_file: PathBuf,
}

/// What is known of the process that this server runs in.
#[derive(Debug)]
pub struct Process {
    origin: Origin,
    /// Names and values of `listenerN` lines of `INFO`.
    listeners: Vec<String>,
    run_id: String,
    /// Milliseconds since 1970.
    started_ms: i64,
    /// The supervisor that started it, if any.
    supervised: Option<&'static str>,
    /// Bytes that it used before there was any data.
    startup_memory: usize,
    /// It is a child that saves.
    is_fork_child: bool,
    /// All that it may use, where the main thread is confined to some of them.
    processors: Option<Processors>,
    pub(crate) oom_score: OomScore,
    /// Of a cluster's node: its file, which no other process may use.
    pub(crate) cluster_file: Option<ClusterFile>,
}

impl Process {
    pub(crate) fn new(run_id: String, started_ms: i64) -> Process {
        Process {
            origin: Origin::default(),
            listeners: Vec::new(),
            run_id,
            started_ms,
            supervised: None,
            startup_memory: 0,
            is_fork_child: false,
            processors: None,
            oom_score: OomScore::default(),
            cluster_file: None,
        }
    }

    /// Takes note of how it was started.
    pub(crate) fn came_from(&mut self, origin: Origin, supervised: Option<&'static str>) {
        self.origin = origin;
        self.supervised = supervised;
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn supervised(&self) -> Option<&'static str> {
        self.supervised
    }

    /// Tells systemd, where that is the supervisor, what becomes of the server: lines such as `READY=1` (sd_notify(3)).
    pub(crate) fn notify(&self, state: &str) {
        if self.supervised != Some("systemd") {
            return;
        }
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        // Best effort: a supervisor that can't be told will say so itself.
        let _ = address.and_then(|to| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &to));
    }

    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// How long it has been running, in milliseconds.
    pub(crate) fn uptime_ms(&self, now_ms: i64) -> i64 {
        (now_ms - self.started_ms).max(0)
    }

    pub(crate) fn listeners(&self) -> &[String] {
        &self.listeners
    }

    pub(crate) fn add_listener(&mut self, line: String) {
        self.listeners.push(line);
    }

    pub(crate) fn clear_listeners(&mut self) {
        self.listeners.clear();
    }

    pub(crate) fn startup_memory(&self) -> usize {
        self.startup_memory
    }

    pub(crate) fn set_startup_memory(&mut self, bytes: usize) {
        self.startup_memory = bytes;
    }

    pub(crate) fn is_fork_child(&self) -> bool {
        self.is_fork_child
    }

    pub(crate) fn processors(&self) -> Option<Processors> {
        self.processors
    }

    pub(crate) fn set_processors(&mut self, processors: Option<Processors>) {
        self.processors = processors;
    }

    pub(crate) fn set_fork_child(&mut self, is_fork_child: bool) {
        self.is_fork_child = is_fork_child;
    }
}
