//! The servers of the group: started, run turn by turn, crashed, asked.

use crate::network::{Exchange, Network, Plug, SharedNetwork, host};
use crate::resp::encode;
use aeolis::cli;
use aeolis::server::Server;
use aeolis::server::client::Token;
use aeolis::server::config::{Config, PrimaryAddress};
use aeolis::server::connection::{Connection, VirtualStream};
use aeolis::server::observe::log::Log;
use aeolis::server::startup;
use aeolis::server::turn::{self, ClientEvent, Event, Next};
use aeolis::sys::children::simulated;
use aeolis::util::clock::{Clock, SimulatedTime};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

/// A day in 2026, in microseconds since 1970.
pub const START: i64 = 1_780_000_000_000_000;
/// Microseconds that pass between two moments in which anything happens, at least.
pub const MOMENT: i64 = 20;

/// What a seed begins with: chance, and a network of so many servers.
pub fn begin(seed: u64, servers: usize) -> (SmallRng, SharedNetwork) {
    simulated::simulate();
    let mut rng = SmallRng::seed_from_u64(seed);
    let network = Network::new(rng.random(), servers);
    network.borrow_mut().now = START;
    (rng, network)
}

/// Directives and their values as words of a command line.
pub fn command_line<const N: usize>(directives: [(&str, String); N]) -> Vec<String> {
    directives.into_iter().flat_map(|(name, value)| [name.to_string(), value]).collect()
}

/// A server, or the place where one may be started.
pub struct Node {
    pub server: Option<Server>,
    dir: PathBuf,
    settings: Vec<String>,
    clock: Rc<SimulatedTime>,
    /// Microseconds by which its wall clock is ahead.
    pub skew: i64,
    pub frozen_until: i64,
    pub restart_at: Option<i64>,
    wake_at: i64,
    /// How often it was started.
    pub starts: u32,
}

impl Node {
    fn set_time(&self, now: i64) {
        self.clock.wall_us.set(now + self.skew);
        self.clock.steady_us.set(now.unsigned_abs());
    }

    /// The server, which must be up.
    pub fn up(&self) -> &Server {
        self.server.as_ref().expect("the server is up")
    }

    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }
}

/// All servers.
pub struct Group {
    pub network: SharedNetwork,
    pub nodes: Vec<Node>,
    /// Microseconds since 1970.
    pub now: i64,
    rng: SmallRng,
    verbose: bool,
}

impl Group {
    /// The servers of a network, all with these settings, each with a directory below `root`; none is started.
    pub fn new(
        network: SharedNetwork,
        root: &std::path::Path,
        settings: &[String],
        mut rng: SmallRng,
        verbose: bool,
    ) -> Group {
        let node = |i: usize| {
            let dir = root.join(format!("{i}"));
            std::fs::create_dir_all(&dir).expect("the directory can be made");
            Node {
                server: None,
                dir,
                settings: settings.to_vec(),
                clock: Rc::default(),
                skew: rng.random_range(0..3_000),
                frozen_until: 0,
                restart_at: None,
                wake_at: START,
                starts: 0,
            }
        };
        let servers = network.borrow().up.len();
        let nodes = (0..servers).map(node).collect();
        Group { network, nodes, now: START, rng, verbose }
    }

    pub fn say(&self, text: &str) {
        if self.verbose {
            println!("[{:.6}] {text}", (self.now - START) as f64 / 1e6);
        }
    }

    /// The next moment in which anything happens: one of these, or something arrives, or a server starts again.
    pub fn next_moment(&self, moments: impl Iterator<Item = i64>) -> i64 {
        let arrival = self.network.borrow().next_arrival();
        let restarts = self.nodes.iter().filter_map(|node| node.restart_at);
        let all = moments.chain(arrival).chain(restarts);
        all.filter(|at| *at > self.now).min().unwrap_or(0).max(self.now + MOMENT)
    }

