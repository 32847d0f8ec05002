//! A replica as its primary sees it, as a machine: it is told what the replica says and what becomes of its snapshot,
//! and answers with [`Action`]s and with the bytes to write. It knows no socket and no server.

use super::stream::ReplStream;
use super::trace::{Resync, StepKind};
use super::transfer::Transfer;
use crate::rdb::writer::{Excluded, RdbVersion};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::observe::log::Level;
use crate::util::args::split_args;
use crate::util::number::parse_i64;
use bitflags::bitflags;
use std::io::{self, IoSlice};

/// The longest address that a replica may want to be known by, in bytes.
const MAX_ADDRESS: usize = 255;

/// Where a replica of ours is. The connection that said `PSYNC` goes through these states; `cursor` is how much of the
/// stream has been sent: the offset of the next byte.
#[derive(Debug, Default)]
enum ReplState {
    /// So far there was only `REPLCONF`.
    #[default]
    Handshake,
    /// Needs a snapshot that has not been started.
    WaitBgsaveStart,
    /// Its snapshot is being made.
    WaitBgsaveEnd { cursor: u64 },
    /// Its snapshot is being sent.
    SendBulk { cursor: u64, transfer: Transfer },
    /// Receives the stream; `held`: once it has said that it has found the end of a snapshot without length.
    Online { cursor: u64, held: bool },
    /// Receives the stream while its snapshot travels on a connection of its own.
    BgTransfer { cursor: u64 },
    /// Wanted a snapshot only, and has it.
    RdbTransmitted,
}

bitflags! {
    /// What a replica said that it can do (`REPLCONF capa`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(crate) struct Capabilities: u8 {
        /// Reads a snapshot of unknown length, up to an end mark.
        const EOF = 1;
        /// Understands `+CONTINUE <new id>`.
        const PSYNC2 = 2;
        /// Takes the snapshot on a connection of its own.
        const DUAL_CHANNEL = 4;
        /// The same in another way, which is not offered: it tells that the replica is a Redis 8.
        const RDB_CHANNEL = 8;
    }
}

/// What a replica has said of itself.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    pub listening_port: u16,
    /// The address that the replica wants to be known by; empty: its socket's.
    pub ip_address: String,
    pub capabilities: Capabilities,
    version: u32,
    pub excluded: Excluded,
    /// It wants a snapshot and no stream.
    pub rdb_only: bool,
    /// This connection is for the snapshot; the stream goes over another.
    pub rdb_channel: bool,
    /// The id of the client that is this replica's RDB channel.
    pub rdb_client: Option<u64>,
}

/// What is known of a replica, from its first `REPLCONF` on.
#[derive(Debug, Default)]
pub(crate) struct ReplicaLink {
    pub announced: Announced,
    state: ReplState,
    /// How much of the stream the replica says that it has applied, and made durable.
    acknowledged: Option<u64>,
    durable: Option<u64>,
    /// When it was last heard, in seconds since 1970.
    heard_seconds: i64,
    /// It asked with `SYNC`: it knows no offsets, and says nothing of how far it has got.
    is_old: bool,
    /// Where `REPLTRACE` remembers this connection.
    trace: Option<u64>,
}

/// What a step of the machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Log(Level, String),
    Trace(StepKind, String),
    TraceResync(Resync),
    /// An answer, for its output.
    Send(String),
    /// There is something to write that is not in its output.
    Write,
    /// The replica counts from now on, or counts no more.
    CountGoodReplicas,
    /// It has got all that it wanted.
    CloseAfterReply,
}

