//! Clients come, are read from, answered, and go: `networking.c`'s part.
//!
//! A readable client's bytes go into ONE query buffer that all clients share. Requests are parsed a batch ahead; the
//! buckets and then the entries of their keys are prefetched, so that the cache misses of a batch overlap; then they
//! execute in order. Only what is left over (half a request) moves into a buffer of the
//! client's own. Replies gather in one shared [`Reply`](crate::resp::reply::Reply) and leave through [`super::output`].

use super::Server;
use super::call::Call;
use super::client::{Client, ClientFlags, Token};
use super::connection::Connection;
use super::gates::Gates;
use super::openings::{HEADERS_LEN, Opening, Openings};
use super::output::{REPLY_FLUSH, TurnOutput};
use crate::db::ExpiryRole;
use crate::db::key_table::KeyTable;
use crate::db::keyspace::{HashHint, Keyspace};
use crate::db::lent::{LARGE_ARGUMENT, fills};
use crate::resp::error::CommandError;
use crate::resp::parser::{
    Parsed, ParserLimits, Partial, ProtocolError, Span, parse_request, parse_rest,
};
use crate::resp::reply::Reply;
use crate::server::blocking;
use crate::server::busy;
use crate::server::client_info;
use crate::server::dispatch;
use crate::server::dispatch::Verdict;
use crate::server::expiry;
use crate::server::memory::client_eviction;
use crate::server::monitoring;
use crate::server::observe::log::Level;
use crate::server::output;
use crate::server::replication::primary;
use crate::server::replication::primary::feed;
use crate::server::replication::replica;
use crate::server::replication::replica::follow;
use crate::server::replication::trace;
use crate::server::subscribe;
use crate::server::table::{CommandId, CommandTable};
use crate::server::tls::identity;
use crate::server::tracking;
use crate::server::transaction;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// The shared query buffer's size: one read takes at most so much.
const QUERY_BUFFER: usize = 64 * 1024;
/// Requests parsed, hashed and prefetched ahead. More would evict each other from the first-level cache.
const BATCH: usize = 16;
/// Places of arguments for which room is kept.
const SPANS_KEPT: usize = 16 * 1024;
/// Reads in a row from one client before others have their turn.
const READS_PER_EVENT: usize = 16;
/// A client whose turn has cost more than this, in nanoseconds, lets others have theirs.
const CLIENT_TURN_NS: u64 = 2_000_000;
/// Bytes of one read that goes on with half a request.
const READ_ON: usize = 16 * 1024;
/// As much of an announced argument is allocated before it has come.
const BULK_AHEAD: usize = 32 * 1024 * 1024;
/// What a client that has not authenticated may leave unfinished.
const UNAUTHENTICATED_QUERY: usize = 1024 * 1024;

/// A client with one of these is not an ordinary one.
const UNUSUAL: ClientFlags = ClientFlags::SLAVE
    .union(ClientFlags::MASTER)
    .union(ClientFlags::MONITOR)
    .union(ClientFlags::REPLY_OFF)
    .union(ClientFlags::REPLY_SKIP)
    .union(ClientFlags::REPLY_SKIP_NEXT)
    .union(ClientFlags::MULTI)
    .union(ClientFlags::PUBSUB)
    .union(ClientFlags::TRACKING)
    .union(ClientFlags::REDIRECT)
    .union(ClientFlags::ASKING)
    .union(ClientFlags::MOVES_SLOTS)
    .union(ClientFlags::RESTRICTED);

/// A parsed request of a batch.
#[derive(Debug)]
pub struct Request {
    command: Option<CommandId>,
    /// Its arguments are `spans[first..first + count]`; none: it is the next of `inline`.
    first: usize,
    count: usize,
    /// Where the next request starts.
    end: usize,
    hint: HashHint,
}

/// What one client's turn uses after the other: buffers that are kept for their capacity, and what the turn has cost
/// and written.
#[derive(Debug)]
pub(crate) struct Buffers {
    reply: Reply,
    query: Vec<u8>,
    /// Taken while requests are parsed and executed; boxed, so that this is the move of a pointer.
    batch: Option<Box<Batch>>,
    output: TurnOutput,
    /// What the current client's turn has cost, in nanoseconds or so.
    turn_cost_ns: u64,
    /// Bytes of the largest reply to a client whose output has no limit.
    largest_reply: usize,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers {
            reply: Reply::default(),
            query: Vec::new(),
            batch: None,
            output: TurnOutput::new(),
            turn_cost_ns: 0,
            largest_reply: output::largest_reply(),
        }
    }

    /// What the current client's turn costs is so much more.
    #[inline]
    pub(super) fn add_turn_cost(&mut self, ns: u64) {
        self.turn_cost_ns += ns;
    }

    /// Bytes of the largest reply to a client whose output has no limit.
    pub(crate) fn largest_reply(&self) -> usize {
        self.largest_reply
    }

    /// What this turn's clients will be written.
    pub(super) fn output(&self) -> &TurnOutput {
        &self.output
    }

    pub(super) fn output_mut(&mut self) -> &mut TurnOutput {
        &mut self.output
    }
}

