//! The servers of others, to speak with and to compare with. One that is not installed is skipped with a printed line;
//! in CI it has to be there.

use std::env;
use std::path::{Path, PathBuf};

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Aeolis,
    Redis7,
    Redis8,
    Valkey,
}

impl Kind {
    /// With the version that is tested.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Aeolis => "Aeolis",
            Kind::Redis7 => "Redis 7.0",
            Kind::Redis8 => "Redis 8.2",
            Kind::Valkey => "Valkey 9.1",
        }
    }

    /// The variable that names the server's program, and what that is called on a path.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Kind::Aeolis => ("AEOLIS_PROGRAM", "aeolis"),
            Kind::Redis7 => ("REDIS7_SERVER", "redis-server"),
            Kind::Redis8 => ("REDIS8_SERVER", "redis-server-8"),
            Kind::Valkey => ("VALKEY_SERVER", "valkey-server"),
        }
    }

    /// The program that the environment names.
    pub fn named(self) -> Option<PathBuf> {
        env::var_os(self.names().0).map(PathBuf::from)
    }

    /// The program that the environment names, or else the one on the path, of whatever version. `None`: neither is
    /// there, see [`Kind::is_missing`].
    pub fn program(self) -> Option<PathBuf> {
        if self == Kind::Aeolis {
            return Some(crate::harness::program());
        }
        let found = self.named().or_else(|| on_path(self.names().1));
        if found.is_none() {
            self.is_missing();
        }
        found
    }

    /// Says that a test is skipped.
    ///
    /// # Panics
    /// In CI, where nothing may be missing.
    pub fn is_missing(self) {
        let (name, (variable, command)) = (self.name(), self.names());
        assert!(env::var_os("CI").is_none(), "no {name}: set {variable} or install {command}");
        println!("skipped: no {name} here (set {variable}, or install {command})");
    }
}

/// The program of this name on the path.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| Path::is_file(file))
}
