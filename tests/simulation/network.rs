//! Wires between servers and clients: bytes take their time, come in pieces, wait where the reader is slow, and are
//! lost with the wire. What is sent where nothing travels at present waits, as TCP has it, and arrives later.

use aeolis::server::connection::{Dialer, VirtualStream};
use aeolis::server::turn::Event;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Clients find a server here, and the other nodes of its cluster so far behind.
const PORT: u16 = 6379;
const BUS_PORT_DISTANCE: u16 = 10_000;

/// Who holds an end of a wire: a server by its number, or a client of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Server(usize),
    Client,
}

/// What travels.
#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    /// The other end was closed, after all that it sent.
    Fin,
    /// The wire is no more.
    Reset,
}

/// One end of a wire.
#[derive(Debug)]
struct End {
    party: Party,
    /// The index of the client that owns it, in a server.
    token: Option<usize>,
    /// On the way to this end, with the time of arrival; in order.
    coming: VecDeque<(i64, Parcel)>,
    /// Here, and not read.
    inbox: VecDeque<u8>,
    /// Bytes that fit into `coming` and `inbox` together.
    capacity: usize,
    ended: bool,
    broken: bool,
    /// Whether a [`Plug`] of this end is there.
    held: bool,
    /// Nobody holds it any more.
    dropped: bool,
    /// A write was cut short: tell when there is room.
    wants_room: bool,
    readable: bool,
    writable: bool,
}

impl End {
    fn new(party: Party, capacity: usize) -> End {
        End {
            party,
            token: None,
            coming: VecDeque::new(),
            inbox: VecDeque::new(),
            capacity,
            ended: false,
            broken: false,
            held: false,
            dropped: false,
            wants_room: false,
            readable: false,
            writable: false,
        }
    }

    fn held(&self) -> usize {
        let coming = self.coming.iter().map(|(_, parcel)| match parcel {
            Parcel::Bytes(bytes) => bytes.len(),
            _ => 0,
        });
        self.inbox.len() + coming.sum::<usize>()
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.held())
    }
}

/// How far a connection has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The other side will hear of it at this time.
    Dialing(i64),
    Refused,
    Open,
}

#[derive(Debug)]
struct Wire {
    /// The dialer's end, and the other one.
    ends: [End; 2],
    phase: Phase,
    /// The port that was dialed.
    port: u16,
    /// Microseconds that bytes travel, about.
    latency: i64,
}

impl Wire {
    fn servers(&self) -> Option<[usize; 2]> {
        match [self.ends[0].party, self.ends[1].party] {
            [Party::Server(a), Party::Server(b)] => Some([a, b]),
            _ => None,
        }
    }
}

/// All wires.
#[derive(Debug)]
pub struct Network {
    wires: Slab<Wire>,
    rng: SmallRng,
    pub now: i64,
    /// Servers that answer.
    pub up: Vec<bool>,
    /// From which server to which one nothing travels at present.
    blocked: Vec<Vec<bool>>,
    /// Servers at whose ends something has happened.
    stirred: Vec<bool>,
    /// How many bytes a wire between servers holds, at least and at most.
    pub capacity: (usize, usize),
}

pub type SharedNetwork = Rc<RefCell<Network>>;

impl Network {
    pub fn new(seed: u64, servers: usize) -> SharedNetwork {
        let rng = SmallRng::seed_from_u64(seed);
        Rc::new(RefCell::new(Network {
            wires: Slab::new(),
            rng,
            now: 0,
            up: vec![false; servers],
            blocked: vec![vec![false; servers]; servers],
            stirred: vec![false; servers],
            capacity: (4096, 65536),
        }))
    }

    fn connect(&mut self, from: Party, to: usize, port: u16) -> usize {
        let latency = self.rng.random_range(20..2000);
        let (least, most) = self.capacity;
        let mut end = |party| End::new(party, self.rng.random_range(least..=most));
        let ends = [end(from), end(Party::Server(to))];
        let phase = Phase::Dialing(self.now + latency);
        self.wires.insert(Wire { ends, phase, port, latency })
    }