/// Buffers of parsing, kept for their capacity.
#[derive(Debug, Default)]
pub struct Batch {
    requests: Vec<Request>,
    spans: Vec<Span>,
    /// The arguments of requests that don't lie in the buffer as they are.
    inline: VecDeque<Vec<Vec<u8>>>,
    /// The first request, if arguments of it don't lie in the buffer.
    scattered: Option<Box<Partial>>,
    openings: Openings,
}

impl Batch {
    /// An argument of a request, none for 0.
    #[inline]
    fn argument(&self, request: &Request, at: usize) -> Option<Span> {
        self.spans[request.first..][..request.count].get(at).filter(|_| at > 0).copied()
    }

    /// Adds a request whose arguments are elsewhere.
    fn push_elsewhere(&mut self, command: Option<CommandId>, end: usize) {
        let (first, hint) = (self.spans.len(), HashHint::default());
        self.requests.push(Request { command, first, count: 0, end, hint });
    }

    /// Adds the request that begins the buffer, and of which arguments lie apart.
    fn push_scattered(
        &mut self,
        commands: &CommandTable,
        request: Option<Box<Partial>>,
        buf: &[u8],
        end: usize,
    ) {
        let command = request.as_ref().and_then(|r| commands.find(r.arguments(buf)[0]));
        self.scattered = request;
        self.push_elsewhere(command, end);
    }
}

/// A replica that loads its snapshot sends empty lines to say that it is alive.
fn hear_of_replica(client: &mut Client, now_ms: i64) {
    if let Some(link) = client.replstate.as_deref_mut() {
        link.heard(now_ms / 1000);
    }
}

/// Takes large arguments of half a request out of its buffer into buffers of their own, in which they may be kept.
fn set_large_arguments_apart(client: &mut Client, query: &mut Vec<u8>) {
    if client.is(ClientFlags::MASTER) {
        // Its stream goes on to others as it came.
        return;
    }
    let Some(request) = &mut client.partial else { return };
    while let Some(span) = request.next_large(LARGE_ARGUMENT) {
        let argument = if fills(span.end - span.start, query.len()) {
            let rest = [&query[..span.start], &query[span.end..]].concat();
            let mut whole = std::mem::replace(query, rest);
            whole.shrink_to_fit();
            Bytes::from(whole).slice(span.start..span.end)
        } else {
            let argument = Bytes::copy_from_slice(span.of(query));
            query.drain(span.start..span.end);
            argument
        };
        request.set_apart(argument);
    }
}

/// The request at `start`, if it begins like an earlier one, and the rest of it is as short and complete as most are.
#[inline(always)]
fn parse_behind(
    ks: &Keyspace,
    table: &KeyTable,
    buf: &[u8],
    start: usize,
    batch: &mut Batch,
) -> Option<Request> {
    let Opening { command, name_len, count, first_key } = batch.openings.find(buf, start)?;
    let (first, name) = (batch.spans.len(), start + HEADERS_LEN);
    let name = Span { start: name, end: name + name_len };
    let end = parse_rest(buf, name, count - 1, &mut batch.spans)?;
    let hint = hint_for(ks, table, buf, &batch.spans[first..], first_key);
    Some(Request { command: Some(command), first, count, end, hint })
}

/// The command that a request at `start` asks for, whose arguments are the last of the batch, from `first` on; and the
/// position of its first key, or 0. How the request begins is remembered.
#[inline]
fn look_up(
    commands: &CommandTable,
    buf: &[u8],
    start: usize,
    first: usize,
    batch: &mut Batch,
) -> (Option<CommandId>, usize) {
    let (name, count) = (batch.spans[first], batch.spans.len() - first);
    let Some(command) = commands.find(name.of(buf)) else { return (None, 0) };
    let first_key = commands.get(command).first_key;
    let opening = Opening { command, name_len: name.end - name.start, count, first_key };
    batch.openings.remember(buf, start, name.start, opening);
    (Some(command), first_key)
}

