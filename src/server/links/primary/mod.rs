//! The link to the primary, as a machine: it is fed with bytes and the time, and answers with [`Action`]s. It knows no
//! socket and no server.
//!
//! * [`handshake`]: its steps. [`dual_channel`]: those of the second connection.
//! * [`download`]: the snapshot's way here. [`kept_stream`]: what comes behind it too early.
//!
//! Here: the states, each with what it needs and nothing else, and what all have in common.

mod download;
mod dual_channel;
mod handshake;
mod kept_stream;
#[cfg(test)]
mod tests;

use crate::resp::encode::encode_command;
use crate::server::client::Token;
use crate::server::config::Config;
use crate::server::links::history::NO_ID;
use crate::server::links::trace::{Resync, StepKind};
use crate::server::observe::log::Level;
pub(crate) use download::SnapshotFile;
use download::{Download, Taken};
use dual_channel::TwoChannels;
use handshake::Step;
use kept_stream::KeptStream;
use std::io;

/// The longest line that a primary may send during the handshake.
const MAX_LINE: usize = 1024;

/// What is logged when nothing has come for `repl-timeout`.
const STREAM_TIMEOUT: &str = "MASTER timeout: no data nor PING received...";
const BULK_TIMEOUT: &str = "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in the configuration file to a larger value.";

/// Bytes read from the link at once.
pub(crate) const CHUNK: usize = 64 * 1024;

/// What to resume with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedPrimary {
    pub id: String,
    pub offset: u64,
    pub stream_db: usize,
}

/// What the link decides by that is not its own.
pub(crate) struct Context<'a> {
    pub config: &'a Config,
    /// What there is to go on with.
    pub cached: Option<&'a CachedPrimary>,
    /// The link is to make the other side the primary.
    pub is_failing_over: bool,
    /// There is no data here.
    pub is_empty: bool,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Context<'_> {
    pub fn now_seconds(&self) -> i64 {
        self.now_ms / 1000
    }
}

/// What the link wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Log(Level, String),
    Trace(StepKind, String),
    TraceResync(Resync),
    Send(LinkRequest),
    /// The handing over has succeeded.
    FailoverDone,
    /// It has not: this server is the primary again, and the link no more.
    FailoverRefused,
    /// A second connection is to be made.
    OpenRdbChannel,
    /// That connection has served.
    Close(Token),
    /// Where a test wants to look at the process.
    PauseAfterFork,
    /// The snapshot, of so many bytes (0: it will be seen), goes into the keyspace as it comes: [`Action::Load`].
    BeginLoading {
        place: Place,
        total_bytes: u64,
    },
    Load(Vec<u8>),
    /// Those were all.
    FinishLoading,
    /// The snapshot is in this file, to be loaded in place of all that is here.
    LoadFile(SnapshotFile),
    /// The snapshot is loaded.
    Online(Online),
    /// The primary goes on where we stopped; `id` is its history's, if it is another by now.
    Resume {
        token: Token,
        id: Option<String>,
        input: Vec<u8>,
    },
    /// The link can't be; it is to be given up.
    Fail(String),
}

/// The link works from here on, behind a snapshot.
#[derive(Debug, PartialEq)]
pub(crate) struct Online {
    pub token: Token,
    pub place: Place,
    /// What came behind the snapshot.
    pub input: Vec<u8>,
    /// The primary holds the stream back until it hears that the snapshot is here.
    pub wants_ack: bool,
    /// What came behind the snapshot was kept, and is to be executed first.
    pub replays: bool,
}

/// Where in whose history a snapshot stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    At {
        id: String,
        offset: u64,
    },
    /// The primary speaks no `PSYNC`: it counts no offsets.
    Uncounted,
}

impl Place {
    pub fn id(&self) -> &str {
        match self {
            Place::At { id, .. } => id,
            Place::Uncounted => NO_ID,
        }
    }

    pub fn offset(&self) -> u64 {
        match self {
            Place::At { offset, .. } => *offset,
            Place::Uncounted => 0,
        }
    }
}

/// A command for the primary.
#[derive(Debug, PartialEq)]
pub(crate) struct LinkRequest {
    pub to: Token,
    pub bytes: Vec<u8>,
    /// For the trace.
    pub shown: String,
    /// What is logged before the reason if it can't be sent.
    pub failure: &'static str,
}

