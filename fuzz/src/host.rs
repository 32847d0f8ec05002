//! A whole server in this process, without sockets and with a clock of its own; what the targets run their inputs on.
#![forbid(unsafe_code)]

use crate::grammar::{Words, encode};
use crate::source::Source;
use aeolis::cli;
use aeolis::server::Server;
use aeolis::server::config::{Config, LogLevel};
use aeolis::server::connection::{Connection, Dialer, VirtualStream};
use aeolis::server::observe::log::Log;
use aeolis::server::startup;
use aeolis::server::turn::{self, Event, EventSource, Next};
use aeolis::util::clock::{Clock, SimulatedTime};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// When the server's clock starts, in milliseconds since 1970.
pub const START_MS: i64 = 1_700_000_000_000;

/// Unread bytes at which a client's connection takes no more.
const UNREAD_MAX: usize = 4 << 20;

/// Settings of every server: nothing that an input can ask for is large.
const SETTINGS: &[&str] = &[
    "--save",
    "",
    "--port",
    "0",
    "--enable-debug-command",
    "yes",
    "--proto-max-bulk-len",
    "1mb",
    "--busy-reply-threshold",
    "500",
    "--client-output-buffer-limit",
    "normal",
    "16mb",
    "0",
    "0",
];

/// A wire to the server, as both of its ends see it.
#[derive(Debug, Default)]
struct Wire {
    /// What the server has not read yet.
    inbox: VecDeque<u8>,
    /// What it has written.
    outbox: Vec<u8>,
    /// Nothing comes any more.
    ended: bool,
    /// The server has closed it.
    closed: bool,
    token: Option<usize>,
}

#[derive(Debug)]
struct Plug(Rc<RefCell<Wire>>);

impl VirtualStream for Plug {
    fn attach(&mut self, token: usize) {
        self.0.borrow_mut().token = Some(token);
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.inbox.is_empty() {
            return if wire.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let n = buf.len().min(wire.inbox.len());
        for (to, from) in buf.iter_mut().zip(wire.inbox.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let n = bytes.len().min(UNREAD_MAX.saturating_sub(wire.outbox.len()));
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.outbox.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 10_000))
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 6379))
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
    }
}

/// Somebody who is connected to the server.
pub struct Link(Rc<RefCell<Wire>>);

impl Link {
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// What the server has written since it was taken last.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().outbox)
    }
}

/// Connections that the server makes: somebody at the other end may pick them up.
#[derive(Default)]
struct Switchboard(Rc<RefCell<Vec<Rc<RefCell<Wire>>>>>);

impl Dialer for Switchboard {
    fn dial(&mut self, _host: &str, _port: u16) -> io::Result<Box<dyn VirtualStream>> {
        let wire = Rc::default();
        self.0.borrow_mut().push(Rc::clone(&wire));
        Ok(Box::new(Plug(wire)))
    }
}

/// Has a script that runs for long be killed, whatever it has written: the others must be served.
struct Impatience;

impl EventSource for Impatience {
    fn wait(&mut self, server: &mut Server, _: Duration) -> io::Result<()> {
        server.kill_busy_script();
        Ok(())
    }

    fn accept(&mut self, _: &mut Server, _: usize) {}

    fn listen_anew(&mut self, _: &mut Server) {}
}

/// Microseconds since 1970, for both clocks.
fn set_time(clock: &SimulatedTime, us: i64) {
    clock.wall_us.set(us);
    clock.steady_us.set(us.unsigned_abs());
}

pub struct Host {
    pub server: Server,
    pub dir: PathBuf,
    clock: Rc<SimulatedTime>,
    /// The last turn has left work for the next one.
    has_work: bool,
    dialed: Rc<RefCell<Vec<Rc<RefCell<Wire>>>>>,
}

impl Host {
    /// A server with these options of the command line, on what `dir` holds; `None` if it does not start.
    pub fn start(dir: &Path, options: &[&str]) -> Option<Host> {
        let dir_words = ["--dir", dir.to_str()?];
        let words: Vec<Vec<u8>> = [SETTINGS, &dir_words, options]
            .concat()
            .into_iter()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        let mut config =
            Config::from_args(Config::default(), &words, &mut io::empty()).ok()?.config;
        config.loglevel = LogLevel::Nothing;
        let log = Log::silent();
        let clock = Rc::new(SimulatedTime::default());
        set_time(&clock, START_MS * 1000);
        let simulated = Clock::Simulated(Rc::clone(&clock));
        let rng = SmallRng::seed_from_u64(1);
        let mut server = Server::with_clock(config, cli::command_table(), rng, log, simulated);
        let switchboard = Switchboard::default();
        let dialed = Rc::clone(&switchboard.0);
        server.dial_with(Box::new(switchboard));
        turn::attach(&mut server, Box::new(Impatience));
        startup::load_setup(&mut server).ok()?;
        startup::begin(&mut server).ok()?;
        let mut host = Host { server, dir: dir.to_path_buf(), clock, has_work: false, dialed };
        // A file is loaded in slices.
        for _ in 0..10_000 {
            host.turn(&[]);
            if host.server.exit_code().is_some() {
                return None;
            }
            if !host.server.persistence().is_loading() {
                return Some(host);
            }
        }
        panic!("the server loads its files without end");
    }

    pub fn connect(&mut self) -> Option<Link> {
        let wire = Rc::default();
        self.server.update_time();
        self.server.accept_common_handler(Connection::Virtual(Box::new(Plug(Rc::clone(&wire)))))?;
        Some(Link(wire))
    }

    /// A connection to the cluster bus.
    pub fn connect_to_bus(&mut self) -> Link {
        let wire = Rc::default();
        self.server.update_time();
        self.server.accept_node(Connection::Virtual(Box::new(Plug(Rc::clone(&wire)))));
        Link(wire)
    }