/// The hash of a request's first key, of which the table begins to fetch the bucket.
#[inline]
fn hint_for(
    ks: &Keyspace,
    table: &KeyTable,
    buf: &[u8],
    spans: &[Span],
    first_key: usize,
) -> HashHint {
    match spans.get(first_key) {
        Some(span) if first_key > 0 => {
            let hint = ks.hint_for(span.of(buf));
            table.prefetch(hint.hash);
            hint
        }
        _ => HashHint::default(),
    }
}

/// Where a batch begins with a command that looks for something in a collection, begins to fetch what all its requests
/// look for there: a pipeline often works on one large collection.
#[inline]
fn prefetch_elements(commands: &CommandTable, table: &KeyTable, buf: &[u8], batch: &Batch) {
    let [first, ..] = &batch.requests[..] else { return };
    let Some(command) = first.command.map(|id| commands.get(id)).filter(|c| c.element > 0) else {
        return;
    };
    let Some(key) = batch.argument(first, command.first_key) else { return };
    let Some(entry) = table.get(first.hint.hash, key.of(buf)) else { return };
    let elements = batch.requests.iter().filter(|request| request.hint.hash == first.hint.hash);
    let elements = elements.filter_map(|request| {
        let element = request.command.map_or(0, |id| commands.get(id).element);
        batch.argument(request, element).map(|span| span.of(buf))
    });
    entry.value().prefetch(elements);
}

/// Why reading or processing stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// All complete requests are done.
    Drained,
    /// The client waits for something, or is to be closed.
    Held,
    /// It has had its turn; others have theirs before it goes on.
    Yielded,
}

impl Server {
    /// A connection was accepted: checks whether it may stay, and makes it a client.
    pub fn accept_common_handler(&mut self, mut conn: Connection) -> Option<Token> {
        let ordinary = self.clients.count() - usize::from(self.repl.primary_token().is_some());
        if ordinary >= self.config.maxclients as usize {
            let _ = conn.write(b"-ERR max number of clients reached\r\n");
            self.observer.count_rejected_connection();
            return None;
        }
        if self.refuses_foreign(&conn) {
            let _ = conn.write(PROTECTED_MODE);
            self.observer.count_rejected_connection();
            return None;
        }
        let peer = conn.peer(&self.unix_path());
        let token = match self.create_client(conn) {
            Ok(token) => token,
            Err(error) => {
                self.log(
                    Level::Warning,
                    &format!("Error registering fd event for the new client: {error}"),
                );
                return None;
            }
        };
        identity::expect_certificate(self, token);
        self.observer.count_connection();
        self.log(Level::Verbose, &format!("Accepted {peer}"));
        Some(token)
    }

    /// Whether protected mode keeps it out.
    pub(super) fn refuses_foreign(&self, conn: &Connection) -> bool {
        self.config.protected_mode
            && self.acl.default_has_no_password()
            && conn.peer_ip().is_some_and(|ip| !ip.is_loopback())
    }

    /// Makes a connection a client: registered with the loop, in the slab, with an id of its own.
    pub fn create_client(&mut self, mut conn: Connection) -> io::Result<Token> {
        // A connection that can't be configured is about to fail anyway, and tells so when it is read.
        let _ = conn.set_options(true, self.config.tcp_keepalive);
        let token = self.clients.next_token();
        if let Connection::Virtual(stream) = &mut conn {
            stream.attach(token);
        }
        self.net.register(&mut conn, super::client_token(token))?;
        let now = self.now_seconds();
        let mut client = self.clients.new_client(conn, now);
        if matches!(client.conn, Connection::Unix(_)) {
            client.flags |= ClientFlags::UNIX_SOCKET;
        }
        self.acl.assign_default(&mut client);
        let token = self.clients.insert(client);
        self.memory.count_client(&self.clients, token, 0);
        Ok(token)
    }

    /// The client's socket is readable: reads, executes and answers what came.
    pub fn read_query_from_client(&mut self, token: Token, peer_closed: bool) {
        self.buffers.turn_cost_ns = 0;
        let mut first_read_ns = None;
        for turn in 0.. {
            let Some(client) = self.clients.get(token) else { return };
            // What it has sent before comes first, and may be all that is taken from it in this turn.
            if client.is_any(
                ClientFlags::CLOSE_ASAP
                    | ClientFlags::CLOSE_AFTER_REPLY
                    | ClientFlags::REPLAYING
                    | ClientFlags::PENDING_INPUT,
            ) {
                return;
            }
            let is_over = |since| self.ks.clock.nanos() - since > CLIENT_TURN_NS;
            if turn == READS_PER_EVENT
                || self.buffers.turn_cost_ns > CLIENT_TURN_NS
                || first_read_ns.is_some_and(is_over)
            {
                self.clients.queue_input(token);
                return;
            }
            if client.is(ClientFlags::BLOCKED) && !client.query.is_empty() && !peer_closed {
                // What it sends while it waits stays in the socket: read again when it is unblocked.
                return;
            }
            let outcome = self.read_once(token);
            self.memory.count_client(&self.clients, token, 0);
            match outcome {
                // A short read has emptied the socket; the next arrival is a new event. If the peer has closed,
                // no further event will say so: read until the end shows.
                Ok(full) if !full && !peer_closed && !self.has_ended(token) => return,
                Ok(_) => {
                    first_read_ns.get_or_insert_with(|| self.ks.clock.nanos());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.clients.get(token).is_some_and(|c| c.is(ClientFlags::UNIDENTIFIED)) {
                        identity::identify(self, token);
                    }
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.peer_is_gone(token, &error);
                    return;
                }
            }
        }
    }