    /// Moves on to a moment, and takes in what has arrived.
    pub fn go_to(&mut self, now: i64) {
        self.now = now;
        self.network.borrow_mut().now = now;
        let accepted = self.network.borrow_mut().deliver();
        for (server, wire) in accepted {
            self.accept(server, wire);
        }
    }

    /// Whether a server that is down starts again now.
    pub fn restarts(&self, i: usize) -> bool {
        self.nodes[i].restart_at.is_some_and(|at| at <= self.now)
    }

    /// Starts a server on what its directory holds.
    pub fn start(&mut self, i: usize, replica_of: Option<usize>) {
        let node = &mut self.nodes[i];
        node.set_time(self.now);
        node.starts += 1;
        let mut words = node.settings.clone();
        words.extend(["--dir".to_string(), node.dir.display().to_string()]);
        let words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
        let mut config = Config::from_args(Config::default(), &words, &mut io::empty())
            .expect("good settings")
            .config;
        if !self.verbose {
            config.loglevel = aeolis::server::config::LogLevel::Nothing;
        }
        if let Some(primary) = replica_of {
            config.replicaof = Some(PrimaryAddress { host: host(primary), port: 6379 });
        }
        let log = Log::new(config.loglevel, None);
        let rng = SmallRng::from_rng(&mut self.rng);
        let clock = Clock::Simulated(Rc::clone(&node.clock));
        let mut server = Server::with_clock(config, cli::command_table(), rng, log, clock);
        server.dial_with(Box::new(Exchange { network: Rc::clone(&self.network), server: i }));
        startup::load_setup(&mut server).expect("the setup can be loaded");
        startup::begin(&mut server).expect("what was written can be loaded");
        node.server = Some(server);
        (node.wake_at, node.restart_at) = (self.now, None);
        self.network.borrow_mut().up[i] = true;
    }

    /// The power goes out.
    pub fn crash(&mut self, i: usize) {
        self.network.borrow_mut().crash(i);
        self.nodes[i].frozen_until = 0;
        if let Some(synced) =
            self.nodes[i].server.take().and_then(|s| s.persistence().synced_size())
        {
            self.lose_unsynced_bytes(i, synced);
        }
    }

    /// What was appended and never synced may be on the disk or not. `synced`: what surely is, of the file that is
    /// appended to.
    fn lose_unsynced_bytes(&mut self, i: usize, synced: u64) {
        let Ok(files) = std::fs::read_dir(self.nodes[i].dir.join("appendonlydir")) else { return };
        let paths = files.map(|f| f.expect("a file").path());
        // The last one is being appended to; the others were synced when they were left.
        let number =
            |p: &PathBuf| p.to_str().and_then(|p| p.rsplit('.').nth(2)?.parse::<u64>().ok());
        let Some(path) =
            paths.filter(|p| p.to_string_lossy().ends_with(".incr.aof")).max_by_key(number)
        else {
            return;
        };
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("it is ours");
        let len = file.metadata().expect("it is there").len();
        file.set_len(self.rng.random_range(synced.min(len)..=len)).expect("there is room for less");
    }

    /// Takes in connections that a server must accept.
    fn accept(&mut self, i: usize, wire: usize) {
        let connection = Connection::Virtual(Box::new(Plug::accept(&self.network, wire)));
        let is_of_bus = self.network.borrow().is_of_bus(wire);
        self.nodes[i].set_time(self.now);
        match &mut self.nodes[i].server {
            Some(server) if is_of_bus => server.accept_node(connection),
            Some(server) => _ = server.accept_common_handler(connection),
            None => {}
        }
    }

    /// When a server has something to do though nothing comes.
    pub fn wakes_at(&self, i: usize) -> i64 {
        let node = &self.nodes[i];
        let at = node.wake_at.max(node.frozen_until);
        if node.is_up() { at } else { i64::MAX }
    }

