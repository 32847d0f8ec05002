//! Dual-channel replication, the replica's side.
//!
//! The primary has answered `+DUALCHANNELSYNC`. A second connection, the RDB channel, asks for the snapshot and learns
//! from the `$ENDOFF` line at which offset it stands; then the first, the main channel, asks for the stream from there.
//! The snapshot is received and loaded as any other ([`super::download`]), while the stream that comes meanwhile is
//! kept here, and not at the primary. When both are there the kept stream is executed, a piece in each turn of the
//! loop.

use super::download::{Download, Taken};
use super::handshake::{SNAPSHOT_VERSION, announced_port};
use super::kept_stream::{KeptStream, Stored};
use super::{
    Action, Channel, Context, LinkRequest, LinkState, Online, Place, PrimaryLink, STREAM_TIMEOUT,
};
use crate::server::client::Token;
use crate::server::config::Config;
use crate::server::links::history::NO_ID;
use crate::server::observe::log::Level;

const RDB_CHANNEL_TIMEOUT: &str = "Timeout receiving bulk data from MASTER on the RDB channel... If the problem persists try to set the 'repl-timeout' parameter in the configuration file to a larger value.";

/// Both connections.
#[derive(Debug)]
pub(super) struct TwoChannels {
    pub main: Channel,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The RDB channel shakes hands; the main channel waits.
    Opening { rdb: Channel, step: RdbStep, heard_seconds: i64 },
    /// It is known where the snapshot stands.
    Split { place: Place, main: MainStep, snapshot: Snapshot },
}

/// Where the RDB channel's handshake is: what answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RdbStep {
    /// The connection is being made.
    Connecting,
    ReceiveAuth,
    ReceiveReplconf,
    ReceiveEndOffset,
}

/// Where the main channel is.
#[derive(Debug)]
enum MainStep {
    /// The primary is to join the two channels.
    ReceiveRdbClientId,
    ReceivePsync,
    /// The stream comes.
    Buffering(Box<KeptStream>),
}

/// Where the snapshot is.
#[derive(Debug)]
enum Snapshot {
    Coming {
        rdb: Channel,
        download: Download,
        heard_seconds: i64,
    },
    Loading {
        rdb: Token,
        wants_ack: bool,
    },
    /// The RDB channel has served and is closed.
    Loaded {
        wants_ack: bool,
    },
}

/// What a `$ENDOFF` line tells.
struct EndOffset<'a> {
    place: Place,
    stream_db: usize,
    /// The primary's name for the RDB channel, which the main channel refers to.
    client: &'a str,
}

fn end_offset(line: &str) -> Option<EndOffset<'_>> {
    let words: Vec<&str> = line.strip_prefix("$ENDOFF:")?.split(' ').collect();
    let [offset, id, db, client] = words[..] else { return None };
    // -1: no database is selected, so that the stream begins with one.
    let db: i64 = db.parse().ok()?;
    client.parse::<u64>().ok()?;
    let place = Place::At { id: id.to_string(), offset: offset.parse().ok()? };
    (id.len() == NO_ID.len()).then_some(EndOffset {
        place,
        stream_db: usize::try_from(db).unwrap_or(0),
        client,
    })
}

impl TwoChannels {
    pub fn tokens(&self) -> Vec<Token> {
        let rdb = match &self.stage {
            Stage::Opening { rdb, .. }
            | Stage::Split { snapshot: Snapshot::Coming { rdb, .. }, .. } => Some(rdb.token),
            Stage::Split { snapshot: Snapshot::Loading { rdb, .. }, .. } => Some(*rdb),
            Stage::Split { snapshot: Snapshot::Loaded { .. }, .. } => None,
        };
        [self.main.token].into_iter().chain(rdb).collect()
    }

    pub fn kept(&self) -> Option<&KeptStream> {
        match &self.stage {
            Stage::Split { main: MainStep::Buffering(kept), .. } => Some(kept.as_ref()),
            _ => None,
        }
    }

    pub fn is_buffering(&self) -> bool {
        self.kept().is_some()
    }

    pub fn is_loading(&self) -> bool {
        matches!(self.stage, Stage::Split { snapshot: Snapshot::Loading { .. }, .. })
    }

    pub fn is_syncing(&self) -> bool {
        self.is_buffering() || self.is_loading() || self.download().is_some()
    }