    fn has_ended(&self, token: Token) -> bool {
        self.clients.get(token).is_some_and(|client| client.conn.has_ended())
    }

    fn peer_is_gone(&mut self, token: Token, error: &io::Error) {
        trace::trace_end(
            self,
            token,
            &match error.kind() {
                ErrorKind::UnexpectedEof => "the other side has closed the connection".to_string(),
                _ => format!("reading failed: {error}"),
            },
        );
        let conn = &self.clients[token].conn;
        if conn.is_handshaking() {
            let (peer, local) = (conn.peer(""), conn.local(""));
            self.warning(&format!(
                "Error accepting a client connection: {error} (addr={peer} laddr={local})"
            ));
        } else if error.kind() == ErrorKind::UnexpectedEof {
            if self.clients[token].is_any(ClientFlags::MASTER | ClientFlags::SLAVE) {
                self.log(Level::Verbose, "Client closed connection");
            }
        } else {
            self.log(Level::Verbose, &format!("Reading from client: {error}"));
        }
        self.free_client(token);
    }

    /// One read and the processing of what it brought; answers whether there may be more to read.
    fn read_once(&mut self, token: Token) -> io::Result<bool> {
        let client = &mut self.clients[token];
        if client.query.is_empty() {
            let mut buf = std::mem::take(&mut self.buffers.query);
            if buf.is_empty() {
                buf = vec![0; QUERY_BUFFER];
            }
            let outcome = client.conn.read(&mut buf);
            if let Ok(n) = outcome
                && n > 0
            {
                self.note_read(token, n);
                let used = self.process_input_buffer(token, &buf[..n]);
                if used < n
                    && let Some(client) = self.clients.get_mut(token)
                {
                    let missing =
                        client.partial.as_ref().map_or(0, |p| p.bulk_bytes_missing(n - used));
                    let ahead = if missing < LARGE_ARGUMENT { 0 } else { missing.min(BULK_AHEAD) };
                    client.query.reserve_exact(n - used + ahead);
                    client.query.extend_from_slice(&buf[used..n]);
                }
            }
            let full = matches!(outcome, Ok(n) if n == buf.len());
            self.buffers.query = buf;
            return finish_read(outcome, full);
        }
        let mut query = std::mem::take(&mut client.query);
        let have = query.len();
        let missing = client.partial.as_ref().map_or(0, |p| p.bulk_bytes_missing(have));
        let room = if missing > 0 && have >= LARGE_ARGUMENT {
            // A large argument's buffer has room for just that argument: to read more would be to copy it all. A lying
            // length must not allocate what never comes: beyond a bound the buffer grows with what has come.
            missing.min(have.max(BULK_AHEAD))
        } else {
            // A request of many arguments: the buffer doubles, so that growing moves each byte a few times at most.
            let room = missing.clamp(READ_ON, BULK_AHEAD);
            query.reserve(room);
            room
        };
        let outcome = client.conn.read_append(&mut query, room);
        if let Ok(n) = outcome
            && n > 0
        {
            self.note_read(token, n);
            if self.exceeds_query_limit(token, query.len()) {
                return Ok(false);
            }
            // What it would execute next may not fit any more.
            self.memory.count_client(&self.clients, token, query.capacity());
            client_eviction::evict_clients(self);
            if !self.clients.contains(token) {
                return Ok(false);
            }
            if n >= missing {
                query = self.process_own_buffer(token, query);
            }
        }
        if let Some(client) = self.clients.get_mut(token)
            && !query.is_empty()
        {
            set_large_arguments_apart(client, &mut query);
            client.query = query;
        }
        let full = matches!(outcome, Ok(n) if n == room);
        finish_read(outcome, full)
    }