    /// Whether a wire is one of the cluster's bus.
    pub fn is_of_bus(&self, wire: usize) -> bool {
        self.wires[wire].port > BUS_PORT_DISTANCE
    }

    /// Whether nothing comes to an end of a wire.
    fn is_blocked(&self, wire: &Wire, end: usize) -> bool {
        wire.servers().is_some_and(|servers| self.blocked[servers[1 - end]][servers[end]])
    }

    /// Whether nothing goes through a wire in one of the two directions.
    fn is_cut(&self, wire: &Wire) -> bool {
        self.is_blocked(wire, 0) || self.is_blocked(wire, 1)
    }

    /// Whether nothing travels from one server to another.
    pub fn blocks(&self, from: usize, to: usize) -> bool {
        self.blocked[from][to]
    }

    /// Nothing travels from one server to another.
    pub fn block(&mut self, from: usize, to: usize) {
        self.blocked[from][to] = true;
    }

    /// Nothing travels between two servers.
    pub fn part(&mut self, a: usize, b: usize) {
        self.block(a, b);
        self.block(b, a);
    }

    /// When anything happens next, if nobody acts.
    pub fn next_arrival(&self) -> Option<i64> {
        let mut next = None;
        let mut note = |at: i64| next = Some(next.map_or(at, |next: i64| next.min(at)));
        for (_, wire) in &self.wires {
            match wire.phase {
                Phase::Dialing(at) if !self.is_cut(wire) => note(at),
                _ => {}
            }
            for (i, end) in wire.ends.iter().enumerate() {
                if let Some((at, _)) = end.coming.front()
                    && !self.is_blocked(wire, i)
                {
                    note(*at);
                }
            }
        }
        next
    }

    /// Brings what is due; answers the connections that servers must accept.
    pub fn deliver(&mut self) -> Vec<(usize, usize)> {
        self.wires.retain(|_, wire| wire.ends.iter().any(|end| end.held));
        let mut accepted = Vec::new();
        let (now, blocked) = (self.now, &self.blocked);
        for (i, wire) in &mut self.wires {
            let comes = match wire.servers() {
                Some([a, b]) => [!blocked[b][a], !blocked[a][b]],
                None => [true, true],
            };
            if let Phase::Dialing(at) = wire.phase {
                let Party::Server(to) = wire.ends[1].party else { continue };
                if at > now || wire.ends[0].dropped || comes != [true, true] {
                    continue;
                }
                wire.ends[0].writable = true;
                if self.up[to] {
                    wire.phase = Phase::Open;
                    accepted.push((to, i));
                } else {
                    wire.phase = Phase::Refused;
                    wire.ends[1].dropped = true;
                }
            }
            for (end, _) in wire.ends.iter_mut().zip(comes).filter(|(_, comes)| *comes) {
                while end.coming.front().is_some_and(|(at, _)| *at <= now) {
                    end.readable = true;
                    match end.coming.pop_front().expect("looked at").1 {
                        Parcel::Bytes(bytes) => end.inbox.extend(bytes),
                        Parcel::Fin => end.ended = true,
                        Parcel::Reset => end.broken = true,
                    }
                }
            }
            for side in 0..2 {
                if wire.ends[side].wants_room && wire.ends[1 - side].room() > 0 {
                    wire.ends[side].wants_room = false;
                    wire.ends[side].writable = true;
                }
                let end = &wire.ends[side];
                if let Party::Server(server) = end.party {
                    self.stirred[server] |= !end.dropped && (end.readable || end.writable);
                }
            }
        }
        accepted
    }