    /// A connection to the HTTP listener.
    pub fn connect_to_http(&mut self) -> Link {
        let wire = Rc::default();
        self.server.update_time();
        self.server.accept_visitor(Connection::Virtual(Box::new(Plug(Rc::clone(&wire)))));
        Link(wire)
    }

    /// A connection that the server has made.
    pub fn take_dialed(&mut self) -> Option<Link> {
        self.dialed.borrow_mut().pop().map(Link)
    }

    /// Has bytes arrive, all at once.
    pub fn send(&mut self, link: &Link, bytes: &[u8]) {
        link.0.borrow_mut().inbox.extend(bytes);
        self.turn(&[link]);
        // What is left is left for the next turns: a few, or the server does not get on.
        for _ in 0..100_000 {
            let unread = link.0.borrow().inbox.len();
            let is_closed = link.is_closed() || self.server.exit_code().is_some();
            if is_closed || (unread == 0 && !self.has_work) {
                return;
            }
            self.turn(&[link]);
            if unread > 0 && link.0.borrow().inbox.len() == unread {
                // It does not read on before something else happens: it is blocked, or too much is unread.
                return;
            }
        }
        panic!("the server does not come to an end with its work");
    }

    /// The other side goes away.
    pub fn hang_up(&mut self, link: &Link) {
        link.0.borrow_mut().ended = true;
        self.turn(&[link]);
        let token = link.0.borrow().token;
        if let Some(token) = token.filter(|_| !link.is_closed()) {
            self.server.free_client(token);
        }
    }

    /// The time passes.
    pub fn advance(&mut self, ms: i64) {
        set_time(&self.clock, self.clock.wall_us.get() + ms * 1000);
        self.turn(&[]);
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.wall_us.get() / 1000
    }

    /// One turn of the loop, in which `links` have something to say.
    fn turn(&mut self, links: &[&Link]) {
        for link in links.iter().filter(|link| !link.is_closed()) {
            let wire = link.0.borrow();
            let (readable, writable, closed) = (true, true, wire.ended);
            if let Some(token) = wire.token {
                let event = Event::of_virtual(token, readable, writable, closed);
                turn::happened(&mut self.server, event);
            }
        }
        let next = turn::turn(&mut self.server, self.clock.steady_us.get());
        self.has_work = next == Next::Now;
    }

    /// Executes requests for several clients, whose bytes come in pieces; time passes in between. Clients that are left
    /// blocked are let go in the end.
    pub fn run(&mut self, requests: &[Words], source: &mut Source) {
        let links: Vec<Link> = (0..3).filter_map(|_| self.connect()).collect();
        for words in requests.iter().filter(|words| is_harmless(words)) {
            // One of them says more than the others, so that its transactions come about.
            let speaker = source.below(links.len() * 2) % links.len().max(1);
            let speaker = if source.percent(50) { 0 } else { speaker };
            let Some(link) = links.get(speaker) else { return };
            let bytes = encode(words);
            for cut in source.cuts(bytes.len()).windows(2) {
                self.send(link, &bytes[cut[0]..cut[1]]);
            }
            if source.percent(80) {
                link.take();
            }
            if source.percent(10) {
                self.advance([1, 10, 1000, 20_000][source.below(4)]);
            }
            if self.server.exit_code().is_some() {
                return;
            }
        }
        for _ in 0..5 {
            self.advance(1000);
        }
        links.iter().for_each(|link| self.hang_up(link));
    }

    /// Executes one request on a connection of its own, and answers the reply.
    pub fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let words: Words = words.iter().map(|word| word.to_vec()).collect();
        let Some(link) = self.connect() else { return Vec::new() };
        self.send(&link, &encode(&words));
        let reply = link.take();
        self.hang_up(&link);
        reply
    }

    /// # Panics
    /// If the server does not answer any more.
    pub fn check(&mut self) {
        // Clients may have been paused.
        (0..5).for_each(|_| self.advance(1000));
        if self.server.exit_code().is_none() {
            assert!(!self.ask(&[b"PING"]).is_empty(), "the server does not answer");
        }
    }
}

/// Whether a command may be run in this process: not those that end or stop it on purpose, reach for other machines, or
/// start children without end.
pub fn is_harmless(words: &Words) -> bool {
    const DEBUG: &[&str] = &[
        "object",
        "digest",
        "digest-value",
        "listpack",
        "quicklist",
        "sdslen",
        "ziplist",
        "htstats",
        "htstats-key",
        "stringmatch-len",
        "set-active-expire",
        "quicklist-packed-threshold",
        "change-repl-id",
        "jmap",
        "protocol",
        "error",
        "log",
        "help",
        "replicate",
        "reload",
    ];
    let word = |at: usize| words.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let second = word(1);
    match word(0).as_slice() {
        b"debug" => DEBUG.iter().any(|name| name.as_bytes() == second),
        b"shutdown" | b"migrate" | b"bgsave" | b"bgrewriteaof" | b"sync" | b"psync"
        | b"replicaof" | b"slaveof" | b"failover" | b"save" => false,
        b"config" => {
            let files = [
                "logfile",
                "pidfile",
                "unixsocket",
                "dir",
                "appendonly",
                "aclfile",
                "syslog-enabled",
            ];
            let named = |name: &str| words.iter().any(|w| w.eq_ignore_ascii_case(name.as_bytes()));
            second == b"get" || !files.into_iter().any(named)
        }
        b"acl" => second != b"save" && second != b"load",
        // What is to answer at the end must not be held back longer than an input's time goes on.
        b"client" if second == b"pause" => std::str::from_utf8(&word(2))
            .is_ok_and(|ms| ms.parse::<u32>().is_ok_and(|ms| ms < 4000)),
        _ => true,
    }
}