    fn note_read(&mut self, token: Token, n: usize) {
        let now = self.now_seconds();
        let client = &mut self.clients[token];
        client.last_interaction_seconds = now;
        client.net_in += n as u64;
        let from_primary = client.is(ClientFlags::MASTER);
        if from_primary {
            client.read_offset += n as u64;
        }
        if client.is(ClientFlags::UNIDENTIFIED) {
            identity::identify(self, token);
        }
        self.observer.count_read(n, from_primary);
    }

    /// Closes a client whose query, now so many bytes, is too long; answers whether it was. What is queued in a
    /// transaction is a part of it, and so are the places of arguments, which may take more than their bytes do.
    pub fn exceeds_query_limit(&mut self, token: Token, len: usize) -> bool {
        let client = &self.clients[token];
        let len = len
            + client.transaction.as_ref().map_or(0, |t| t.queued_bytes())
            + client.partial.as_ref().map_or(0, |p| p.memory());
        let limit = if self.acl.needs_auth(client) {
            UNAUTHENTICATED_QUERY
        } else {
            self.config.client_query_buffer_limit as usize
        };
        if len <= limit || client.is(ClientFlags::MASTER) {
            return false;
        }
        let text = format!(
            "Closing client that reached max query buffer length: {}",
            client_info::client_info(self, token)
        );
        self.log(Level::Warning, &text);
        self.observer.count_query_limit_disconnection();
        self.free_client(token);
        true
    }

    /// Executes the complete requests at the start of a client's own buffer; answers what is left of it.
    fn process_own_buffer(&mut self, token: Token, mut query: Vec<u8>) -> Vec<u8> {
        let longest = self.clients[token].partial.as_ref().map_or(0, |p| p.longest());
        if !fills(longest, query.len()) {
            let used = self.process_input_buffer(token, &query);
            query.drain(..used);
            return query;
        }
        // What is kept of it must not keep memory for more.
        query.shrink_to_fit();
        let mut query = Bytes::from(query);
        self.ks.lent.lend(Some(query.clone()));
        let used = self.process_input_buffer(token, &query);
        self.ks.lent.lend(None);
        query.advance(used);
        // Without a copy unless a part is kept, behind which there is little.
        Vec::from(query)
    }

    /// Executes the complete requests at the start of `buf`; answers how many bytes they were.
    ///
    /// The replies are written, or wait in the client's output.
    pub fn process_input_buffer(&mut self, token: Token, buf: &[u8]) -> usize {
        let mut call = self.enter_client(token);
        call.largest_request = buf.len();
        let mut batch = self.buffers.batch.take().unwrap_or_default();
        let mut used = 0;
        let stop = loop {
            client_eviction::evict_clients(self);
            if !self.may_process(token) {
                break Stop::Held;
            }
            let (next, error) = self.parse_batch(token, buf, used, &mut batch);
            let (done, stop) = self.execute_batch(&mut call, buf, used, &mut batch);
            used = done;
            if stop != Stop::Drained {
                break stop;
            }
            if let Some(error) = error {
                self.protocol_error(&mut call, &error, &buf[used..]);
                used = buf.len();
                break Stop::Held;
            }
            if next > used && self.clients[token].is(ClientFlags::MASTER) {
                // Empty lines behind the last request are a part of the stream too.
                follow::primary_stream_applied(self, token, &buf[used..next]);
            }
            used = next;
            if batch.requests.len() < BATCH {
                // The parser stopped for want of bytes.
                break Stop::Drained;
            }
        };
        if batch.spans.capacity() > SPANS_KEPT {
            batch.spans = Vec::new();
        }
        if stop != Stop::Drained
            && let Some(client) = self.clients.get_mut(token)
        {
            // What was parsed ahead is parsed again when the client goes on, but for what does not lie in the buffer.
            let scattered = batch.scattered.take().or(client.partial.take());
            client.partial = scattered.filter(|request| request.is_scattered());
            if stop == Stop::Yielded {
                self.clients.queue_input(token);
            }
        }
        batch.scattered = None;
        self.buffers.batch = Some(batch);
        self.leave_client(call);
        used
    }

    fn may_process(&self, token: Token) -> bool {
        let blocking =
            ClientFlags::BLOCKED | ClientFlags::CLOSE_ASAP | ClientFlags::CLOSE_AFTER_REPLY;
        self.clients.get(token).is_some_and(|c| !c.is_any(blocking))
    }