/// A connection to the primary.
#[derive(Debug)]
struct Channel {
    pub token: Token,
    /// What came and has not been understood.
    pub input: Vec<u8>,
    /// What the trace puts before a step of it.
    label: &'static str,
}

impl Channel {
    pub fn main(token: Token) -> Channel {
        Channel { token, input: Vec::new(), label: "" }
    }

    pub fn rdb(token: Token) -> Channel {
        Channel { token, input: Vec::new(), label: "(RDB channel) " }
    }

    /// The connection for the next state.
    pub fn take(&mut self) -> Channel {
        Channel { input: std::mem::take(&mut self.input), ..*self }
    }

    /// Takes the next line, without its end; `None`: it has not come yet.
    pub fn line(&mut self, out: &mut Vec<Action>) -> Result<Option<String>, String> {
        let Some(end) = memchr::memchr(b'\n', &self.input) else {
            if self.input.len() > MAX_LINE {
                return Err("Bad protocol from MASTER: a line without an end".to_string());
            }
            return Ok(None);
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        if !line.is_empty() {
            out.push(Action::Trace(StepKind::Received, format!("{}{line}", self.label)));
        }
        Ok(Some(line))
    }

    pub fn request(&self, args: &[&[u8]], failure: &'static str) -> LinkRequest {
        let mut bytes = Vec::new();
        encode_command(args, &mut bytes);
        let words: Vec<String> = match args {
            [b"AUTH", ..] => vec!["AUTH (redacted)".to_string()],
            _ => args.iter().map(|word| word.escape_ascii().to_string()).collect(),
        };
        let shown = format!("{}{}", self.label, words.join(" "));
        LinkRequest { to: self.token, bytes, shown, failure }
    }

    /// Logs in, if there is a password for it.
    pub fn auth(&self, config: &Config, failure: &'static str) -> Option<LinkRequest> {
        let password = config.masterauth.as_ref()?;
        Some(match &config.masteruser {
            Some(user) => self.request(&[b"AUTH", user, password], failure),
            None => self.request(&[b"AUTH", password], failure),
        })
    }
}

/// The primary that this server follows, and the link to it.
pub struct PrimaryLink {
    host: String,
    port: u16,
    /// Where `REPLTRACE` remembers this primary.
    trace: u64,
    state: LinkState,
    /// When the primary was last heard, and when the present state began, in seconds since 1970.
    heard_seconds: i64,
    since_seconds: i64,
    /// The database that the stream has selected, while no client stands for the primary.
    stream_db: usize,
    /// The most that was in memory of the kept stream, the last time that there was one, in bytes.
    kept_peak: usize,
    /// The primary offered a second connection, and did not understand it: it is not to offer it again.
    no_dual_channel: bool,
}

/// Where the link to the primary is.
#[derive(Debug)]
enum LinkState {
    /// To be connected.
    Down,
    Handshake {
        main: Channel,
        step: Step,
    },
    /// The snapshot comes.
    Transfer {
        main: Channel,
        place: Place,
        download: Download,
    },
    /// The snapshot is here, and being loaded; `main` may hold bytes behind it.
    Loading {
        main: Channel,
        place: Place,
        wants_ack: bool,
    },
    /// The snapshot comes over a second connection.
    TwoChannels(Box<TwoChannels>),
    Following(Following),
}

/// A link that works: a client executes what comes over it.
#[derive(Debug)]
pub(crate) struct Following {
    pub token: Token,
    /// When the primary was last told how far we are, in milliseconds since 1970.
    pub acknowledged_ms: i64,
    /// The stream made no sense: there is no going on from here.
    pub is_corrupt: bool,
    /// The bytes of a transaction whose end has not come: applied only with it, or not at all.
    pub transaction: Vec<u8>,
    /// What came before the snapshot was loaded, and has not been executed.
    kept: Option<KeptStream>,
}

/// What the end of a connection means for the link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It was not the link's.
    Stranger,
    /// The link was being made: it has been given up, and so are its other connections.
    Unfinished { others: Vec<Token> },
    /// The link worked; `corrupt`: it must not be resumed.
    Lost { corrupt: bool },
}

