//! Files that are there, whole, after a crash: written under another name, made durable, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Bytes between two syncs of a large file that is written in one go: the disk is kept busy in small portions, and the
/// last sync has little left to do.
const SYNC_EVERY: usize = 4 * 1024 * 1024;

/// Writes a file in whole, in place of what was there.
///
/// # Errors
/// What the system reports; then nothing has changed.
pub fn write_durably(temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let outcome = (|| {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rename_durably(temporary, target)
    })();
    if outcome.is_err() {
        let _ = fs::remove_file(temporary);
    }
    outcome
}

/// Renames a file that is durable itself. The new name is durable when its directory is.
///
/// # Errors
/// What the system reports.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir_of(to)
}

/// Makes the names in a file's directory durable.
///
/// # Errors
/// What the system reports.
pub fn sync_dir_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// A file that is synced while it is written, every few megabytes, if that is wanted.
#[derive(Debug)]
pub struct IncrementalSync {
    pub file: File,
    wanted: bool,
    unsynced: usize,
}

impl IncrementalSync {
    pub fn new(file: File, wanted: bool) -> IncrementalSync {
        IncrementalSync { file, wanted, unsynced: 0 }
    }
}

impl Write for IncrementalSync {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.unsynced += n;
        if self.wanted && self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