    /// Parses up to a batch of requests from `start` on, and starts to fetch what they will touch.
    /// Answers where parsing stopped, and what was wrong there.
    #[inline]
    fn parse_batch(
        &mut self,
        token: Token,
        buf: &[u8],
        start: usize,
        batch: &mut Batch,
    ) -> (usize, Option<ProtocolError>) {
        batch.requests.clear();
        batch.spans.clear();
        batch.inline.clear();
        let client = &mut self.clients[token];
        let limits = ParserLimits {
            max_bulk: i64::try_from(self.config.proto_max_bulk_len).unwrap_or(i64::MAX),
            authenticated: !self.acl.needs_auth(client),
        };
        let table = &self.ks.dbs[client.db].table;
        let mut at = start;
        let mut error = None;
        while batch.requests.len() < BATCH {
            let first = batch.spans.len();
            if client.partial.is_none()
                && let Some(request) = parse_behind(&self.ks, table, buf, at, batch)
            {
                at = request.end;
                batch.requests.push(request);
                continue;
            }
            match parse_request(buf, at, &mut client.partial, &mut batch.spans, limits) {
                Ok(Parsed::Request { end }) => {
                    let (command, first_key) = look_up(&self.commands, buf, at, first, batch);
                    let spans = &batch.spans[first..];
                    let (count, hint) =
                        (spans.len(), hint_for(&self.ks, table, buf, spans, first_key));
                    batch.requests.push(Request { command, first, count, end, hint });
                    at = end;
                }
                Ok(Parsed::Scattered { end }) => {
                    batch.push_scattered(&self.commands, client.partial.take(), buf, end);
                    at = end;
                }
                Ok(Parsed::Inline { .. }) if client.is(ClientFlags::MASTER) => {
                    error = Some(ProtocolError("inline protocol from the primary".to_string()));
                    break;
                }
                Ok(Parsed::Inline { end, args }) => {
                    let command = self.commands.find(&args[0]);
                    batch.inline.push_back(args);
                    batch.push_elsewhere(command, end);
                    at = end;
                }
                Ok(Parsed::Empty { end }) => {
                    hear_of_replica(client, self.ks.now_ms);
                    at = end;
                }
                Ok(Parsed::Incomplete) => break,
                Err(violation) => {
                    error = Some(violation);
                    break;
                }
            }
        }
        if batch.requests.len() > 1 {
            let hints = batch.requests.iter().map(|request| request.hint);
            table.prefetch_entries(hints.filter(HashHint::is_some).map(|hint| hint.hash));
            prefetch_elements(&self.commands, table, buf, batch);
        }
        (at, error)
    }

    /// Executes a batch in order; answers where the first request that was not executed starts.
    #[inline]
    fn execute_batch(
        &mut self,
        call: &mut Call,
        buf: &[u8],
        start: usize,
        batch: &mut Batch,
    ) -> (usize, Stop) {
        let token = call.client;
        let mut used = start;
        let mut stop = Stop::Drained;
        call.ended_ns = None;
        for request in &batch.requests {
            self.ks.set_hint(request.hint);
            let spans = &batch.spans[request.first..request.first + request.count];
            let (inline, scattered) = (&mut batch.inline, &mut batch.scattered);
            let verdict = self.execute_request(call, request, spans, buf, inline, scattered);
            if verdict == Verdict::TryAgain {
                stop = Stop::Held;
                break;
            }
            // After a command of the ordinary kind the client is still what it was.
            if verdict == Verdict::Done || self.clients.has_closing() {
                call.ended_ns = None;
                if self.clients.get(token).is_some_and(|c| c.is(ClientFlags::MASTER)) {
                    follow::primary_stream_applied(self, token, &buf[used..request.end]);
                }
                if !self.may_process(token) {
                    (used, stop) = (request.end, Stop::Held);
                    break;
                }
                let is_more = |id| self.commands.get(id).gates.contains(Gates::COMMAND);
                if request.command.is_none_or(is_more) {
                    call.gates = self.gates_for(token);
                }
            }
            used = request.end;
            if call.reply.len() >= REPLY_FLUSH {
                output::flush_reply(self, call);
                call.ended_ns = None;
                if !self.may_process(token) {
                    stop = Stop::Held;
                    break;
                }
            }
            if self.buffers.turn_cost_ns > CLIENT_TURN_NS && used < buf.len() {
                stop = Stop::Yielded;
                break;
            }
        }
        // The buffer's memory may hold other keys soon.
        self.ks.set_hint(HashHint::default());
        (used, stop)
    }

