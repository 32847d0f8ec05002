//! A directory whose files live in memory where the system has such a place: a busy disk can hold up one fsync for a
//! minute.

use std::path::Path;

pub fn tempdir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).expect("a directory")
}
