//! The incremental file that is written to: what is buffered for it, written, synced, and when the next sync is due.

use crate::aof::encode_timestamp;
use crate::resp::encode::encode_command;
use crate::server::config::AppendFsync;
use std::fs::File;
use std::io::{self, Write};
use std::mem;

/// How long writing may wait for a sync under way, in milliseconds: on Linux a write would wait for it anyway.
const POSTPONE_MS: i64 = 2000;
/// The time between two background syncs, in milliseconds.
const FSYNC_PERIOD_MS: i64 = 1000;
/// Seconds between two log lines about writing that fails.
const ERROR_LOG_SECONDS: i64 = 30;
/// A buffer larger than this is given back when it is empty.
const KEPT_BUFFER: usize = 64 * 1024;

/// What is to be done with the buffer before the loop sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// There is no file.
    NoFile,
    /// It is empty: what was written before may have to be synced.
    Empty,
    /// It waits for a sync under way.
    Postponed,
    /// It is to be written. `waited_in_vain`: although a sync is still under way.
    Write { waited_in_vain: bool },
}

/// How what was written is to be synced now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    No,
    /// While everybody waits.
    Now,
    /// In the background, if no sync is under way.
    Background,
}

/// A write that failed, and how many of the bytes that it had to write came before.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub error: io::Error,
    pub written: usize,
    pub expected: usize,
}

/// A file whose disk was full when the server went on in another one, and the commands that belong at its end.
#[derive(Debug)]
struct Owed {
    file: File,
    size: u64,
    bytes: Vec<u8>,
}