    #[inline(always)]
    fn execute_request(
        &mut self,
        call: &mut Call,
        request: &Request,
        spans: &[Span],
        buf: &[u8],
        inline: &mut VecDeque<Vec<Vec<u8>>>,
        scattered: &mut Option<Box<Partial>>,
    ) -> Verdict {
        if spans.is_empty() && scattered.is_some() {
            return self.execute_scattered(call, request.command, buf, scattered);
        }
        if spans.is_empty() {
            let Some(args) = inline.pop_front() else { return Verdict::Done };
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            call.is_inline = true;
            let verdict = dispatch::process_command(self, call, request.command, &args);
            call.is_inline = false;
            return verdict;
        }
        let mut few: [&[u8]; 8] = [&[]; 8];
        let Some(args) = few.get_mut(..spans.len()) else {
            let args: Vec<&[u8]> = spans.iter().map(|s| s.of(buf)).collect();
            return dispatch::process_command(self, call, request.command, &args);
        };
        for (arg, span) in args.iter_mut().zip(spans) {
            *arg = span.of(buf);
        }
        dispatch::process_command(self, call, request.command, args)
    }

    /// Executes the request at the start of `buf`, of which arguments lie apart; takes it, unless it has to wait.
    #[cold]
    fn execute_scattered(
        &mut self,
        call: &mut Call,
        command: Option<CommandId>,
        buf: &[u8],
        scattered: &mut Option<Box<Partial>>,
    ) -> Verdict {
        let Some(request) = scattered.take() else { return Verdict::Done };
        self.ks.lent.lend_apart(request.apart());
        call.largest_request = buf.len() + request.memory();
        let verdict = dispatch::process_command(self, call, command, &request.arguments(buf));
        self.ks.lent.lend_apart(std::iter::empty());
        if verdict == Verdict::TryAgain {
            *scattered = Some(request);
        }
        verdict
    }

    fn protocol_error(&mut self, call: &mut Call, error: &ProtocolError, rest: &[u8]) {
        let shown: String =
            rest.iter().take(128).flat_map(|b| b.escape_ascii()).map(char::from).collect();
        let token = call.client;
        let info = client_info::client_info(self, token);
        let text =
            format!("Protocol error ({}) from client: {info}. Query buffer: '{shown}'", error.0);
        self.log(Level::Verbose, &text);
        call.reply_error(
            &mut self.observer,
            &CommandError::err_with(format!("Protocol error: {}", error.0)),
        );
        let client = &mut self.clients[token];
        client.partial = None;
        if client.is(ClientFlags::MASTER) {
            follow::primary_stream_is_corrupt(self);
            self.clients.close_later(token);
        } else {
            client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        }
    }

    /// A client's turn begins.
    fn enter_client(&mut self, token: Token) -> Call {
        debug_assert!(self.clients.in_turn().is_none() && self.buffers.reply.is_empty());
        if self.observer.monitors.has_lines() && self.clients[token].is(ClientFlags::MONITOR) {
            // What it saw before comes before its replies.
            monitoring::flush_monitors(self);
        }
        self.clients.begin_turn(token);
        let client = &self.clients[token];
        self.ks.no_touch = client.is(ClientFlags::NO_TOUCH);
        if client
            .is_any(ClientFlags::MASTER | ClientFlags::IMPORT_SOURCE | ClientFlags::MOVES_SLOTS)
        {
            expiry::restore_role(self);
        }
        let client = &self.clients[token];
        let mut reply = std::mem::take(&mut self.buffers.reply);
        reply.begin_output(client.protocol, output::output_room(self, client));
        Call::of_client(token, client.db, reply, self.gates_for(token))
    }

    /// The gates that are closed for requests of this client.
    pub fn gates_for(&self, token: Token) -> Gates {
        let Some(client) = self.clients.get(token) else { return Gates::all() };
        let is_replica = self.repl.is_replica();
        let mut gates = Gates::COMMAND;
        gates.set(Gates::CLIENT, client.is_any(UNUSUAL) || self.acl.needs_auth(client));
        gates.set(Gates::CLUSTER, self.cluster.is_some());
        let tracked = self.tracking.clients() + self.tracking.keys();
        gates.set(Gates::OBSERVERS, tracked > 0 || !self.observer.monitors.is_empty());
        gates.set(Gates::MEMORY, self.config.maxmemory > 0);
        let write = self.persistence.has_disk_error()
            || self.config.min_replicas_to_write > 0
            || (is_replica && self.config.replica_read_only);
        gates.set(Gates::WRITE, write);
        gates.set(Gates::STALE, is_replica && !self.config.replica_serve_stale_data);
        gates.set(Gates::BUSY, self.persistence.is_loading() || self.scripting.is_busy());
        gates.set(Gates::PAUSE, self.blocking.pause.is_active());
        gates
    }