    pub fn download(&self) -> Option<&Download> {
        match &self.stage {
            Stage::Split { snapshot: Snapshot::Coming { download, .. }, .. } => Some(download),
            _ => None,
        }
    }

    /// What is said first on the RDB channel: what it is for.
    pub fn greeting(&self, token: Token, config: &Config) -> Option<Vec<LinkRequest>> {
        const FAILED: &str = "Error condition on socket for dual channel replication";
        let Stage::Opening { rdb, step: RdbStep::Connecting, .. } = &self.stage else {
            return None;
        };
        if rdb.token != token {
            return None;
        }
        let port = announced_port(config).to_string();
        let who: [&[u8]; 11] = [
            b"REPLCONF",
            b"capa",
            b"eof",
            b"rdb-only",
            b"1",
            b"rdb-channel",
            b"1",
            b"listening-port",
            port.as_bytes(),
            b"version",
            SNAPSHOT_VERSION,
        ];
        let auth = rdb.auth(config, FAILED);
        Some(auth.into_iter().chain([rdb.request(&who, FAILED)]).collect())
    }

    pub fn greeted(&mut self, context: &Context<'_>) {
        if let Stage::Opening { step, heard_seconds, .. } = &mut self.stage {
            let with_password = context.config.masterauth.is_some();
            *step = if with_password { RdbStep::ReceiveAuth } else { RdbStep::ReceiveReplconf };
            *heard_seconds = context.now_seconds();
        }
    }

    pub fn wants_input(&self, token: Token) -> bool {
        match &self.stage {
            _ if token == self.main.token => self.kept().is_none_or(|kept| !kept.is_full()),
            Stage::Opening { rdb, .. }
            | Stage::Split { snapshot: Snapshot::Coming { rdb, .. }, .. } => rdb.token == token,
            Stage::Split { .. } => false,
        }
    }

    /// Bytes have come; answers whether it was on the RDB channel.
    pub fn receive(&mut self, token: Token, bytes: &[u8], now_seconds: i64) -> bool {
        match &mut self.stage {
            _ if token == self.main.token => {
                self.main.input.extend_from_slice(bytes);
                return false;
            }
            Stage::Opening { rdb, heard_seconds, .. }
            | Stage::Split { snapshot: Snapshot::Coming { rdb, heard_seconds, .. }, .. } => {
                rdb.input.extend_from_slice(bytes);
                *heard_seconds = now_seconds;
            }
            Stage::Split { .. } => {}
        }
        true
    }

    /// What is to be given up because nothing has been heard for too long, if it is; `is_silent`: on the main channel.
    pub fn timeout(&self, is_silent: bool, context: &Context<'_>) -> Option<String> {
        let allowed = i64::from(context.config.repl_timeout);
        let is_over = |heard: i64| context.now_seconds() - heard > allowed;
        let primary = context.config.flavour.primary_in_capitals();
        match &self.stage {
            Stage::Opening { heard_seconds, .. } => is_over(*heard_seconds)
                .then(|| format!("Timeout connecting to the {primary} on the RDB channel...")),
            Stage::Split { snapshot: Snapshot::Coming { heard_seconds, .. }, .. }
                if is_over(*heard_seconds) =>
            {
                Some(RDB_CHANNEL_TIMEOUT.to_string())
            }
            Stage::Split { main: MainStep::Buffering(kept), .. } => {
                (is_silent && !kept.is_full()).then(|| STREAM_TIMEOUT.to_string())
            }
            Stage::Split { .. } => {
                is_silent.then(|| format!("Timeout connecting to the {primary}..."))
            }
        }
    }

    /// The next line of the RDB channel's handshake; `None`: more has to come first.
    fn opening_line(&mut self, out: &mut Vec<Action>) -> Result<Option<(RdbStep, String)>, String> {
        match &mut self.stage {
            Stage::Opening { rdb, step, .. } if *step != RdbStep::Connecting => {
                Ok(rdb.line(out)?.map(|line| (*step, line)))
            }
            _ => Ok(None),
        }
    }

    fn next_rdb_step(&mut self, next: RdbStep, context: &Context<'_>) {
        if let Stage::Opening { step, heard_seconds, .. } = &mut self.stage {
            *step = next;
            *heard_seconds = context.now_seconds();
        }
    }
}

