//! The servers to pair with. A peer that is not installed is skipped with a printed line; in CI it has to be there.

use std::env;
use std::path::{Path, PathBuf};

/// Who takes part in a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Aeolis,
    Redis7,
    Redis8,
    Valkey,
}

impl Kind {
    /// The server's program; `None`: not installed.
    pub fn program(self) -> Option<PathBuf> {
        let (variable, name) = match self {
            Kind::Aeolis => return Some(crate::process::program()),
            Kind::Redis7 => ("REDIS7_SERVER", "redis-server"),
            Kind::Redis8 => ("REDIS8_SERVER", "redis-server-8"),
            Kind::Valkey => ("VALKEY_SERVER", "valkey-server"),
        };
        if let Some(path) = env::var_os(variable) {
            return Some(PathBuf::from(path));
        }
        let found = on_path(name);
        if found.is_none() {
            assert!(env::var_os("CI").is_none(), "no {self:?}: set {variable} or install {name}");
            println!("skipped: no {self:?} here (set {variable}, or install {name})");
        }
        found
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| Path::is_file(file))
}
