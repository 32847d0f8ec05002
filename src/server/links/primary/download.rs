//! A full resynchronisation: the snapshot comes, to a file or straight into memory.

use super::{Action, Channel, Context, Place};
use crate::rdb::format::HEADER_LEN;
use crate::rdb::parser::check_header;
use crate::server::config::ReplDisklessLoad;
use crate::server::links::trace::StepKind;
use crate::server::observe::log::Level;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The length of the mark behind a snapshot of unknown length.
const MARK_LEN: usize = 40;

/// A snapshot on its way here.
#[derive(Debug)]
pub(super) enum Download {
    /// The `$` line has not come.
    Awaited,
    Coming(Coming),
}

#[derive(Debug)]
pub(super) struct Coming {
    ending: Ending,
    /// Bytes.
    received: u64,
    target: Target,
}

/// How a snapshot's end is known.
#[derive(Debug)]
enum Ending {
    Length(u64),
    /// `tail`: the last bytes received, where the mark has to be found.
    Mark {
        mark: [u8; MARK_LEN],
        tail: Vec<u8>,
    },
}

#[derive(Debug)]
enum Target {
    /// Nowhere, until its first bytes say that it can be read: what is here is not given up for less.
    Checked {
        head: Vec<u8>,
        memory: bool,
    },
    File(SnapshotFile),
    /// The keyspace, as it comes.
    Memory,
}

/// A file that a snapshot is received in. Half of it is of no use: unless it is given another name it goes with this.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    file: File,
    path: PathBuf,
}

impl SnapshotFile {
    fn create(directory: &Path, now_seconds: i64) -> io::Result<SnapshotFile> {
        let path = directory.join(format!("temp-{now_seconds}.{}.rdb", std::process::id()));
        Ok(SnapshotFile { file: File::create(&path)?, path })
    }

    pub fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)
    }
}

impl PartialEq for SnapshotFile {
    fn eq(&self, other: &SnapshotFile) -> bool {
        self.path == other.path
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        // There is nothing to remove where it has another name.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a [`Download`] has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// More has to come first.
    Nothing,
    Some,
    /// The snapshot is complete; `marked`: it ended at its mark.
    All {
        marked: bool,
    },
}

impl Download {
    /// Bytes: all (0: it will be seen; -1: nothing is known yet), and those that have come.
    pub fn progress(&self) -> (i64, u64) {
        match self {
            Download::Awaited => (-1, 0),
            Download::Coming(Coming { ending: Ending::Mark { .. }, received, .. }) => {
                (0, *received)
            }
            Download::Coming(Coming { ending: Ending::Length(total), received, .. }) => {
                (i64::try_from(*total).unwrap_or(i64::MAX), *received)
            }
        }
    }

    /// Takes what a connection has brought; what is behind the snapshot stays there. `place`: where it stands.
    ///
    /// # Errors
    /// Why it can't be received.
    pub fn take(
        &mut self,
        channel: &mut Channel,
        place: &Place,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<Taken, String> {
        match self {
            _ if channel.input.is_empty() => Ok(Taken::Nothing),
            Download::Awaited => {
                let Some(line) = channel.line(out)? else { return Ok(Taken::Nothing) };
                // A newline before the answer: the primary is alive.
                if !line.is_empty() {
                    *self = Download::Coming(Coming::announced(&line, context, out)?);
                }
                Ok(Taken::Some)
            }
            Download::Coming(coming) => coming.take(channel, place, context, out),
        }
    }
}

impl Coming {
    /// By the `$` line: the snapshot's length, or the mark behind it.
    fn announced(
        line: &str,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<Coming, String> {
        if let Some(error) = line.strip_prefix('-') {
            return Err(format!("MASTER aborted replication with an error: {error}"));
        }
        let Some(head) = line.strip_prefix('$') else {
            return Err(format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{line}'), are you sure the host and port are right?"
            ));
        };
        let ending = match head.strip_prefix("EOF:") {
            Some(mark) => {
                let mark = mark.as_bytes().try_into();
                let mark = mark.map_err(|_| "Bad end mark from MASTER".to_string())?;
                Ending::Mark { mark, tail: Vec::new() }
            }
            None => match head.parse() {
                Ok(length) if length > 0 => Ending::Length(length),
                _ => return Err(format!("Bad snapshot length from MASTER: {head}")),
            },
        };
        let memory = match context.config.repl_diskless_load {
            ReplDisklessLoad::Disabled => false,
            ReplDisklessLoad::OnEmptyDb => context.is_empty,
            ReplDisklessLoad::Swapdb => true,
        };
        let place = if memory { "to parser" } else { "to disk" };
        let text = match &ending {
            Ending::Length(n) => {
                format!("MASTER <-> REPLICA sync: receiving {n} bytes from master {place}")
            }
            Ending::Mark { .. } => format!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {place}"
            ),
        };
        out.push(Action::Log(Level::Notice, text));
        let target = Target::Checked { head: Vec::new(), memory };
        Ok(Coming { ending, received: 0, target })
    }