impl PrimaryLink {
    pub(crate) fn new(host: String, port: u16, trace: u64) -> PrimaryLink {
        PrimaryLink {
            host,
            port,
            trace,
            state: LinkState::Down,
            heard_seconds: 0,
            since_seconds: 0,
            stream_db: 0,
            kept_peak: 0,
            no_dual_channel: false,
        }
    }

    // What others may know of it.

    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where `REPLTRACE` remembers this primary.
    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.state, LinkState::Following(_))
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state, LinkState::Down)
    }

    /// As `ROLE` prints it.
    pub fn role_name(&self) -> &'static str {
        match &self.state {
            LinkState::Down => "connect",
            LinkState::Handshake { step: Step::Connecting, .. } => "connecting",
            LinkState::Handshake { .. } => "handshake",
            LinkState::Transfer { .. } | LinkState::Loading { .. } => "sync",
            LinkState::TwoChannels(two) if two.is_buffering() => "sync",
            LinkState::TwoChannels(_) => "handshake",
            LinkState::Following(_) => "connected",
        }
    }

    /// Whether a snapshot is coming or being loaded.
    pub(crate) fn is_syncing(&self) -> bool {
        match &self.state {
            LinkState::Transfer { .. } | LinkState::Loading { .. } => true,
            LinkState::TwoChannels(two) => two.is_syncing(),
            LinkState::Down | LinkState::Handshake { .. } | LinkState::Following(_) => false,
        }
    }

    /// Whether a snapshot has come and is being loaded.
    pub(crate) fn is_loading(&self) -> bool {
        match &self.state {
            LinkState::Loading { .. } => true,
            LinkState::TwoChannels(two) => two.is_loading(),
            _ => false,
        }
    }

    /// The link's client, once there is a connection.
    pub(crate) fn token(&self) -> Option<Token> {
        match &self.state {
            LinkState::Down => None,
            LinkState::Handshake { main, .. }
            | LinkState::Transfer { main, .. }
            | LinkState::Loading { main, .. } => Some(main.token),
            LinkState::TwoChannels(two) => Some(two.main.token),
            LinkState::Following(following) => Some(following.token),
        }
    }

    /// The database that the primary's stream has selected, as far as it is not its client's.
    pub(crate) fn stream_db(&self) -> usize {
        self.stream_db
    }

    /// When the primary was last heard, in seconds since 1970.
    pub(crate) fn heard_seconds(&self) -> i64 {
        self.heard_seconds
    }

    /// When the present state began, in seconds since 1970.
    pub(crate) fn since_seconds(&self) -> i64 {
        self.since_seconds
    }

    /// Bytes of the snapshot: all (0: it will be seen; -1: nothing is known yet), and those that have come.
    pub(crate) fn transfer_progress(&self) -> Option<(i64, u64)> {
        match &self.state {
            LinkState::Transfer { download, .. } => Some(download.progress()),
            LinkState::TwoChannels(two) => two.download().map(Download::progress),
            _ => None,
        }
    }

    /// The stream that came while the snapshot was on its way: bytes in memory, the most that ever were, and all with
    /// those in a file.
    pub(crate) fn kept_bytes(&self) -> (usize, usize, u64) {
        let kept = match &self.state {
            LinkState::TwoChannels(two) => two.kept(),
            LinkState::Following(following) => following.kept.as_ref(),
            _ => None,
        };
        (kept.map_or(0, KeptStream::in_memory), self.kept_peak, kept.map_or(0, KeptStream::total))
    }

    // What happens to it.

    /// A connection is going to be made.
    pub(crate) fn attempt(&mut self, now_seconds: i64) {
        (self.since_seconds, self.heard_seconds) = (now_seconds, now_seconds);
    }

    /// A connection is being made.
    pub(crate) fn connecting(&mut self, token: Token) {
        self.state = LinkState::Handshake { main: Channel::main(token), step: Step::Connecting };
    }

    fn enter(&mut self, state: LinkState, context: &Context<'_>) {
        self.state = state;
        self.attempt(context.now_seconds());
    }

    /// What is said first on a connection that is still being made; `None`: it is made already.
    pub(crate) fn greeting(&self, token: Token, context: &Context<'_>) -> Option<Vec<LinkRequest>> {
        match &self.state {
            LinkState::Handshake { main, step: Step::Connecting } if main.token == token => {
                Some(vec![main.request(&[b"PING"], "Error condition on socket for SYNC")])
            }
            LinkState::TwoChannels(two) => two.greeting(token, context.config),
            _ => None,
        }
    }

    /// That could be said: the connection is made.
    pub(crate) fn greeted(&mut self, token: Token, context: &Context<'_>) -> Vec<Action> {
        match &mut self.state {
            LinkState::Handshake { main, step } if main.token == token => {
                *step = Step::ReceivePing;
                self.attempt(context.now_seconds());
                let text = "Non blocking connect for SYNC fired the event.";
                vec![Action::Log(Level::Notice, text.to_string())]
            }
            LinkState::TwoChannels(two) => {
                two.greeted(context);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Whether what comes on a connection is to be read now.
    pub(crate) fn wants_input(&self, token: Token) -> bool {
        match &self.state {
            LinkState::Handshake { main, .. } | LinkState::Transfer { main, .. } => {
                main.token == token
            }
            LinkState::TwoChannels(two) => two.wants_input(token),
            LinkState::Down | LinkState::Loading { .. } | LinkState::Following(_) => false,
        }
    }

    /// Bytes have come on a connection; what follows from them [`PrimaryLink::step`] tells.
    pub(crate) fn receive(&mut self, token: Token, bytes: &[u8], context: &Context<'_>) {
        let now = context.now_seconds();
        match &mut self.state {
            LinkState::Handshake { main, .. } | LinkState::Transfer { main, .. } => {
                main.input.extend_from_slice(bytes);
            }
            LinkState::TwoChannels(two) => {
                if two.receive(token, bytes, now) {
                    return;
                }
            }
            LinkState::Down | LinkState::Loading { .. } | LinkState::Following(_) => return,
        }
        self.heard_seconds = now;
    }

    /// Takes the next step with what has come on a connection: what is to be done before the next one. `None`: more has
    /// to come first.
    pub(crate) fn step(&mut self, token: Token, context: &Context<'_>) -> Option<Vec<Action>> {
        let mut out = Vec::new();
        match self.try_step(token, context, &mut out) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(reason) => out.push(Action::Fail(reason)),
        }
        Some(out)
    }

    fn try_step(
        &mut self,
        token: Token,
        context: &Context<'_>,
        out: &mut Vec<Action>,
    ) -> Result<bool, String> {
        match &mut self.state {
            LinkState::Handshake { main, step } if main.token == token => {
                if *step == Step::Connecting {
                    return Ok(false);
                }
                let step = *step;
                let Some(line) = main.line(out)? else { return Ok(false) };
                // A newline before the answer: the primary is alive.
                if !line.is_empty() {
                    self.handshake_line(step, &line, context, out)?;
                }
                Ok(true)
            }
            LinkState::Transfer { main, place, download } if main.token == token => {
                match download.take(main, place, context, out)? {
                    Taken::Nothing => Ok(false),
                    Taken::Some => Ok(true),
                    Taken::All { marked } => {
                        let (main, place) = (main.take(), place.clone());
                        let loading = LinkState::Loading { main, place, wants_ack: marked };
                        self.enter(loading, context);
                        Ok(true)
                    }
                }
            }
            LinkState::TwoChannels(_) => self.two_channels_step(token, context, out),
            _ => Ok(false),
        }
    }

    /// The snapshot is loaded: the stream behind it comes over this link, or over the main channel.
    pub(crate) fn snapshot_loaded(&mut self, context: &Context<'_>) -> Vec<Action> {
        match &mut self.state {
            LinkState::Loading { main, place, wants_ack } => {
                let online = Online {
                    token: main.token,
                    place: place.clone(),
                    input: std::mem::take(&mut main.input),
                    wants_ack: *wants_ack,
                    replays: false,
                };
                self.follow(online.token, None, context);
                vec![Action::Online(online)]
            }
            LinkState::TwoChannels(_) => self.rdb_channel_loaded(context),
            _ => Vec::new(),
        }
    }

    /// The link works from now on.
    pub(crate) fn follow(&mut self, token: Token, kept: Option<KeptStream>, context: &Context<'_>) {
        let following = Following {
            token,
            acknowledged_ms: context.now_ms,
            is_corrupt: false,
            transaction: Vec::new(),
            kept,
        };
        self.enter(LinkState::Following(following), context);
    }

    /// The state that a snapshot's file carries is being loaded: the database of the stream.
    pub(crate) fn snapshot_selects(&mut self, db: usize) {
        self.stream_db = db;
    }

    /// Why the end of a connection ends the link.
    pub(crate) fn end_of_input(&self) -> String {
        let text = if self.is_syncing() {
            "I/O error trying to sync with MASTER: connection lost"
        } else {
            "MASTER closed the connection during the handshake: I/O error reading from node: connection closed"
        };
        text.to_string()
    }

    /// What is to be given up because nothing has been heard for too long, if it is; `heard`: when a request was last
    /// heard of that is not complete yet, in seconds since 1970.
    pub(crate) fn timeout(&self, heard: i64, context: &Context<'_>) -> Option<String> {
        let allowed = i64::from(context.config.repl_timeout);
        let now = context.now_seconds();
        let is_silent = now - self.heard_seconds.max(self.since_seconds).max(heard) > allowed;
        match &self.state {
            LinkState::Down | LinkState::Loading { .. } => None,
            LinkState::Handshake { .. } => is_silent.then(|| {
                let primary = context.config.flavour.primary_in_capitals();
                format!("Timeout connecting to the {primary}...")
            }),
            LinkState::Transfer { .. } => is_silent.then(|| BULK_TIMEOUT.to_string()),
            LinkState::TwoChannels(two) => two.timeout(is_silent, context),
            LinkState::Following(_) => is_silent.then(|| STREAM_TIMEOUT.to_string()),
        }
    }

    /// Whom a newline tells that we are alive and busy loading.
    pub(crate) fn waits_for_us(&self) -> Option<Token> {
        match &self.state {
            LinkState::Loading { main, .. } => Some(main.token),
            LinkState::TwoChannels(two) if two.is_loading() || two.is_buffering() => {
                Some(two.main.token)
            }
            _ => None,
        }
    }

    /// The clients of its connections.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        match &self.state {
            LinkState::TwoChannels(two) => two.tokens(),
            _ => self.token().into_iter().collect(),
        }
    }

    /// Gives up whatever is going on short of a working link: the connections to be closed.
    pub(crate) fn cancel(&mut self) -> Vec<Token> {
        if self.is_connected() {
            return Vec::new();
        }
        let tokens = self.tokens();
        self.state = LinkState::Down;
        tokens
    }

    /// A connection is over; the client that stood for the primary had selected `db`.
    pub(crate) fn closed(&mut self, token: Token, db: usize) -> Closed {
        if let LinkState::Following(Following { token: ours, is_corrupt, .. }) = self.state {
            if ours != token {
                return Closed::Stranger;
            }
            self.state = LinkState::Down;
            self.stream_db = db;
            return Closed::Lost { corrupt: is_corrupt };
        }
        if !self.tokens().contains(&token) {
            return Closed::Stranger;
        }
        let mut others = self.cancel();
        others.retain(|other| *other != token);
        Closed::Unfinished { others }
    }

    // The working link.

    pub(crate) fn following(&mut self) -> Option<&mut Following> {
        match &mut self.state {
            LinkState::Following(following) => Some(following),
            _ => None,
        }
    }

    /// A request of the stream is applied, of so many bytes: `None`, if these are in the midst of a transaction; else
    /// those of the transaction before them.
    pub(crate) fn applied(
        &mut self,
        bytes: &[u8],
        in_transaction: bool,
        now_seconds: i64,
    ) -> Option<Vec<u8>> {
        self.heard_seconds = now_seconds;
        let Some(following) = self.following() else { return Some(Vec::new()) };
        if in_transaction {
            following.transaction.extend_from_slice(bytes);
            return None;
        }
        Some(std::mem::take(&mut following.transaction))
    }

    /// Takes the next bytes of the stream that was kept; `None`: there are no more.
    ///
    /// # Errors
    /// Of reading the file that they may be in.
    pub(crate) fn next_kept(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(following) = self.following() else { return Ok(None) };
        let piece = following.kept.as_mut().map_or(Ok(None), KeptStream::pop)?;
        if piece.is_none() {
            following.kept = None;
        }
        Ok(piece)
    }
}
