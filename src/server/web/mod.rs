//! The HTTP listener (`metrics-port`): metrics, probes and a live page, read only, served by the same loop as
//! everything else.
//!
//! * [`exchange`]: what is said on a connection, as a machine without a socket. Heads are parsed by `httparse`.
//! * `response`: answers.
//! * [`access`]: who may see what.
//! * [`metrics`], [`health`], [`page`], [`live`]: what is served.
//!
//! Here: connections come, are read from and written to, and go. All is bounded: how many there are, what they may
//! send, what waits for them, and how long they may take.

mod access;
mod exchange;
mod health;
mod live;
mod metrics;
mod page;
mod response;

use crate::server::connection::Connection;
use crate::server::memory::overhead::Tally;
use crate::server::observe::log::Level;
use crate::server::{FIRST_VIRTUAL_VISITOR, FIRST_VISITOR, Server};
use bytes::Bytes;
use exchange::{Exchange, Request};
use live::Live;
use metrics::{Format, Scrapes};
use response::{Response, Status};
use slab::Slab;
use std::io::{self, ErrorKind};
use std::mem;

/// Connections at a time. Beyond that, the one that has been quiet for longest makes room.
pub const MAX_VISITORS: usize = 64;
/// How long a request's head may take, in milliseconds.
const HEAD_MS: i64 = 10_000;
/// How long a connection may be kept between two requests: scrapes are seldom more than a minute apart.
const IDLE_MS: i64 = 150_000;
/// How long an answer may wait without a byte of it being taken.
const STALLED_MS: i64 = 30_000;
/// How long, and for how many bytes, what is sent behind the last answer is read: a socket that is closed before takes
/// the answer back.
const LINGER_MS: i64 = 2_000;
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Pages that are told what happens at a time.
const MAX_VIEWERS: usize = 16;
/// Bytes of one read.
const READ: usize = 4096;
/// Reads from one connection before others have their turn.
const READS_PER_TURN: usize = 64;

/// One connection.
struct Visitor {
    conn: Connection,
    exchange: Exchange,
    /// When it last got on, in milliseconds since 1970: bytes of an answer were taken, or a request began.
    since_ms: i64,
    /// It has asked for something already.
    is_known: bool,
    /// All has been said: so many bytes may still come, to be dropped.
    lingering: Option<usize>,
    /// Metrics that it gets in the next turn.
    scrape: Option<Scrape>,
}

/// Metrics for which all has been counted: that, and writing them, would make a turn of the loop longer than it may be
/// where there are many clients and much memory.
struct Scrape {
    format: Format,
    tally: Tally,
    /// What counting took.
    nanos: u64,
}

impl Visitor {
    /// When it has taken too long.
    fn deadline_ms(&self) -> i64 {
        let patience = if self.lingering.is_some() {
            LINGER_MS
        } else if self.exchange.has_output() {
            STALLED_MS
        } else if self.exchange.is_streaming() {
            return i64::MAX;
        } else if self.exchange.is_amid_request() || !self.is_known {
            HEAD_MS
        } else {
            IDLE_MS
        };
        self.since_ms + patience
    }

