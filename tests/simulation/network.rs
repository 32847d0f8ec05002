//! Wires between servers and clients: bytes take their time, come in pieces, wait where the reader is slow, and are
//! lost with the wire.

use aeolis::server::connection::{Dialer, VirtualStream};
use aeolis::server::turn::ClientEvent;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

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
    /// Microseconds that bytes travel, about.
    latency: i64,
}

/// All wires.
#[derive(Debug)]
pub struct Network {
    wires: Vec<Wire>,
    rng: SmallRng,
    pub now: i64,
    /// Servers that answer.
    pub up: Vec<bool>,
    /// Pairs of servers between which nothing travels at present.
    pub partitions: Vec<(usize, usize)>,
    /// How many bytes a wire between servers holds, at least and at most.
    pub capacity: (usize, usize),
}

pub type SharedNetwork = Rc<RefCell<Network>>;

impl Network {
    pub fn new(seed: u64, servers: usize) -> SharedNetwork {
        let rng = SmallRng::seed_from_u64(seed);
        Rc::new(RefCell::new(Network {
            wires: Vec::new(),
            rng,
            now: 0,
            up: vec![false; servers],
            partitions: Vec::new(),
            capacity: (4096, 65536),
        }))
    }

    fn connect(&mut self, from: Party, to: usize) -> usize {
        let latency = self.rng.random_range(20..2000);
        let (least, most) = self.capacity;
        let mut end = |party| End::new(party, self.rng.random_range(least..=most));
        let ends = [end(from), end(Party::Server(to))];
        let phase = Phase::Dialing(self.now + latency);
        self.wires.push(Wire { ends, phase, latency });
        self.wires.len() - 1
    }

    fn is_cut(&self, wire: usize) -> bool {
        let [a, b] = [0, 1].map(|end| self.wires[wire].ends[end].party);
        match (a, b) {
            (Party::Server(a), Party::Server(b)) => {
                self.partitions.contains(&(a, b)) || self.partitions.contains(&(b, a))
            }
            _ => false,
        }
    }

    /// When anything happens next, if nobody acts.
    pub fn next_arrival(&self) -> Option<i64> {
        let wires = self.wires.iter().enumerate().filter(|(i, _)| !self.is_cut(*i));
        wires
            .flat_map(|(_, wire)| {
                let dialing = match wire.phase {
                    Phase::Dialing(at) => Some(at),
                    _ => None,
                };
                wire.ends.iter().filter_map(|e| e.coming.front().map(|(at, _)| *at)).chain(dialing)
            })
            .min()
    }

    /// Brings what is due; answers the connections that servers must accept.
    pub fn deliver(&mut self) -> Vec<(usize, usize)> {
        let mut accepted = Vec::new();
        for i in 0..self.wires.len() {
            if self.is_cut(i) {
                continue;
            }
            let now = self.now;
            let wire = &mut self.wires[i];
            if let Phase::Dialing(at) = wire.phase {
                let Party::Server(to) = wire.ends[1].party else { continue };
                if at > now || wire.ends[0].dropped {
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
            for end in &mut wire.ends {
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
            }
        }
        self.wires_forgotten();
        accepted
    }

    /// Wires that nobody holds need no look any more; indexes of others must not change.
    fn wires_forgotten(&mut self) {
        while self.wires.last().is_some_and(|w| w.ends.iter().all(|e| e.dropped)) {
            self.wires.pop();
        }
    }

    /// What has happened at a server's ends since it was asked last.
    pub fn take_events(&mut self, server: usize) -> Vec<ClientEvent> {
        let mut events = Vec::new();
        for wire in &mut self.wires {
            for side in 0..2 {
                let room = wire.phase == Phase::Open && wire.ends[1 - side].room() > 0;
                let end = &mut wire.ends[side];
                let Some(token) = end.token.filter(|_| end.party == Party::Server(server)) else {
                    continue;
                };
                if !end.dropped && (end.readable || end.writable) {
                    events.push(ClientEvent {
                        token,
                        readable: end.readable,
                        writable: end.writable || room,
                        closed: end.ended || end.broken,
                    });
                    (end.readable, end.writable) = (false, false);
                }
            }
        }
        events
    }

    /// What is in the inbox of a server's client.
    pub fn inbox(&self, server: usize, token: usize) -> Vec<u8> {
        let ends = self.wires.iter().flat_map(|w| &w.ends);
        let mine =
            |e: &&End| e.party == Party::Server(server) && e.token == Some(token) && !e.dropped;
        ends.filter(mine).flat_map(|e| e.inbox.iter().copied()).collect()
    }

    /// Breaks one wire between two servers, for both or only for one of them; answers whether there was one.
    pub fn cut_one(&mut self) -> bool {
        let wires: Vec<usize> = (0..self.wires.len())
            .filter(|i| {
                let wire = &self.wires[*i];
                wire.phase == Phase::Open
                    && !self.is_cut(*i)
                    && wire.ends.iter().all(|e| matches!(e.party, Party::Server(_)) && !e.dropped)
            })
            .collect();
        if wires.is_empty() {
            return false;
        }
        let wire = wires[self.rng.random_range(0..wires.len())];
        let side = self.rng.random_range(0..3);
        let now = self.now;
        for (i, end) in self.wires[wire].ends.iter_mut().enumerate() {
            if side != i {
                end.coming.clear();
                end.coming.push_back((now, Parcel::Reset));
            }
        }
        true
    }

    /// A server is gone: its wires break, for the others after a while.
    pub fn crash(&mut self, server: usize) {
        self.up[server] = false;
        for wire in &mut self.wires {
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
        self.partitions.clear();
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
        let wire = network.borrow_mut().connect(Party::Client, to);
        Plug { network: Rc::clone(network), wire, side: 0 }
    }

    /// The server's end of a wire that was dialed.
    pub fn accept(network: &SharedNetwork, wire: usize) -> Plug {
        Plug { network: Rc::clone(network), wire, side: 1 }
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
        let mut network = self.network.borrow_mut();
        let end = &mut network.wires[self.wire].ends[self.side];
        end.token = Some(token);
        end.readable |= !end.inbox.is_empty();
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
        let n = buf.len().min(end.inbox.len());
        for (to, from) in buf.iter_mut().zip(end.inbox.drain(..n)) {
            *to = from;
        }
        Ok(n)
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
        wire.ends[self.side].dropped = true;
        let latency = wire.latency;
        let there = &mut wire.ends[1 - self.side];
        let last = there.coming.back().map_or(0, |(at, _)| *at);
        there.coming.push_back(((now + latency).max(last), Parcel::Fin));
    }
}

/// Servers are 10.0.0.N:6379.
fn address(party: Party, wire: usize) -> SocketAddr {
    let (host, port) = match party {
        Party::Server(n) => (n as u8, 6379),
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
    fn dial(&mut self, host: &str, _port: u16) -> io::Result<Box<dyn VirtualStream>> {
        let to = host.rsplit('.').next().and_then(|n| n.parse().ok());
        let to = to.ok_or(ErrorKind::AddrNotAvailable)?;
        let wire = self.network.borrow_mut().connect(Party::Server(self.server), to);
        Ok(Box::new(Plug { network: Rc::clone(&self.network), wire, side: 0 }))
    }
}