    /// Ends what [`Server::enter_client`] began; the replies are on their way.
    fn leave_client(&mut self, mut call: Call) {
        let token = call.client;
        output::flush_pushes(self, &mut call);
        self.clients.end_turn(None);
        call.reply.end_output();
        if self.ks.role == ExpiryRole::Keep {
            expiry::restore_role(self);
        }
        output::send_reply(self, &mut call);
        self.buffers.reply = call.reply;
        let closing = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_ASAP;
        if self.clients.get(token).is_some_and(|c| c.is_any(closing)) {
            output::settle(self, token);
        }
        if let Some(client) = self.clients.get(token) {
            let answered = client.is(ClientFlags::CLOSE_AFTER_REPLY) && client.out.is_empty();
            if answered || client.is(ClientFlags::CLOSE_ASAP) {
                self.free_client(token);
            }
        }
    }

    /// Closes a client's connection; the client whose turn it is gets its answer first.
    pub(crate) fn disconnect(&mut self, token: Token) {
        if self.clients.is_in_turn(token) {
            self.clients[token].flags |= ClientFlags::CLOSE_AFTER_REPLY;
        } else {
            self.free_client(token);
        }
    }

    /// Closes a client's connection and forgets it, whatever it was.
    pub fn free_client(&mut self, token: Token) {
        if self.clients.is_in_turn(token) || self.scripting.is_busy_for(token) {
            // Somebody up the stack works on it.
            self.clients.close_later(token);
            return;
        }
        if !self.clients.contains(token) {
            return;
        }
        // What it was answered before is still its due.
        output::settle(self, token);
        self.forget_client(token);
        let mut client = self.clients.remove(token);
        self.memory.count_client(&self.clients, token, 0);
        self.net.deregister(&mut client.conn);
    }

    /// Lets go of what other parts of the server know of a client.
    fn forget_client(&mut self, token: Token) {
        let client = &self.clients[token];
        let flags = client.flags;
        let client_has_state = client.transaction.is_some()
            || client.subscriptions.is_some()
            || client.tracking.is_some();
        if client.blocked.is_some() {
            blocking::unblock_client(self, token);
            self.clients[token].flags.remove(ClientFlags::PENDING_INPUT);
        }
        if client_has_state {
            transaction::discard_transaction(self, token);
            subscribe::unsubscribe_from_all(self, token);
            tracking::disable_tracking(self, token);
        }
        if flags.intersects(ClientFlags::MASTER | ClientFlags::HANDSHAKE) {
            follow::replication_handle_primary_disconnection(self, token);
        }
        primary::replication_forget_client(self, token);
    }

    /// Processes the input of clients that no event announces: those unblocked, and those with more to read.
    pub fn process_pending_input(&mut self) {
        for noted in self.clients.take_pending_input() {
            let Some(token) = self.clients.find(noted) else { continue };
            if busy::waits_for_script(self, token) {
                self.clients.give_back_input(noted);
                continue;
            }
            let client = &mut self.clients[token];
            client.flags.remove(ClientFlags::PENDING_INPUT);
            if client.is(ClientFlags::HANDSHAKE) {
                replica::sync_with_master(self, token);
                continue;
            }
            if client.is(ClientFlags::REPLAYING) {
                follow::replay_kept_stream(self, token);
                continue;
            }
            if !client.query.is_empty() && !client.is(ClientFlags::BLOCKED) {
                self.buffers.turn_cost_ns = 0;
                let query = std::mem::take(&mut client.query);
                let rest = self.process_own_buffer(token, query);
                let Some(client) = self.clients.get_mut(token) else { continue };
                if !rest.is_empty() {
                    client.query = rest;
                }
                self.memory.count_client(&self.clients, token, 0);
            }
            self.read_query_from_client(token, true);
        }
    }
}

/// The socket takes bytes again, or `before_sleep` finds some to write.
pub(crate) fn send_reply_to_client(server: &mut Server, token: Token) {
    if output::write_output(server, token) && server.clients[token].is(ClientFlags::SLAVE) {
        feed::write_to_replica(server, token);
    }
    output::output_written(server, token);
}

fn finish_read(outcome: io::Result<usize>, full: bool) -> io::Result<bool> {
    match outcome {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(full),
        Err(error) => Err(error),
    }
}

const PROTECTED_MODE: &[u8] = b"-DENIED Aeolis is running in protected mode because protected mode is enabled and no \
password is set for the default user. In this mode connections are only accepted from the loopback interface. If you \
want to connect from external computers, you may adopt one of the following solutions: 1) Disable protected mode by \
sending 'CONFIG SET protected-mode no' from the loopback interface, followed by 'CONFIG REWRITE' to make it permanent. \
2) Set the option 'protected-mode no' in the configuration file and restart the server. 3) Start the server with \
'--protected-mode no'. 4) Set a password for the default user.\r\n";