    /// Writes what waits; answers whether all of it is gone.
    fn write(&mut self, now_ms: i64) -> io::Result<bool> {
        loop {
            let outcome = if self.exchange.has_output() {
                self.conn.write_vectored(&self.exchange.output().slices())
            } else {
                self.conn.flush().map(|()| 0)
            };
            match outcome {
                Ok(n) => {
                    if !self.exchange.has_output() {
                        return Ok(true);
                    }
                    if n == 0 {
                        return Err(ErrorKind::WriteZero.into());
                    }
                    self.exchange.wrote(n);
                    self.since_ms = now_ms;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what has come, once; `false`: nothing has.
    fn read(&mut self, now_ms: i64) -> io::Result<bool> {
        let mut buf = [0; READ];
        match self.conn.read(&mut buf) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                if let Some(left) = &mut self.lingering {
                    *left = left.checked_sub(n).ok_or(ErrorKind::FileTooLarge)?;
                    return Ok(true);
                }
                if !self.exchange.is_amid_request() {
                    self.since_ms = now_ms;
                }
                self.exchange.receive(&buf[..n]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// There is nothing more to say: the other side sees that, and what it still sends is dropped for a while.
    fn begin_to_linger(&mut self, now_ms: i64) {
        self.conn.shutdown_write();
        self.lingering = Some(LINGER_BYTES);
        self.since_ms = now_ms;
    }
}

/// All connections.
#[derive(Default)]
pub(crate) struct Web {
    visitors: Slab<Visitor>,
    /// Those with more to be dealt with that no event will announce.
    busy: Vec<usize>,
    scrapes: Scrapes,
    /// What the live page is told, while there are viewers.
    live: Option<Box<Live>>,
}

impl Web {
    /// Whether there is something to be done that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        !self.busy.is_empty()
    }

    /// How many have the live page open.
    fn viewers(&self) -> usize {
        self.visitors.iter().filter(|(_, visitor)| visitor.exchange.is_streaming()).count()
    }

    fn connection(&self, visitor: usize) -> &Connection {
        &self.visitors[visitor].conn
    }

    /// Makes room for one more.
    fn make_room(&mut self) {
        if self.visitors.len() < MAX_VISITORS {
            return;
        }
        let quietest = self.visitors.iter().min_by_key(|(_, visitor)| visitor.since_ms);
        if let Some((visitor, _)) = quietest {
            // Dropping it closes it.
            self.visitors.remove(visitor);
        }
    }

    /// Hands an event to each viewer.
    fn tell(&mut self, event: &Bytes) {
        for (token, visitor) in &mut self.visitors {
            visitor.exchange.push_event(event.clone());
            self.busy.push(token);
        }
    }

    fn close_overdue(&mut self, now_ms: i64) {
        self.visitors.retain(|_, visitor| visitor.deadline_ms() > now_ms);
    }
}

/// A connection was accepted.
pub(crate) fn accept(server: &mut Server, mut conn: Connection) {
    if server.refuses_foreign(&conn) {
        let refusal = Response::of(Status::Forbidden);
        let _ = conn.write(&[&refusal.head(true)[..], &refusal.body].concat());
        return;
    }
    // A connection that can't be configured is about to fail anyway.
    let _ = conn.set_options(true, server.config.tcp_keepalive);
    let now_ms = server.ks.now_ms;
    server.net.web_mut().make_room();
    let key = server.net.web().visitors.vacant_key();
    if let Connection::Virtual(stream) = &mut conn {
        stream.attach(FIRST_VIRTUAL_VISITOR + key);
    }
    if let Err(error) = server.net.register(&mut conn, mio::Token(FIRST_VISITOR + key)) {
        server.log(Level::Warning, &format!("Error registering fd event: {error}"));
        return;
    }
    let exchange = Exchange::new();
    let visitor = Visitor {
        conn,
        exchange,
        since_ms: now_ms,
        is_known: false,
        lingering: None,
        scrape: None,
    };
    server.net.web_mut().visitors.insert(visitor);
}

/// Closes the connections that have taken too long, and tells viewers what has happened.
pub(crate) fn cron(server: &mut Server) {
    let now_ms = server.ks.now_ms;
    let web = server.net.web_mut();
    web.close_overdue(now_ms);
    if web.viewers() == 0 {
        web.live = None;
        return;
    }
    let mut live = web.live.take().unwrap_or_default();
    let event = live.event(server);
    let web = server.net.web_mut();
    web.live = Some(live);
    if let Some(event) = event {
        web.tell(&event);
    }
}

/// Goes on with what was left for this turn.
pub(crate) fn serve_busy(server: &mut Server) {
    for visitor in mem::take(&mut server.net.web_mut().busy) {
        serve(server, visitor);
    }
}

/// A connection can be read from, or written to.
pub(crate) fn serve(server: &mut Server, visitor: usize) {
    if attend(server, visitor).is_err() {
        server.net.web_mut().visitors.try_remove(visitor);
    }
}

/// Writes, reads and answers for as long as the socket has or takes something, but answers one request only.
///
/// # Errors
/// If the connection is to be closed.
fn attend(server: &mut Server, token: usize) -> io::Result<()> {
    let now_ms = server.ks.now_ms;
    let mut has_answered = false;
    for _ in 0..READS_PER_TURN {
        let Some(visitor) = server.net.web_mut().visitors.get_mut(token) else { return Ok(()) };
        if !visitor.write(now_ms)? {
            // The socket will say when it takes more. Until then nothing is read.
            return Ok(());
        }
        if visitor.exchange.is_over() && visitor.lingering.is_none() {
            visitor.begin_to_linger(now_ms);
        }
        if has_answered && visitor.exchange.is_amid_request() {
            break;
        }
        if let Some(scrape) = visitor.scrape.take() {
            let response = write_metrics(server, &scrape);
            server.net.web_mut().visitors[token].exchange.answer(&response);
            has_answered = true;
        } else if let Some(request) = visitor.exchange.next_request() {
            visitor.is_known = true;
            respond(server, token, &request);
            if server.net.web().visitors[token].scrape.is_some() {
                break;
            }
            has_answered = true;
        } else if !visitor.exchange.has_output() && !visitor.read(now_ms)? {
            return Ok(());
        }
    }
    if !server.net.web_mut().busy.contains(&token) {
        server.net.web_mut().busy.push(token);
    }
    Ok(())
}

fn respond(server: &mut Server, token: usize, request: &Request) {
    let response = match &request.path[..] {
        "/health" => Ok(Response::text("ok\n".to_string())),
        "/ready" => Ok(ready(server)),
        "/metrics" => match access::check(server, token, request, metrics::NEEDS) {
            Ok(()) => {
                let scrape = begin_scrape(server, Format::preferred(&request.accept));
                server.net.web_mut().visitors[token].scrape = Some(scrape);
                return;
            }
            Err(status) => Err(status),
        },
        "/events" => match access::check(server, token, request, live::NEEDS) {
            Ok(()) if server.net.web().viewers() < MAX_VIEWERS => {
                server.net.web_mut().visitors[token].exchange.stream_events();
                return;
            }
            Ok(()) => Err(Status::ServiceUnavailable),
            Err(status) => Err(status),
        },
        path => match page::file(path) {
            Some(file) => access::check(server, token, request, live::NEEDS).map(|()| file),
            None => Err(Status::NotFound),
        },
    };
    let response = response.unwrap_or_else(Response::of);
    server.net.web_mut().visitors[token].exchange.answer(&response);
}

fn ready(server: &Server) -> Response {
    match health::obstacle(server) {
        None => Response::text("ready\n".to_string()),
        Some(why) => {
            let status = Status::ServiceUnavailable;
            Response { status, ..Response::text(format!("{why}\n")) }
        }
    }
}

fn begin_scrape(server: &Server, format: Format) -> Scrape {
    let started = server.ks.clock.nanos();
    let tally = Tally::of(server);
    Scrape { format, tally, nanos: server.ks.clock.nanos() - started }
}

fn write_metrics(server: &mut Server, scrape: &Scrape) -> Response {
    let started = server.ks.clock.nanos();
    let scrapes = server.net.web().scrapes;
    let body = metrics::metrics(server, scrape.tally, scrape.format, scrapes).into();
    let nanos = scrape.nanos + (server.ks.clock.nanos() - started);
    server.net.web_mut().scrapes.record(nanos);
    Response { status: Status::Ok, content_type: scrape.format.content_type(), body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::Nobody;

    fn visitor(since_ms: i64) -> Visitor {
        Visitor {
            conn: Connection::Virtual(Box::new(Nobody)),
            exchange: Exchange::new(),
            since_ms,
            is_known: false,
            lingering: None,
            scrape: None,
        }
    }

    #[test]
    fn nobody_may_take_for_ever() {
        let mut visitor = visitor(0);
        assert_eq!(visitor.deadline_ms(), HEAD_MS, "who has asked for nothing yet");
        for byte in b"GET /health HTTP/1.1\r\nHost: a\r\n\r" {
            visitor.exchange.receive(&[*byte]);
            assert_eq!(visitor.exchange.next_request(), None);
            assert_eq!(visitor.deadline_ms(), HEAD_MS, "who sends a head byte by byte");
        }
        visitor.exchange.receive(b"\n");
        assert!(visitor.exchange.next_request().is_some());
        visitor.is_known = true;
        visitor.exchange.answer(&Response::text("ok\n".to_string()));
        assert_eq!(visitor.deadline_ms(), STALLED_MS, "who does not take an answer");
        assert!(visitor.write(7).unwrap());
        assert_eq!(visitor.deadline_ms(), 7 + IDLE_MS, "who may ask for more");
        visitor.exchange.stream_events();
        assert!(visitor.write(8).unwrap());
        assert_eq!(visitor.deadline_ms(), i64::MAX, "who listens to events");
        visitor.exchange.push_event(Bytes::from_static(b"data: 1\n\n"));
        assert_eq!(visitor.deadline_ms(), 8 + STALLED_MS, "but does not read them");
    }

    #[test]
    fn the_quietest_makes_room() {
        let mut web = Web::default();
        for n in 0..MAX_VISITORS as i64 {
            web.make_room();
            web.visitors.insert(visitor((n + 5) % MAX_VISITORS as i64));
        }
        assert!(web.visitors.iter().any(|(_, visitor)| visitor.since_ms == 0));
        web.make_room();
        assert_eq!(web.visitors.len(), MAX_VISITORS - 1);
        assert!(web.visitors.iter().all(|(_, visitor)| visitor.since_ms > 0));
        web.close_overdue(HEAD_MS + 10);
        assert!(web.visitors.iter().all(|(_, visitor)| visitor.since_ms > 10));
    }
}