impl PrimaryLink {
    /// The second connection is being made.
    pub(crate) fn rdb_channel_connecting(&mut self, token: Token, context: &Context<'_>) {
        let LinkState::Handshake { main, .. } = &mut self.state else { return };
        let (main, rdb) = (main.take(), Channel::rdb(token));
        let heard_seconds = context.now_seconds();
        let stage = Stage::Opening { rdb, step: RdbStep::Connecting, heard_seconds };
        self.kept_peak = 0;
        self.enter(LinkState::TwoChannels(Box::new(TwoChannels { main, stage })), context);
    }

    fn two_channels(&mut self) -> Option<&mut TwoChannels> {
        match &mut self.state {
            LinkState::TwoChannels(two) => Some(two),
            _ => None,
        }
    }

    /// Takes the next step with what has come on a connection; `false`: more has to come first.
    pub(super) fn two_channels_step(
        &mut self,
        token: Token,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<bool, String> {
        let Some(two) = self.two_channels() else { return Ok(false) };
        if token == two.main.token {
            return if two.is_buffering() {
                Ok(self.keep_stream(context, out))
            } else {
                self.main_channel_step(context, out)
            };
        }
        if let Some((step, line)) = two.opening_line(out)? {
            // A newline before the answer: the primary is alive.
            if !line.is_empty() {
                self.rdb_channel_line(step, &line, context, out)?;
            }
            return Ok(true);
        }
        let Stage::Split { place, snapshot, .. } = &mut two.stage else { return Ok(false) };
        let Snapshot::Coming { rdb, download, .. } = snapshot else { return Ok(false) };
        match download.take(rdb, place, context, out)? {
            Taken::Nothing => Ok(false),
            Taken::Some => Ok(true),
            Taken::All { marked } => {
                *snapshot = Snapshot::Loading { rdb: rdb.token, wants_ack: marked };
                Ok(true)
            }
        }
    }

    /// The primary has answered a step of the RDB channel's handshake.
    fn rdb_channel_line(
        &mut self,
        step: RdbStep,
        line: &str,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let is_error = line.starts_with('-');
        match step {
            RdbStep::ReceiveAuth if is_error => {
                let primary = context.config.flavour.primary_in_capitals();
                return Err(format!("Unable to AUTH to {primary}: {line}"));
            }
            RdbStep::ReceiveReplconf if is_error => {
                // The next attempt does without.
                self.no_dual_channel = true;
                return Err(format!(
                    "Server does not support sync with offset, dual channel sync approach cannot be used: {line}"
                ));
            }
            RdbStep::ReceiveEndOffset => return self.snapshot_is_announced(line, context, out),
            RdbStep::Connecting | RdbStep::ReceiveAuth | RdbStep::ReceiveReplconf => {}
        }
        let Some(two) = self.two_channels() else { return Ok(()) };
        if step == RdbStep::ReceiveAuth {
            two.next_rdb_step(RdbStep::ReceiveReplconf, context);
        } else if let Stage::Opening { rdb, .. } = &two.stage {
            out.push(Action::Send(rdb.request(&[b"SYNC"], "I/O error writing to MASTER")));
            two.next_rdb_step(RdbStep::ReceiveEndOffset, context);
        }
        Ok(())
    }

    /// The `$ENDOFF` line: the snapshot's place in the stream. The main channel can go on.
    fn snapshot_is_announced(
        &mut self,
        line: &str,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let end = end_offset(line)
            .ok_or_else(|| format!("Received unexpected $ENDOFF response: {line}"))?;
        let Some(two) = self.two_channels() else { return Ok(()) };
        let Stage::Opening { rdb, .. } = &mut two.stage else { return Ok(()) };
        let request: [&[u8]; 3] = [b"REPLCONF", b"set-rdb-client-id", end.client.as_bytes()];
        out.push(Action::Send(two.main.request(&request, "Failed to send to MASTER")));
        let snapshot = Snapshot::Coming {
            rdb: rdb.take(),
            download: Download::Awaited,
            heard_seconds: context.now_seconds(),
        };
        let main = MainStep::ReceiveRdbClientId;
        two.stage = Stage::Split { place: end.place, main, snapshot };
        self.stream_db = end.stream_db;
        self.attempt(context.now_seconds());
        Ok(())
    }

    /// The primary has answered on the main channel.
    fn main_channel_step(
        &mut self,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<bool, String> {
        let Some(two) = self.two_channels() else { return Ok(false) };
        let Some(line) = two.main.line(out)? else { return Ok(false) };
        if line.is_empty() {
            // A newline before the answer: the primary is alive.
            return Ok(true);
        }
        match &mut two.stage {
            Stage::Opening { .. } => {
                return Err("A line from MASTER in state AwaitRdbChannel".to_string());
            }
            Stage::Split { place, main: step @ MainStep::ReceiveRdbClientId, .. } => {
                if line.starts_with('-') {
                    return Err(format!("Primary does not understand REPLCONF identify: {line}"));
                }
                // The primary has joined the channels: the stream behind the snapshot can be asked for.
                let (id, offset) = (place.id(), (place.offset() + 1).to_string());
                out.push(Action::PauseAfterFork);
                out.push(Action::Log(
                    Level::Notice,
                    format!("Trying a partial resynchronization using main channel (request {id}:{offset})."),
                ));
                let request: [&[u8]; 3] = [b"PSYNC", id.as_bytes(), offset.as_bytes()];
                let request = two.main.request(&request, "Failed to send PSYNC to MASTER");
                out.push(Action::Send(request));
                *step = MainStep::ReceivePsync;
            }
            Stage::Split { main: step, snapshot, .. } => {
                if !line.starts_with("+CONTINUE") {
                    return Err(format!(
                        "Aborting dual channel sync. Main channel psync result: {line}"
                    ));
                }
                out.push(Action::Log(Level::Notice, "Primary <-> REPLICA sync: Primary accepted a Partial Resynchronization, RDB load in background.".to_string()));
                *step = MainStep::Buffering(Box::default());
                if let Snapshot::Loaded { wants_ack } = *snapshot {
                    let text = "Dual channel sync - psync established after rdb load";
                    out.push(Action::Log(Level::Debug, text.to_string()));
                    self.both_channels_done(wants_ack, context, out);
                    return Ok(true);
                }
            }
        }
        self.attempt(context.now_seconds());
        Ok(true)
    }

    /// The main channel has bytes of the stream while the snapshot is not there: they are kept, in memory as many as
    /// `client-output-buffer-limit` allows for a replica, more in a file. `false`: none can be taken.
    fn keep_stream(&mut self, context: &Context<'_>, out: &mut Vec<Action>) -> bool {
        let limit = context.config.client_output_buffer_limit[1].hard;
        let LinkState::TwoChannels(two) = &mut self.state else { return false };
        let Stage::Split { main: MainStep::Buffering(kept), .. } = &mut two.stage else {
            return false;
        };
        if two.main.input.is_empty() || kept.is_full() {
            return false;
        }
        let bytes = std::mem::take(&mut two.main.input);
        match kept.push(&bytes, limit, &context.config.dir) {
            Ok(Stored::File { begun: true }) => out.push(Action::Log(
                Level::Notice,
                "Replication buffer limit reached, the stream goes on in a file.".to_string(),
            )),
            Ok(_) => {}
            Err(error) => {
                let text = format!("The stream can't go on in a file: {error}");
                out.push(Action::Log(Level::Warning, text));
                out.push(Action::Log(
                    Level::Notice,
                    "Replication buffer limit reached, stopping buffering.".to_string(),
                ));
            }
        }
        self.kept_peak = kept.peak();
        true
    }

    /// The snapshot is loaded.
    pub(super) fn rdb_channel_loaded(&mut self, context: &Context<'_>) -> Vec<Action> {
        let Some(two) = self.two_channels() else { return Vec::new() };
        let is_buffering = two.is_buffering();
        let Stage::Split { snapshot, .. } = &mut two.stage else { return Vec::new() };
        let Snapshot::Loading { rdb, wants_ack } = *snapshot else { return Vec::new() };
        *snapshot = Snapshot::Loaded { wants_ack };
        let mut out = vec![Action::Close(rdb)];
        if is_buffering {
            self.both_channels_done(wants_ack, context, &mut out);
        }
        out
    }

    /// Snapshot and stream are there: the link works as any other, once what was kept has been executed.
    fn both_channels_done(
        &mut self,
        wants_ack: bool,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) {
        self.keep_stream(context, out);
        let LinkState::TwoChannels(two) = &mut self.state else { return };
        let Stage::Split { place, main: MainStep::Buffering(kept), .. } = &mut two.stage else {
            return;
        };
        let (token, place, kept) = (two.main.token, place.clone(), std::mem::take(kept.as_mut()));
        self.follow(token, Some(kept), context);
        let input = Vec::new();
        out.push(Action::Online(Online { token, place, input, wants_ack, replays: true }));
    }
}
