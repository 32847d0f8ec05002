//! Where a snapshot goes: to a file that takes its place when it is whole, to a pipe, or to connections of replicas.

use super::rdb_channels::RdbChannelWriter;
use crate::sys::durable::{IncrementalSync, sync_dir_of};
use crate::util::io_reason;
use mio::unix::pipe::Sender;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Where a snapshot is to go; nothing has been opened yet.
pub(super) enum Plan {
    /// The snapshot file, by its folder and name.
    Rdb { dir: PathBuf, name: String, incremental_fsync: bool },
    /// A base of the append-only file, which somebody else puts into its place.
    AofBase { path: PathBuf, incremental_fsync: bool },
    /// A pipe to the process that serves the replicas.
    Pipe(Sender),
    /// Connections of replicas, which see the end by a mark.
    Channels { channels: RdbChannelWriter, mark: String },
}

impl Plan {
    /// What a child has to keep open.
    pub fn descriptors(&self) -> Vec<i32> {
        match self {
            Plan::Rdb { .. } | Plan::AofBase { .. } => Vec::new(),
            Plan::Pipe(pipe) => vec![pipe.as_raw_fd()],
            Plan::Channels { channels, .. } => channels.descriptors(),
        }
    }

    /// Opens it; `id` tells temporary files apart.
    ///
    /// # Errors
    /// Why it can't be opened, for the log.
    pub fn open(self, id: &str) -> Result<Output, String> {
        Ok(match self {
            Plan::Rdb { dir, name, incremental_fsync } => {
                let temporary = dir.join(temporary_rdb(id));
                let file = File::create(&temporary).map_err(|error| {
                    let (name, dir) = (temporary_rdb(id), dir.display());
                    let what = "Failed opening the temp RDB file";
                    format!(
                        "{what} {name} (in server root dir {dir}) for saving: {}",
                        io_reason(&error)
                    )
                })?;
                let file = IncrementalSync::new(file, incremental_fsync);
                Output::File(Unfinished { file, temporary, target: Some((dir, name)) })
            }
            Plan::AofBase { path, incremental_fsync } => {
                let file = File::create(&path).map_err(|error| {
                    let what = "Opening the temp file for AOF rewrite in rewriteAppendOnlyFile()";
                    format!("{what}: {}", io_reason(&error))
                })?;
                let file = IncrementalSync::new(file, incremental_fsync);
                Output::File(Unfinished { file, temporary: path, target: None })
            }
            Plan::Pipe(pipe) => Output::Pipe(pipe),
            Plan::Channels { mut channels, mark } => {
                let begun = write!(channels, "$EOF:{mark}\r\n");
                begun.map_err(|error| failure(SENDING, &error))?;
                Output::Channels { channels, mark }
            }
        })
    }
}

const WRITING: &str = "Write error while saving DB to the disk(rdbSaveRio)";
const WRITING_AOF: &str = "Write error writing append only file on disk";
const SENDING: &str = "Write error saving DB";

fn failure(what: &str, error: &io::Error) -> String {
    format!("{what}: {}", io_reason(error))
}

/// The name of a snapshot file that is not whole.
pub(super) fn temporary_rdb(id: &str) -> String {
    format!("temp-{id}.rdb")
}

/// Where a snapshot is written to.
pub(super) enum Output {
    File(Unfinished),
    Pipe(Sender),
    Channels { channels: RdbChannelWriter, mark: String },
}

/// A file that is not whole; it is removed if it never will be.
pub(super) struct Unfinished {
    file: IncrementalSync,
    temporary: PathBuf,
    /// The folder and the name of the file whose place it takes. `None`: it stays under its own name.
    target: Option<(PathBuf, String)>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // If it is gone already, all the better.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Output {
    /// What is to be said of an error of writing.
    pub fn words(&self) -> &'static str {
        match self {
            Output::File(Unfinished { target: Some(_), .. }) => WRITING,
            Output::File(_) => WRITING_AOF,
            Output::Pipe(_) | Output::Channels { .. } => SENDING,
        }
    }

    /// All has been written: makes it durable and puts it into its place, unless somebody has said meanwhile that
    /// nobody wants it any more (`is_cancelled`).
    ///
    /// # Errors
    /// What could not be done, for the log.
    pub fn finish(self, is_cancelled: &Mutex<bool>) -> Result<(), String> {
        match self {
            Output::File(file) => file.finish(is_cancelled),
            Output::Pipe(_) => Ok(()),
            Output::Channels { mut channels, mark } => {
                channels.write_all(mark.as_bytes()).map_err(|error| failure(SENDING, &error))
            }
        }
    }
}

impl Unfinished {
    fn finish(mut self, is_cancelled: &Mutex<bool>) -> Result<(), String> {
        let synced = self.file.file.sync_all();
        let Some((dir, name)) = self.target.take() else {
            synced.map_err(|error| failure(WRITING_AOF, &error))?;
            self.temporary = PathBuf::new();
            return Ok(());
        };
        synced
            .map_err(|error| failure("Write error while saving DB to the disk(fsync)", &error))?;
        let target = dir.join(&name);
        {
            // Whoever cancels it can rely on it: there is no new file afterwards.
            let is_cancelled = is_cancelled.lock().unwrap_or_else(PoisonError::into_inner);
            if *is_cancelled {
                return Err("Saving was called off".into());
            }
            fs::rename(&self.temporary, &target).map_err(|error| {
                let temporary = self.temporary.file_name().unwrap_or_default().display();
                let (what, dir) = ("Error moving temp DB file", dir.display());
                format!("{what} {temporary} on the final destination {name} (in server root dir {dir}): {}", io_reason(&error))
            })?;
        }
        self.temporary = PathBuf::new();
        sync_dir_of(&target)
            .map_err(|error| failure("Failed to fsync directory while saving DB", &error))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::File(file) => file.file.write(bytes),
            Output::Pipe(pipe) => pipe.write(bytes),
            Output::Channels { channels, .. } => channels.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