/// What is to be written to a replica next.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Nothing,
    /// Bytes of its snapshot.
    Snapshot(&'a [u8]),
    /// The snapshot has been sent: [`ReplicaLink::snapshot_sent`].
    SnapshotSent,
    Stream(Vec<IoSlice<'a>>),
}

/// The first Valkey in which fields of hashes expire. Redis announces no version.
const VALKEY_9: u32 = 0x09_00_00;

impl Announced {
    /// Takes an option of `REPLCONF` down, in lower case; `false`: it is none that is for taking down. `two_channels`:
    /// whether a snapshot may go over a connection of its own.
    ///
    /// # Errors
    /// If the value can't be one.
    pub fn set(&mut self, option: &[u8], value: &[u8], two_channels: bool) -> CommandResult<bool> {
        match option {
            b"listening-port" => {
                let port = parse_i64(value).ok_or(CommandError::NOT_AN_INTEGER)?;
                let port = u16::try_from(port).map_err(|_| CommandError::NOT_AN_INTEGER)?;
                self.listening_port = port;
            }
            b"ip-address" if value.len() > MAX_ADDRESS => {
                return Err(CommandError::err_with(format!(
                    "REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            b"ip-address" => self.ip_address = String::from_utf8_lossy(value).into_owned(),
            b"capa" => self.add_capability(value, two_channels),
            b"version" => {
                let parts = value.split(|b| *b == b'.').filter_map(parse_i64);
                self.version =
                    parts.take(3).fold(0, |v, part| v << 8 | (part.clamp(0, 255) as u32));
            }
            b"rdb-only" => self.rdb_only = zero_or_one(value)?,
            b"rdb-filter-only" => self.excluded = parts_but(value)?,
            b"rdb-channel" => self.rdb_channel = zero_or_one(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A capability that is not known here is none of our business.
    fn add_capability(&mut self, name: &[u8], two_channels: bool) {
        self.capabilities |= match name.to_ascii_lowercase().as_slice() {
            b"eof" => Capabilities::EOF,
            b"psync2" => Capabilities::PSYNC2,
            b"dual-channel" if two_channels => Capabilities::DUAL_CHANNEL,
            b"rdb-channel-repl" => Capabilities::RDB_CHANNEL,
            _ => Capabilities::empty(),
        };
    }

    /// Whether this replica has announced this version, as in `0x080001`, or a later one.
    pub fn is_since(&self, version: u32) -> bool {
        self.version >= version
    }

    /// The version of RDB in which this replica reads hashes whose fields expire; `None`: there is none, and it does
    /// not know such fields. What listens on no port is no server, but a tool: it gets `own`.
    pub fn expiring_fields_version(&self, own: RdbVersion) -> Option<RdbVersion> {
        if self.version >= VALKEY_9 {
            Some(RdbVersion::Valkey80)
        } else if self.capabilities.contains(Capabilities::RDB_CHANNEL) {
            Some(RdbVersion::V12)
        } else {
            (self.listening_port == 0).then_some(own)
        }
    }
}

/// All parts of a snapshot but those that are named.
fn parts_but(names: &[u8]) -> CommandResult<Excluded> {
    let names =
        split_args(names).ok_or_else(|| CommandError::err("Missing rdb-filter-only values"))?;
    let mut excluded = Excluded::all();
    for name in names {
        if !name.eq_ignore_ascii_case(b"functions") {
            return Err(CommandError::quoting("Unsupported rdb-filter-only option: ", &name, ""));
        }
        excluded.remove(Excluded::FUNCTIONS);
    }
    Ok(excluded)
}

/// What is either 0 or 1.
pub(crate) fn zero_or_one(value: &[u8]) -> CommandResult<bool> {
    match parse_i64(value) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(CommandError::err("value is out of range, value must between 0 and 1")),
        None => Err(CommandError::NOT_AN_INTEGER),
    }
}

impl ReplicaLink {
    // What others may know of it.

    /// As `INFO replication` and `ROLE` print it.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            ReplState::Handshake => "handshake",
            ReplState::WaitBgsaveStart | ReplState::WaitBgsaveEnd { .. } => "wait_bgsave",
            ReplState::SendBulk { .. } => "send_bulk",
            ReplState::Online { .. } => "online",
            ReplState::BgTransfer { .. } => "bg_transfer",
            ReplState::RdbTransmitted => "rdb_transmitted",
        }
    }

    /// What it is in the eyes of `INFO`.
    pub fn kind(&self) -> &'static str {
        match self.state {
            _ if self.announced.rdb_channel => "rdb-channel",
            ReplState::BgTransfer { .. } => "main-channel",
            _ => "replica",
        }
    }

    /// Whether it has asked for nothing so far.
    pub fn is_shaking_hands(&self) -> bool {
        matches!(self.state, ReplState::Handshake)
    }

    pub fn is_online(&self) -> bool {
        matches!(self.state, ReplState::Online { .. })
    }

    /// Whether it needs a snapshot that has not been started.
    pub fn waits_for_start(&self) -> bool {
        matches!(self.state, ReplState::WaitBgsaveStart)
    }

    /// Whether its snapshot is being made.
    pub fn waits_for_end(&self) -> bool {
        matches!(self.state, ReplState::WaitBgsaveEnd { .. })
    }

    /// Bytes of its snapshot that have been sent, and all of them, while it is sent from a file.
    pub fn transfer_progress(&self) -> Option<(u64, u64)> {
        match &self.state {
            ReplState::SendBulk { transfer, .. } => Some((transfer.done(), transfer.size())),
            _ => None,
        }
    }

    /// Where in the stream the snapshot stands that is being made for it.
    pub fn snapshot_offset(&self) -> Option<u64> {
        self.cursor().filter(|_| self.waits_for_end())
    }

    /// Whether a snapshot is needed, made or sent.
    pub fn needs_snapshot(&self) -> bool {
        self.waits_for_start()
            || self.waits_for_end()
            || matches!(self.state, ReplState::SendBulk { .. })
    }

    /// The offset that it has acknowledged, or 0.
    pub fn ack_offset(&self) -> u64 {
        self.acknowledged.unwrap_or(0)
    }

    /// When it was last heard, in seconds since 1970.
    pub fn heard_seconds(&self) -> i64 {
        self.heard_seconds
    }

    /// It has said that it is alive.
    pub fn heard(&mut self, now_seconds: i64) {
        self.heard_seconds = now_seconds;
    }

    /// Where `REPLTRACE` remembers this connection.
    pub fn trace(&self) -> Option<u64> {
        self.trace
    }

    /// `REPLTRACE` remembers this connection as `id`.
    pub fn set_trace(&mut self, id: u64) {
        self.trace = Some(id);
    }

    /// Whether the replica says that it has applied the stream up to an offset. One that is online may still be loading
    /// its snapshot: what was written before there was a stream, at offset 0, is there with its first word and not
    /// before.
    pub fn has_applied(&self, offset: u64) -> bool {
        self.is_online() && self.acknowledged.is_some_and(|reached| reached >= offset)
    }

    /// Whether it says that it has an offset on disk.
    pub fn has_durable(&self, offset: Option<u64>) -> bool {
        let reached = |offset| self.durable.is_some_and(|durable| durable >= offset);
        self.is_online() && offset.is_none_or(reached)
    }

    fn cursor(&self) -> Option<u64> {
        match self.state {
            ReplState::WaitBgsaveEnd { cursor }
            | ReplState::SendBulk { cursor, .. }
            | ReplState::Online { cursor, .. }
            | ReplState::BgTransfer { cursor } => Some(cursor),
            ReplState::Handshake | ReplState::WaitBgsaveStart | ReplState::RdbTransmitted => None,
        }
    }

    /// From where on the stream is kept for it; `None`: nothing is kept for it.
    pub fn needs_stream_from(&self) -> Option<u64> {
        self.cursor().filter(|_| !self.announced.rdb_only)
    }

    /// Bytes of the stream that it has not been sent.
    pub fn lag_bytes(&self, stream: Option<&ReplStream>) -> usize {
        match (self.needs_stream_from(), stream) {
            (Some(cursor), Some(stream)) => (stream.end() - cursor) as usize,
            _ => 0,
        }
    }

    // What happens to it.

    /// It asks for everything; `is_old`: with `SYNC`.
    pub fn synchronize(&mut self, is_old: bool, now_seconds: i64) {
        self.state = ReplState::WaitBgsaveStart;
        self.is_old = is_old;
        self.heard_seconds = now_seconds;
    }

    /// It goes on where it stopped, at `cursor`; `behind_snapshot`: of which it takes the rest on another connection.
    /// `id`: our history's, for whom may know of a change.
    pub fn resume(
        &mut self,
        cursor: u64,
        behind_snapshot: bool,
        id: &str,
        now_seconds: i64,
    ) -> Vec<Action> {
        self.state = match behind_snapshot {
            true => ReplState::BgTransfer { cursor },
            false => ReplState::Online { cursor, held: false },
        };
        self.heard_seconds = now_seconds;
        // Without it the replica could not follow a change of history, and needs not know of one.
        let answer = match self.announced.capabilities.contains(Capabilities::PSYNC2) {
            true => format!("+CONTINUE {id}\r\n"),
            false => "+CONTINUE\r\n".to_string(),
        };
        vec![
            Action::TraceResync(Resync::Partial),
            Action::Trace(StepKind::Sent, answer.trim_end().to_string()),
            Action::Send(answer),
        ]
    }

    /// Its snapshot is being made: the stream behind it starts at `cursor`, in the history `id`.
    pub fn snapshot_begun(&mut self, cursor: u64, id: &str) -> Vec<Action> {
        self.state = ReplState::WaitBgsaveEnd { cursor };
        if self.is_old {
            return Vec::new();
        }
        let answer = format!("+FULLRESYNC {id} {cursor}\r\n");
        let trace = Action::Trace(StepKind::Sent, answer.trim_end().to_string());
        vec![trace, Action::Send(answer)]
    }

    /// No snapshot could be made for it.
    pub fn snapshot_refused(&mut self) {
        self.state = ReplState::Handshake;
    }

    /// Its snapshot is made, and this file.
    pub fn snapshot_is_file(&mut self, transfer: Transfer) -> Vec<Action> {
        let ReplState::WaitBgsaveEnd { cursor } = self.state else { return Vec::new() };
        let text = format!("snapshot is made: {} bytes to send", transfer.size());
        self.state = ReplState::SendBulk { cursor, transfer };
        vec![Action::Trace(StepKind::Here, text), Action::Write]
    }

    /// Its snapshot is made, and in its output, with `mark` behind it: the stream waits until it has been found.
    pub fn snapshot_is_streamed(&mut self, mark: &str, name: &str, now: i64) -> Vec<Action> {
        let text = "snapshot is sent; the stream waits for the replica's acknowledgement";
        let mut out = vec![
            Action::Send(mark.to_string()),
            Action::Log(
                Level::Notice,
                format!(
                    "Streamed replica with replica {name} succeeded. Waiting for REPLCONF ACK from replica to enable streaming"
                ),
            ),
            Action::Trace(StepKind::Here, text.to_string()),
        ];
        out.extend(self.put_online(true, name, now));
        out
    }

    /// Its snapshot is sent.
    pub fn snapshot_sent(&mut self, name: &str, now_seconds: i64) -> Vec<Action> {
        self.put_online(false, name, now_seconds)
    }

    /// The snapshot is on its way or sent: the replica counts from now on.
    fn put_online(&mut self, held: bool, name: &str, now_seconds: i64) -> Vec<Action> {
        if self.announced.rdb_only {
            self.state = ReplState::RdbTransmitted;
            let text = "RDB transfer completed, rdb only replica should be disconnected asap";
            return vec![
                Action::Trace(StepKind::Here, "snapshot is sent".to_string()),
                Action::Log(Level::Notice, text.to_string()),
                Action::CloseAfterReply,
            ];
        }
        let Some(cursor) = self.cursor() else { return Vec::new() };
        self.state = ReplState::Online { cursor, held };
        self.heard_seconds = now_seconds;
        let text = format!("Synchronization with replica {name} succeeded");
        vec![
            Action::Trace(StepKind::Here, "online".to_string()),
            Action::CountGoodReplicas,
            Action::Log(Level::Notice, text),
        ]
    }

    /// `REPLCONF ACK`: how far it has got, and what of it is in its append-only file.
    pub fn acknowledge(
        &mut self,
        offset: u64,
        durable: Option<u64>,
        name: &str,
        now_seconds: i64,
    ) -> Vec<Action> {
        self.acknowledged = self.acknowledged.max(Some(offset));
        self.durable = self.durable.max(durable);
        self.heard_seconds = now_seconds;
        let trace = || Action::Trace(StepKind::Received, format!("REPLCONF ACK {offset}"));
        let mut out = Vec::new();
        match &mut self.state {
            ReplState::Online { held, .. } if *held => {
                *held = false;
                out.extend([trace(), Action::Write]);
            }
            ReplState::BgTransfer { .. } => {
                out.push(trace());
                out.extend(self.put_online(false, name, now_seconds));
            }
            _ => {}
        }
        out.push(Action::CountGoodReplicas);
        out
    }

    /// Whether a newline is to tell it that we are alive; `on_disk`: no snapshot is on its way.
    pub fn wants_newline(&self, on_disk: bool) -> bool {
        self.waits_for_start() || (self.waits_for_end() && on_disk)
    }

    /// For how long it has been silent, in seconds, and in what phase; `stalled_since`: when it last took something of
    /// the snapshot that waits for it, in seconds since 1970.
    pub fn silence(&self, stalled_since: Option<i64>, now: i64) -> Option<(i64, &'static str)> {
        match self.state {
            ReplState::Online { .. } | ReplState::BgTransfer { .. } => {
                (!self.is_old).then(|| (now - self.heard_seconds, "streaming sync"))
            }
            ReplState::WaitBgsaveEnd { .. } => {
                stalled_since.map(|since| (now - since, "full sync"))
            }
            _ => None,
        }
    }

    /// What is to be written to it, where its output is empty.
    ///
    /// # Errors
    /// If its snapshot can't be read.
    pub fn next<'a>(&'a mut self, stream: Option<&'a ReplStream>) -> io::Result<Next<'a>> {
        match &mut self.state {
            ReplState::SendBulk { transfer, .. } => {
                let bytes = transfer.pending()?;
                Ok(if bytes.is_empty() { Next::SnapshotSent } else { Next::Snapshot(bytes) })
            }
            ReplState::Online { cursor, held: false } | ReplState::BgTransfer { cursor } => {
                let behind = stream.filter(|stream| *cursor < stream.end());
                Ok(behind.map_or(Next::Nothing, |stream| Next::Stream(stream.slices(*cursor))))
            }
            _ => Ok(Next::Nothing),
        }
    }

    /// So many of those bytes were written.
    pub fn wrote(&mut self, n: usize) {
        match &mut self.state {
            ReplState::SendBulk { transfer, .. } => transfer.sent(n),
            ReplState::Online { cursor, .. } | ReplState::BgTransfer { cursor } => {
                *cursor += n as u64;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::rc::Rc;

    const ID: &str = "1111111111111111111111111111111111111111";

    fn announcing(options: &[(&str, &str)]) -> ReplicaLink {
        let mut link = ReplicaLink::default();
        for (option, value) in options {
            let set = link.announced.set(option.as_bytes(), value.as_bytes(), true);
            assert!(set.expect("a value that can be"), "{option} is known");
        }
        link
    }

    /// One whose snapshot is being made.
    fn waiting(options: &[(&str, &str)]) -> ReplicaLink {
        let mut link = announcing(options);
        link.synchronize(false, 10);
        link.snapshot_begun(500, ID);
        link
    }

    fn file(text: &str) -> Transfer {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("dump.rdb");
        File::create(&path).and_then(|mut f| f.write_all(text.as_bytes())).expect("a file");
        Transfer::new(Rc::new(File::open(path).expect("the file")), text.len() as u64)
    }

    fn stream(bytes: usize) -> ReplStream {
        let mut stream = ReplStream::new(500, 0);
        stream.append(&vec![b's'; bytes], true);
        stream
    }

    /// What is written to it in pieces of so many bytes, and whether its snapshot was all sent on the way.
    fn written(link: &mut ReplicaLink, stream: &ReplStream, piece: usize) -> (Vec<u8>, bool) {
        let (mut all, mut sent) = (Vec::new(), false);
        loop {
            let bytes = match link.next(Some(stream)).expect("a file that can be read") {
                Next::Nothing => return (all, sent),
                Next::Snapshot(bytes) => bytes[..piece.min(bytes.len())].to_vec(),
                Next::Stream(slices) => slices[0][..piece.min(slices[0].len())].to_vec(),
                Next::SnapshotSent => {
                    sent = true;
                    link.snapshot_sent("it", 11);
                    continue;
                }
            };
            link.wrote(bytes.len());
            all.extend(bytes);
        }
    }

    #[test]
    fn what_a_replica_announces() {
        let link = announcing(&[
            ("listening-port", "7000"),
            ("ip-address", "10.0.0.1"),
            ("capa", "eof"),
            ("capa", "PSYNC2"),
            ("capa", "dual-channel"),
            ("capa", "telepathy"),
            ("version", "8.1.2"),
            ("rdb-only", "1"),
            ("rdb-channel", "1"),
            ("rdb-filter-only", "functions"),
        ]);
        let Announced { listening_port, ip_address, capabilities, version, excluded, .. } =
            &link.announced;
        assert_eq!(
            (*listening_port, ip_address.as_str(), *version),
            (7000, "10.0.0.1", 0x08_01_02)
        );
        let all = Capabilities::EOF | Capabilities::PSYNC2 | Capabilities::DUAL_CHANNEL;
        assert_eq!((*capabilities, *excluded), (all, Excluded::DATA));
        assert!(link.announced.rdb_only && link.announced.rdb_channel && link.is_shaking_hands());
        let mut without = ReplicaLink::default();
        without.announced.set(b"capa", b"dual-channel", false).expect("a value");
        assert!(without.announced.capabilities.is_empty());
        for (option, value) in [
            ("listening-port", "x"),
            ("listening-port", "65536"),
            ("listening-port", "-1"),
            ("ip-address", &"x".repeat(256)),
            ("rdb-only", "2"),
            ("rdb-only", "x"),
            ("rdb-channel", "-1"),
            ("rdb-filter-only", "data"),
            ("rdb-filter-only", "\""),
        ] {
            let set = without.announced.set(option.as_bytes(), value.as_bytes(), true);
            assert!(set.is_err(), "{option} {value}");
        }
        assert!(!without.announced.set(b"ack", b"1", true).expect("nothing is taken down"));
    }

    #[test]
    fn hashes_with_expiring_fields_go_to_those_who_know_them() {
        let version = |options: &[(&str, &str)]| {
            announcing(options).announced.expiring_fields_version(RdbVersion::V10)
        };
        let port = ("listening-port", "7000");
        assert_eq!(version(&[port, ("version", "8.9.9")]), None);
        assert_eq!(version(&[port, ("version", "9.0.0")]), Some(RdbVersion::Valkey80));
        assert_eq!(version(&[port, ("capa", "rdb-channel-repl")]), Some(RdbVersion::V12));
        assert_eq!(version(&[]), Some(RdbVersion::V10), "a tool gets our own");
    }

    #[test]
    fn a_full_resynchronisation_from_a_file() {
        let mut link = announcing(&[]);
        link.synchronize(false, 10);
        assert!(link.waits_for_start() && link.needs_stream_from().is_none());
        assert_eq!((link.state_name(), link.wants_newline(false)), ("wait_bgsave", true));
        let answer = format!("+FULLRESYNC {ID} 500");
        assert_eq!(
            link.snapshot_begun(500, ID),
            [Action::Trace(StepKind::Sent, answer.clone()), Action::Send(format!("{answer}\r\n"))]
        );
        assert_eq!((link.state_name(), link.snapshot_offset()), ("wait_bgsave", Some(500)));
        assert!(link.wants_newline(true) && !link.wants_newline(false));
        assert!(matches!(link.next(Some(&stream(3))), Ok(Next::Nothing)));
        let text = "snapshot is made: 8 bytes to send".to_string();
        let made = [Action::Trace(StepKind::Here, text), Action::Write];
        assert_eq!(link.snapshot_is_file(file("snapshot")), made);
        assert_eq!((link.state_name(), link.needs_snapshot()), ("send_bulk", true));
        // The stream follows, from where the snapshot stands.
        let (bytes, sent) = written(&mut link, &stream(5), 3);
        assert_eq!((String::from_utf8_lossy(&bytes).as_ref(), sent), ("$8\r\nsnapshotsssss", true));
        assert_eq!((link.state_name(), link.needs_stream_from()), ("online", Some(505)));
        assert!(!link.needs_snapshot());
    }

    #[test]
    fn behind_a_streamed_snapshot_the_stream_waits_for_the_first_word() {
        let mut link = waiting(&[("capa", "eof")]);
        let said = link.snapshot_is_streamed("mark", "it", 11);
        assert_eq!(said[0], Action::Send("mark".to_string()));
        assert!(said.contains(&Action::CountGoodReplicas));
        assert!(link.is_online() && !link.has_applied(0));
        assert_eq!(written(&mut link, &stream(5), 9), (Vec::new(), false));
        let said = link.acknowledge(500, Some(400), "it", 12);
        assert!(said.contains(&Action::Write));
        assert_eq!(written(&mut link, &stream(5), 9).0, b"sssss");
        assert!(link.has_applied(500) && !link.has_applied(501));
        assert!(link.has_durable(Some(400)) && !link.has_durable(Some(401)));
        // What is said later is not less, and nothing waits for it.
        assert_eq!(link.acknowledge(490, None, "it", 13), [Action::CountGoodReplicas]);
        assert_eq!((link.ack_offset(), link.heard_seconds()), (500, 13));
        assert!(link.has_durable(Some(400)));
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        for (options, answer) in [
            (&[][..], "+CONTINUE\r\n".to_string()),
            (&[("capa", "psync2")], format!("+CONTINUE {ID}\r\n")),
        ] {
            let mut link = announcing(options);
            let said = link.resume(502, false, ID, 10);
            assert_eq!(said[0], Action::TraceResync(Resync::Partial));
            assert_eq!(said[2], Action::Send(answer));
            assert_eq!(written(&mut link, &stream(5), 2).0, b"sss");
        }
        // The stream of one that still takes its snapshot on another connection goes out at once.
        let mut link = announcing(&[]);
        link.resume(500, true, ID, 10);
        assert_eq!(
            (link.state_name(), link.kind(), link.is_online()),
            ("bg_transfer", "main-channel", false)
        );
        assert_eq!(written(&mut link, &stream(5), 9).0, b"sssss");
        assert!(!link.has_applied(0));
        let said = link.acknowledge(505, None, "it", 11);
        assert!(said.contains(&Action::Log(
            Level::Notice,
            "Synchronization with replica it succeeded".to_string()
        )));
        assert!(link.is_online() && link.has_applied(505));
    }

    #[test]
    fn one_that_wants_the_snapshot_only_is_done_with_it() {
        let mut link = waiting(&[("rdb-only", "1")]);
        assert_eq!(link.needs_stream_from(), None, "nothing is kept for it");
        link.snapshot_is_file(file("x"));
        while let Ok(Next::Snapshot(bytes)) = link.next(None) {
            let n = bytes.len();
            link.wrote(n);
        }
        assert_eq!(link.snapshot_sent("it", 11).last(), Some(&Action::CloseAfterReply));
        assert_eq!((link.state_name(), link.is_online()), ("rdb_transmitted", false));
        let mut link = waiting(&[("rdb-only", "1"), ("capa", "eof")]);
        let said = link.snapshot_is_streamed("mark", "it", 11);
        assert_eq!(said.last(), Some(&Action::CloseAfterReply));
        assert!(matches!(link.next(Some(&stream(5))), Ok(Next::Nothing)));
    }

    #[test]
    fn one_that_asks_with_sync_is_told_no_history_and_never_too_silent() {
        let mut link = announcing(&[]);
        link.synchronize(true, 10);
        assert!(link.snapshot_begun(500, ID).is_empty());
        link.snapshot_is_file(file("x"));
        assert_eq!(written(&mut link, &stream(1), 9).0, b"$1\r\nxs");
        assert_eq!(link.silence(None, 1_000_000), None);
    }

    #[test]
    fn silence_is_counted_where_something_should_come() {
        let mut link = announcing(&[]);
        assert_eq!(link.silence(None, 99), None);
        link.synchronize(false, 10);
        assert_eq!(link.silence(None, 99), None);
        link.snapshot_begun(500, ID);
        assert_eq!(link.silence(None, 99), None);
        assert_eq!(link.silence(Some(90), 99), Some((9, "full sync")));
        link.snapshot_is_streamed("mark", "it", 20);
        assert_eq!(link.silence(Some(90), 99), Some((79, "streaming sync")));
        link.heard(95);
        assert_eq!(link.silence(None, 99), Some((4, "streaming sync")));
    }

    #[test]
    fn without_a_snapshot_it_is_no_replica() {
        let mut link = announcing(&[]);
        link.synchronize(false, 10);
        link.snapshot_refused();
        assert!(link.is_shaking_hands() && link.needs_stream_from().is_none());
        // What comes out of turn changes nothing.
        assert!(link.snapshot_is_file(file("x")).is_empty());
        assert!(link.snapshot_sent("it", 11).is_empty());
        assert!(link.is_shaking_hands());
    }
}