/// Appends as many of the bytes to a file of `size` as it takes; those are gone from `bytes` then. Half a command is
/// not left in the file, if it can be taken back. Answers how many bytes the file has grown.
fn append(file: &mut File, size: u64, bytes: &mut Vec<u8>) -> (u64, Result<(), WriteFailure>) {
    let (mut written, expected) = (0, bytes.len());
    let outcome = loop {
        if written == expected {
            break Ok(());
        }
        match file.write(&bytes[written..]) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    let outcome = outcome.map_err(|error| WriteFailure { error, written, expected });
    if outcome.is_err() && written > 0 && file.set_len(size).is_ok() {
        written = 0;
    }
    if written == expected {
        bytes.clear();
        bytes.shrink_to(KEPT_BUFFER);
    } else {
        bytes.drain(..written);
    }
    (written as u64, outcome)
}

/// The incremental file, and what is on its way into it.
#[derive(Debug, Default)]
pub(crate) struct Appender {
    file: Option<File>,
    /// What was executed and is not in the file yet.
    buffer: Vec<u8>,
    /// The database that is selected behind the buffer; `None`: the next command selects its own.
    selected_db: Option<usize>,
    /// What files before this one would not take, the oldest first.
    owed: Vec<Owed>,
    /// The last annotated second.
    annotated: i64,
    /// The buffer has got something since it was last written: no reply may leave.
    holds_replies: bool,
    /// Bytes of the file, and how many of them were synced or are being synced.
    size: u64,
    synced_size: u64,
    last_fsync_ms: i64,
    /// Since when writing waits for a slow sync, in milliseconds since 1970.
    postponed_since_ms: Option<i64>,
    /// How often it waited in vain.
    delayed_fsyncs: u64,
    /// Why the last write failed, until one works.
    write_error: Option<String>,
    /// Why the last background sync failed, until one works.
    fsync_error: Option<String>,
    /// When a failed write was last logged, in seconds since 1970.
    error_logged: i64,
}

impl Appender {
    /// Encodes a command for the file, with the database it belongs to.
    fn encode(selected_db: &mut Option<usize>, db: usize, args: &[&[u8]], out: &mut Vec<u8>) {
        if *selected_db != Some(db) {
            *selected_db = Some(db);
            encode_command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], out);
        }
        encode_command(args, out);
    }

    /// Buffers a command, or appends it to `unit`, which will be buffered as a whole.
    pub fn feed(&mut self, db: usize, args: &[&[u8]], unit: Option<&mut Vec<u8>>) {
        match unit {
            Some(unit) => Self::encode(&mut self.selected_db, db, args, unit),
            None => {
                Self::encode(&mut self.selected_db, db, args, &mut self.buffer);
                self.holds_replies = true;
            }
        }
    }

    /// Buffers commands that belong together.
    pub fn feed_unit(&mut self, commands: usize, bytes: &[u8]) {
        if commands > 1 {
            encode_command(&[b"MULTI"], &mut self.buffer);
        }
        self.buffer.extend_from_slice(bytes);
        if commands > 1 {
            encode_command(&[b"EXEC"], &mut self.buffer);
        }
        self.holds_replies = true;
    }

    /// Notes in the file what time it is, once a second.
    pub fn annotate(&mut self, now_seconds: i64) {
        if self.annotated < now_seconds {
            self.annotated = now_seconds;
            encode_timestamp(now_seconds, &mut self.buffer);
        }
    }

    /// What is to be done with the buffer now. While a background sync is under way, writing may wait for it for two
    /// seconds, unless `force`.
    pub fn next_flush(&mut self, is_syncing: bool, force: bool, now_ms: i64) -> Flush {
        if self.file.is_none() {
            self.holds_replies = false;
            return Flush::NoFile;
        }
        if self.buffer.is_empty() {
            return Flush::Empty;
        }
        if !is_syncing || force {
            return Flush::Write { waited_in_vain: false };
        }
        let since_ms = *self.postponed_since_ms.get_or_insert(now_ms);
        if now_ms - since_ms < POSTPONE_MS {
            self.holds_replies = false;
            return Flush::Postponed;
        }
        self.delayed_fsyncs += 1;
        Flush::Write { waited_in_vain: true }
    }

    /// Writes the whole buffer, or as much as can't be taken back. Answers how many bytes the file has grown.
    pub fn write(&mut self) -> (u64, Result<(), WriteFailure>) {
        self.postponed_since_ms = None;
        let Some(file) = &mut self.file else { return (0, Ok(())) };
        let (grown, outcome) = append(file, self.size, &mut self.buffer);
        self.size += grown;
        (grown, outcome)
    }

    /// How what has just been written is to be synced. `spares_disk`: a child has the disk for itself.
    pub fn next_sync(&self, policy: AppendFsync, spares_disk: bool, now_ms: i64) -> Sync {
        match policy {
            _ if spares_disk => Sync::No,
            AppendFsync::Always => Sync::Now,
            AppendFsync::Everysec if self.is_period_over(now_ms) => Sync::Background,
            AppendFsync::Everysec | AppendFsync::No => Sync::No,
        }
    }

    /// Whether what was written before is to be synced, where nothing is buffered.
    pub fn owes_sync(&self, policy: AppendFsync, is_syncing: bool, now_ms: i64) -> bool {
        let is_due = match policy {
            AppendFsync::Always => true,
            AppendFsync::Everysec => self.is_period_over(now_ms) && !is_syncing,
            AppendFsync::No => false,
        };
        is_due && !self.is_all_synced()
    }

    fn is_period_over(&self, now_ms: i64) -> bool {
        now_ms - self.last_fsync_ms >= FSYNC_PERIOD_MS
    }

    /// Whether all of the file was synced, or is being synced.
    pub fn is_all_synced(&self) -> bool {
        self.synced_size == self.size
    }

    /// Syncs the file while everybody waits, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_now(&mut self, now_ms: i64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data()?;
        self.note_synced();
        self.note_fsync(now_ms);
        Ok(())
    }

    /// All of the file is synced, or is being synced.
    pub fn note_synced(&mut self) {
        self.synced_size = self.size;
    }

    /// When a sync was last begun, or would have been.
    pub fn note_fsync(&mut self, now_ms: i64) {
        self.last_fsync_ms = now_ms;
    }

    /// What is buffered acknowledges nothing that is not as durable as it is to be.
    pub fn release_replies(&mut self) {
        self.holds_replies = false;
    }

    /// A background sync has failed; whether that is to be logged.
    pub fn fsync_failed(&mut self, reason: String) -> bool {
        self.fsync_error.replace(reason).is_none()
    }

    /// A background sync works; whether one had failed.
    pub fn fsync_works(&mut self) -> bool {
        self.fsync_error.take().is_some()
    }

    /// A write has failed; the server goes on.
    pub fn write_failed(&mut self, reason: String) {
        self.write_error = Some(reason);
        self.holds_replies = false;
    }

    /// A write works; whether one had failed, and nothing is lacking any more.
    pub fn write_works(&mut self) -> bool {
        !self.owes() && self.write_error.take().is_some()
    }

    /// Whether a failed write is to be logged, which is noted as done.
    pub fn take_error_log_due(&mut self, now_seconds: i64) -> bool {
        let is_due = now_seconds - self.error_logged > ERROR_LOG_SECONDS;
        if is_due {
            self.error_logged = now_seconds;
        }
        is_due
    }

    /// Whether a write was postponed.
    pub fn is_postponed(&self) -> bool {
        self.postponed_since_ms.is_some()
    }

    /// Goes on in another file of `size` bytes, all of them synced; the next command selects its database. Answers the
    /// file before, if there is one and it is complete; if not, it is [owed](Appender::write_owed) the rest.
    pub fn open(&mut self, file: File, size: u64) -> Option<File> {
        let old = self.file.replace(file);
        let (bytes, old_size) = (mem::take(&mut self.buffer), self.size);
        (self.size, self.synced_size, self.selected_db) = (size, size, None);
        match old {
            Some(file) if !bytes.is_empty() => {
                self.owed.push(Owed { file, size: old_size, bytes });
                None
            }
            old => old,
        }
    }

    /// Whether files before this one lack commands: as long as they do, the last write counts as failed, and nothing
    /// behind it as durable.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Tries to write what files before this one lack, and to make it durable.
    ///
    /// # Errors
    /// What the system says; the rest is still owed.
    pub fn write_owed(&mut self) -> io::Result<()> {
        while let Some(Owed { file, size, bytes }) = self.owed.first_mut() {
            let (grown, outcome) = append(file, *size, bytes);
            *size += grown;
            outcome.map_err(|failure| failure.error)?;
            file.sync_data()?;
            self.owed.remove(0);
        }
        Ok(())
    }

    /// A new base holds what files before this one lack.
    pub fn forget_owed(&mut self) {
        self.owed.clear();
    }

    /// Forgets the file and what was to be written to it.
    pub fn close(&mut self) {
        self.discard_buffer();
        self.forget_owed();
        self.file = None;
        self.selected_db = None;
        (self.size, self.synced_size) = (0, 0);
        self.postponed_since_ms = None;
    }

    /// Forgets what was to be written.
    pub fn discard_buffer(&mut self) {
        self.buffer = Vec::new();
        self.holds_replies = false;
    }

    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the file that were synced, or are being synced in the background; `None`: no file is written to.
    pub fn synced_size(&self) -> Option<u64> {
        self.file.as_ref().map(|_| self.synced_size)
    }

    /// Bytes that wait to be written.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub fn buffer_memory(&self) -> usize {
        self.buffer.capacity() + self.owed.iter().map(|owed| owed.bytes.capacity()).sum::<usize>()
    }

    /// Whether no reply may leave, because what it acknowledges is not in the file.
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.holds_replies
    }

    pub fn delayed_fsyncs(&self) -> u64 {
        self.delayed_fsyncs
    }

    /// Why the last write failed, or else the last background sync.
    #[inline]
    pub fn error(&self) -> Option<&String> {
        self.write_error.as_ref().or(self.fsync_error.as_ref())
    }

    pub fn has_write_error(&self) -> bool {
        self.write_error.is_some()
    }

    pub fn has_fsync_error(&self) -> bool {
        self.fsync_error.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use tempfile::TempDir;

    fn open() -> (TempDir, Appender) {
        let dir = TempDir::new().expect("a folder");
        let mut appender = Appender::default();
        let file = File::create(dir.path().join("incr")).expect("a file");
        assert!(appender.open(file, 0).is_none());
        (dir, appender)
    }

    #[test]
    fn commands_select_their_database_once() {
        let (dir, mut appender) = open();
        appender.feed(0, &[b"A"], None);
        appender.feed(0, &[b"B"], None);
        let mut unit = Vec::new();
        appender.feed(3, &[b"C"], Some(&mut unit));
        appender.feed(3, &[b"D"], Some(&mut unit));
        appender.feed_unit(2, &unit);
        assert!(appender.holds_replies());
        let (grown, outcome) = appender.write();
        outcome.expect("written");
        let text = fs::read_to_string(dir.path().join("incr")).expect("the file");
        assert_eq!(grown, text.len() as u64);
        let words: Vec<&str> =
            text.split("\r\n").filter(|w| !w.starts_with(['*', '$']) && !w.is_empty()).collect();
        assert_eq!(words, ["SELECT", "0", "A", "B", "MULTI", "SELECT", "3", "C", "D", "EXEC"]);
        assert_eq!((appender.buffered(), appender.size()), (0, grown));
    }

    #[test]
    fn a_file_gets_what_it_would_not_take() {
        // A pipe that is full stands for a disk that is.
        let (mut reader, writer) = io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("an option of it");
        let mut full = File::from(OwnedFd::from(writer));
        let mut filled = 0;
        while let Ok(n) = full.write(&[b'x'; 4096]) {
            filled += n;
        }
        let mut appender = Appender::default();
        appender.open(full, 0);
        appender.feed(5, &[b"A"], None);
        appender.write().1.expect_err("it is full");
        appender.write_failed("full".into());

        let (dir, mut other) = open();
        let next = other.file.take().expect("a file");
        assert!(appender.open(next, 0).is_none() && appender.owes());
        appender.feed(5, &[b"B"], None);
        appender.write().1.expect("written");
        assert!(!appender.write_works() && appender.has_write_error());
        // It relies on nothing that was selected in the file before.
        let text = fs::read_to_string(dir.path().join("incr")).expect("the file");
        assert!(text.contains("SELECT") && text.contains('B') && !text.contains('A'), "{text}");
        appender.write_owed().expect_err("it is full still");

        reader.read_exact(&mut vec![0; filled]).expect("all of it");
        // There is nothing to sync in a pipe; the bytes are in it.
        let _ = appender.write_owed();
        let mut bytes = [0; 34];
        reader.read_exact(&mut bytes).expect("what was owed");
        assert_eq!(&bytes[..], b"*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n*1\r\n$1\r\nA\r\n");
        appender.forget_owed();
        assert!(appender.write_works() && !appender.has_write_error());
    }

    #[test]
    fn writing_waits_two_seconds_for_a_sync() {
        let (_dir, mut appender) = open();
        assert_eq!(appender.next_flush(true, false, 0), Flush::Empty);
        appender.feed(0, &[b"A"], None);
        assert_eq!(appender.next_flush(true, false, 5_000), Flush::Postponed);
        assert!(appender.is_postponed() && !appender.holds_replies());
        assert_eq!(appender.next_flush(true, false, 6_999), Flush::Postponed);
        let forced = Flush::Write { waited_in_vain: false };
        assert_eq!(appender.next_flush(true, true, 6_999), forced);
        assert_eq!(appender.next_flush(false, false, 6_999), forced);
        let in_vain = Flush::Write { waited_in_vain: true };
        assert_eq!(appender.next_flush(true, false, 7_000), in_vain);
        assert_eq!(appender.delayed_fsyncs(), 1);
        appender.write().1.expect("written");
        assert!(!appender.is_postponed());
    }

    #[test]
    fn without_a_file_nothing_is_held() {
        let mut appender = Appender::default();
        appender.feed(0, &[b"A"], None);
        assert_eq!(appender.next_flush(false, false, 0), Flush::NoFile);
        assert!(!appender.holds_replies());
        assert_eq!(appender.synced_size(), None);
    }

    #[test]
    fn syncs_follow_the_policy() {
        let (_dir, mut appender) = open();
        appender.note_fsync(1_000);
        let at = |policy, now_ms| appender.next_sync(policy, false, now_ms);
        assert_eq!(at(AppendFsync::Always, 1_000), Sync::Now);
        assert_eq!(at(AppendFsync::No, 9_000), Sync::No);
        assert_eq!(at(AppendFsync::Everysec, 1_999), Sync::No);
        assert_eq!(at(AppendFsync::Everysec, 2_000), Sync::Background);
        assert_eq!(appender.next_sync(AppendFsync::Always, true, 9_000), Sync::No);

        assert!(!appender.owes_sync(AppendFsync::Always, false, 9_000), "all is synced");
        appender.feed(0, &[b"A"], None);
        appender.write().1.expect("written");
        assert!(appender.owes_sync(AppendFsync::Always, true, 0));
        assert!(!appender.owes_sync(AppendFsync::Everysec, true, 2_000), "one is under way");
        assert!(!appender.owes_sync(AppendFsync::Everysec, false, 1_999));
        assert!(appender.owes_sync(AppendFsync::Everysec, false, 2_000));
        assert!(!appender.owes_sync(AppendFsync::No, false, 9_000));
        appender.sync_now(2_000).expect("synced");
        assert_eq!(appender.synced_size(), Some(appender.size()));
        assert!(!appender.owes_sync(AppendFsync::Everysec, false, 9_000));
    }

    #[test]
    fn a_write_that_fails_leaves_the_buffer_and_says_why() {
        let mut appender = Appender::default();
        // Nothing can be written to what was opened to be read.
        appender.open(File::open("/dev/null").expect("a file"), 0);
        appender.feed(0, &[b"A"], None);
        let buffered = appender.buffered();
        let (grown, outcome) = appender.write();
        let failure = outcome.expect_err("a failure");
        assert_eq!((grown, failure.written, failure.expected), (0, 0, buffered));
        assert_eq!(appender.buffered(), buffered);
        appender.write_failed("full".into());
        assert_eq!(appender.error().map(String::as_str), Some("full"));
        assert!(appender.take_error_log_due(31) && !appender.take_error_log_due(61));
        assert!(appender.take_error_log_due(62));
        assert!(appender.write_works() && !appender.write_works());
    }
}