    /// What a turn of a server's loop would be told.
    pub fn events(&mut self, i: usize) -> Vec<Event> {
        if !self.nodes[i].is_up() || self.nodes[i].frozen_until > self.now {
            return Vec::new();
        }
        self.network.borrow_mut().take_events(i)
    }

    /// One turn of a server's loop. `around` is called before (`true`) and after each
    /// event.
    pub fn turn(&mut self, i: usize, events: &[Event], around: impl FnMut(&Server, &Event, bool)) {
        let (node, now) = (&mut self.nodes[i], self.now as u64);
        node.set_time(self.now);
        let Some(server) = &mut node.server else { return };
        for event in events {
            turn::happened(server, *event);
        }
        node.wake_at = match turn::watched_turn(server, now, around) {
            Next::Now => self.now + 50,
            Next::Until(at) => at as i64,
            Next::Exit(_) => panic!("server {i} ended by itself"),
        };
    }

    /// The servers that are up, with their numbers.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Server)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| Some((i, node.server.as_ref()?)))
    }

    /// The digest of a key's value.
    pub fn digest_of(&mut self, i: usize, db: usize, key: &str) -> Vec<u8> {
        let mut typed = encode(&["SELECT", &db.to_string()]);
        typed.extend(encode(&["DEBUG", "DIGEST-VALUE", key]));
        self.type_in(i, typed)
    }

    /// What a server answers to a command that an operator types.
    pub fn ask(&mut self, i: usize, args: &[&str]) -> Vec<u8> {
        self.type_in(i, encode(args))
    }

    /// The same of one that is no text.
    pub fn ask_bytes(&mut self, i: usize, args: &[&[u8]]) -> Vec<u8> {
        self.type_in(i, encode(args))
    }

    /// What a server shows at once to somebody who types requests.
    pub fn type_in(&mut self, i: usize, typed: Vec<u8>) -> Vec<u8> {
        let terminal = self.sit_down_at(i, typed);
        self.leave(terminal)
    }

    /// An operator types something at a server, and waits for the answer.
    pub fn sit_down_at(&mut self, i: usize, typed: Vec<u8>) -> Terminal {
        let node = &mut self.nodes[i];
        node.set_time(self.now);
        let server = node.server.as_mut().expect("only a running server is asked");
        server.update_time();
        let console = Console(Rc::new(RefCell::new((typed, Vec::new()))));
        let screen = Rc::clone(&console.0);
        let token = server
            .accept_common_handler(Connection::Virtual(Box::new(console)))
            .expect("there is room for one more client");
        let event = ClientEvent { token, readable: true, writable: false, closed: false };
        turn::happened(server, Event::Client(event));
        turn::turn(server, self.now as u64);
        node.wake_at = self.now;
        Terminal { server: i, start: node.starts, token, screen }
    }

    /// The operator leaves a terminal; answers what it shows.
    pub fn leave(&mut self, terminal: Terminal) -> Vec<u8> {
        let node = &mut self.nodes[terminal.server];
        if let Some(server) = node.server.as_mut().filter(|_| node.starts == terminal.start) {
            server.free_client(terminal.token);
        }
        terminal.screen.take().1
    }
}

/// A terminal at a server that an operator has typed something into.
pub struct Terminal {
    pub server: usize,
    /// Of the server, which this is.
    start: u32,
    token: Token,
    screen: Screen,
}

impl Terminal {
    /// Whether it shows an answer.
    pub fn has_answer(&self) -> bool {
        !self.screen.borrow().1.is_empty()
    }
}

/// What is typed, and what is shown.
type Screen = Rc<RefCell<(Vec<u8>, Vec<u8>)>>;

/// The server's side of a terminal.
#[derive(Debug)]
struct Console(Screen);

impl VirtualStream for Console {
    fn attach(&mut self, _token: usize) {}

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let typed = &mut self.0.borrow_mut().0;
        if typed.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = buf.len().min(typed.len());
        buf[..n].copy_from_slice(&typed[..n]);
        typed.drain(..n);
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 6379))
    }
}