    fn take(
        &mut self,
        channel: &mut Channel,
        place: &Place,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<Taken, String> {
        let mut bytes = std::mem::take(&mut channel.input);
        if let Ending::Length(total) = self.ending {
            let left = usize::try_from(total - self.received).unwrap_or(usize::MAX);
            if bytes.len() > left {
                channel.input = bytes.split_off(left);
            }
        }
        let is_complete = self.count(&bytes);
        if let Target::Checked { head, memory } = &mut self.target {
            head.append(&mut bytes);
            if head.len() < HEADER_LEN && !is_complete {
                return Ok(Taken::Some);
            }
            check_header(head).map_err(|error| {
                format!("The snapshot from MASTER can't be loaded, what is here stays: {error}")
            })?;
            bytes = std::mem::take(head);
            let memory = *memory;
            self.target = self.open(memory, place, context, out)?;
        }
        match &mut self.target {
            Target::File(file) => file.file.write_all(&bytes).map_err(|e| format!("Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {e}"))?,
            Target::Memory => out.push(Action::Load(bytes)),
            Target::Checked { .. } => {}
        }
        if is_complete { self.finish(out) } else { Ok(Taken::Some) }
    }

    /// Counts bytes that have come; answers whether they were the last.
    fn count(&mut self, bytes: &[u8]) -> bool {
        self.received += bytes.len() as u64;
        match &mut self.ending {
            Ending::Length(total) => self.received == *total,
            Ending::Mark { mark, tail } => {
                tail.extend_from_slice(&bytes[bytes.len().saturating_sub(MARK_LEN)..]);
                tail.drain(..tail.len().saturating_sub(MARK_LEN));
                tail == mark
            }
        }
    }

    /// Where the snapshot goes, now that it can be read.
    fn open(
        &self,
        memory: bool,
        place: &Place,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<Target, String> {
        if memory {
            let total_bytes = if let Ending::Length(total) = self.ending { total } else { 0 };
            out.push(Action::BeginLoading { place: place.clone(), total_bytes });
            return Ok(Target::Memory);
        }
        let file = SnapshotFile::create(&context.config.dir, context.now_seconds());
        file.map(Target::File).map_err(|e| {
            format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {e}")
        })
    }

    /// All has come.
    fn finish(&mut self, out: &mut Vec<Action>) -> Result<Taken, String> {
        let text = format!("snapshot has come: {} bytes", self.received);
        out.push(Action::Trace(StepKind::Here, text));
        let marked = matches!(self.ending, Ending::Mark { .. });
        match std::mem::replace(&mut self.target, Target::Memory) {
            Target::File(file) => {
                if marked {
                    file.file.set_len(self.received - MARK_LEN as u64).map_err(|e| {
                        format!(
                            "Error truncating the RDB file received from the master for SYNC: {e}"
                        )
                    })?;
                }
                file.file.sync_all().map_err(|e| format!("Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {e}"))?;
                out.push(Action::LoadFile(file));
            }
            Target::Memory | Target::Checked { .. } => out.push(Action::FinishLoading),
        }
        Ok(Taken::All { marked })
    }
}