    /// What has happened at a server's ends since it was asked last.
    pub fn take_events(&mut self, server: usize) -> Vec<Event> {
        let mut events = Vec::new();
        if !std::mem::take(&mut self.stirred[server]) {
            return events;
        }
        for (_, wire) in &mut self.wires {
            for side in 0..2 {
                let room = wire.phase == Phase::Open && wire.ends[1 - side].room() > 0;
                let end = &mut wire.ends[side];
                let Some(token) = end.token.filter(|_| end.party == Party::Server(server)) else {
                    continue;
                };
                if !end.dropped && (end.readable || end.writable) {
                    let closed = end.ended || end.broken;
                    let writable = end.writable || room;
                    events.push(Event::of_virtual(token, end.readable, writable, closed));
                    (end.readable, end.writable) = (false, false);
                }
            }
        }
        events
    }

    /// What is in the inbox of a server's client.
    pub fn inbox(&self, server: usize, token: usize) -> Vec<u8> {
        let ends = self.wires.iter().flat_map(|(_, wire)| &wire.ends);
        let mine =
            |e: &&End| e.party == Party::Server(server) && e.token == Some(token) && !e.dropped;
        ends.filter(mine).flat_map(|e| e.inbox.iter().copied()).collect()
    }

    /// Breaks one wire between two servers, for both or only for one of them; answers between which, if there was one.
    pub fn cut_one(&mut self) -> Option<[usize; 2]> {
        let is_open = |wire: &Wire| {
            wire.phase == Phase::Open
                && !self.is_cut(wire)
                && wire.ends.iter().all(|end| !end.dropped)
        };
        let open = self.wires.iter().filter(|(_, wire)| is_open(wire));
        let open: Vec<(usize, [usize; 2])> =
            open.filter_map(|(i, wire)| Some((i, wire.servers()?))).collect();
        if open.is_empty() {
            return None;
        }
        let (wire, servers) = open[self.rng.random_range(0..open.len())];
        let side = self.rng.random_range(0..3);
        let now = self.now;
        for (i, end) in self.wires[wire].ends.iter_mut().enumerate() {
            if side != i {
                end.coming.clear();
                end.coming.push_back((now, Parcel::Reset));
            }
        }
        Some(servers)
    }

    /// A server is gone: its wires break, for the others after a while.
    pub fn crash(&mut self, server: usize) {
        self.up[server] = false;
        for (_, wire) in &mut self.wires {
            for side in 0..2 {
                // Who is being called has no end yet: perhaps it is up again before the call arrives.
                let called = side == 1 && matches!(wire.phase, Phase::Dialing(_));
                if wire.ends[side].party == Party::Server(server) && !called {
                    wire.ends[side].dropped = true;
                    wire.ends[1 - side].coming.push_back((self.now + wire.latency, Parcel::Reset));
                }
            }
        }
    }

    /// Heals all partitions.
    pub fn heal(&mut self) {
        self.blocked.iter_mut().for_each(|to| to.fill(false));
    }
}

/// One end of a wire, as its holder has it.
#[derive(Debug)]
pub struct Plug {
    network: SharedNetwork,
    wire: usize,
    side: usize,
}

impl Plug {
    /// Connects a client of the simulation to a server.
    pub fn connect(network: &SharedNetwork, to: usize) -> Plug {
        let wire = network.borrow_mut().connect(Party::Client, to, PORT);
        Plug::new(network, wire, 0)
    }

    fn new(network: &SharedNetwork, wire: usize, side: usize) -> Plug {
        network.borrow_mut().wires[wire].ends[side].held = true;
        Plug { network: Rc::clone(network), wire, side }
    }

    /// The server's end of a wire that was dialed.
    pub fn accept(network: &SharedNetwork, wire: usize) -> Plug {
        Plug::new(network, wire, 1)
    }

    /// Whether it has been established that nothing will come any more.
    pub fn is_dead(&self) -> bool {
        let network = self.network.borrow();
        let wire = &network.wires[self.wire];
        let end = &wire.ends[self.side];
        wire.phase == Phase::Refused || end.broken || end.ended
    }
}

impl VirtualStream for Plug {
    fn attach(&mut self, token: usize) {
        let network = &mut *self.network.borrow_mut();
        let end = &mut network.wires[self.wire].ends[self.side];
        end.token = Some(token);
        end.readable |= !end.inbox.is_empty();
        if let Party::Server(server) = end.party {
            network.stirred[server] = true;
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut network = self.network.borrow_mut();
        let end = &mut network.wires[self.wire].ends[self.side];
        if end.broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if end.inbox.is_empty() {
            return if end.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        end.inbox.read(buf)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut network = self.network.borrow_mut();
        let now = network.now;
        let cut: f64 = network.rng.random();
        let piece = network.rng.random_range(1..=bytes.len().max(1));
        let wire = &mut network.wires[self.wire];
        if wire.ends[self.side].broken || wire.phase == Phase::Refused {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if matches!(wire.phase, Phase::Dialing(_)) && self.side == 0 {
            return Err(ErrorKind::NotConnected.into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let latency = wire.latency;
        let there = &wire.ends[1 - self.side];
        let mut n = bytes.len().min(there.room());
        if n > 0 && cut < 0.1 {
            n = n.min(piece);
        }
        if n < bytes.len() {
            wire.ends[self.side].wants_room = true;
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        if wire.ends[1 - self.side].dropped {
            return Ok(n);
        }
        // In one piece or in two: the reader may see a request split anywhere.
        let split = if cut > 0.8 { piece.min(n) } else { n };
        let jitter = network.rng.random_range(0..latency);
        let there = &mut network.wires[self.wire].ends[1 - self.side];
        let last = there.coming.back().map_or(0, |(at, _)| *at);
        let at = (now + latency + jitter).max(last);
        there.coming.push_back((at, Parcel::Bytes(bytes[..split].to_vec())));
        if split < n {
            there.coming.push_back((at + jitter, Parcel::Bytes(bytes[split..n].to_vec())));
        }
        Ok(n)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        let refused = self.network.borrow().wires[self.wire].phase == Phase::Refused;
        Ok(refused.then(|| ErrorKind::ConnectionRefused.into()))
    }

    fn peer(&self) -> SocketAddr {
        address(self.network.borrow().wires[self.wire].ends[1 - self.side].party, self.wire)
    }

    fn local(&self) -> SocketAddr {
        address(self.network.borrow().wires[self.wire].ends[self.side].party, self.wire)
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let mut network = self.network.borrow_mut();
        let now = network.now;
        let wire = &mut network.wires[self.wire];
        wire.ends[self.side].held = false;
        if std::mem::replace(&mut wire.ends[self.side].dropped, true) {
            return;
        }
        let latency = wire.latency;
        let there = &mut wire.ends[1 - self.side];
        let last = there.coming.back().map_or(0, |(at, _)| *at);
        there.coming.push_back(((now + latency).max(last), Parcel::Fin));
    }
}

/// Servers are 10.0.0.N:6379.
fn address(party: Party, wire: usize) -> SocketAddr {
    let (host, port) = match party {
        Party::Server(n) => (n as u8, PORT),
        Party::Client => (200, 10_000 + (wire % 50_000) as u16),
    };
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port)
}

/// The name by which the others reach a server.
pub fn host(server: usize) -> String {
    format!("10.0.0.{server}")
}

/// Connects one server with the others.
pub struct Exchange {
    pub network: SharedNetwork,
    pub server: usize,
}

impl Dialer for Exchange {
    fn dial(&mut self, host: &str, port: u16) -> io::Result<Box<dyn VirtualStream>> {
        let to = host.rsplit('.').next().and_then(|n| n.parse().ok());
        let to = to.ok_or(ErrorKind::AddrNotAvailable)?;
        let wire = self.network.borrow_mut().connect(Party::Server(self.server), to, port);
        Ok(Box::new(Plug::new(&self.network, wire, 0)))
    }
}
