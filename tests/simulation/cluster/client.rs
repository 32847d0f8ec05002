//! A client of the cluster: it appends numbers to lists, follows redirections, and waits for a replica to have what it
//! wrote.
//!
//! A number is never sent twice unless a server has said that it did not take it. So each list grows strictly, whatever
//! happens to the cluster.

use super::tags::{TAGS, key};
use crate::group::Group;
use crate::line::Line;
use crate::network::SharedNetwork;
use crate::resp::integer;
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::VecDeque;

/// How long a client waits for an answer before it gives up, in microseconds.
const PATIENCE: i64 = 1_500_000;
/// How often it is sent on before it gives up.
const MOST_HOPS: u32 = 16;
/// The errors that a cluster in trouble may answer. Anything else is a fault.
const EXCUSES: &[&str] = &[
    "-CLUSTERDOWN ",
    "-LOADING ",
    "-UNBLOCKED ",
    "-ERR WAIT cannot be used with replica instances.",
];

/// What a client has appended.
#[derive(Clone, Copy, Debug)]
pub struct Append {
    pub client: usize,
    pub tag: usize,
    pub number: i64,
    pub server: usize,
}

/// What a client has learnt.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// The server says that it took it.
    Written(Append),
    /// At least one replica has it.
    Confirmed(Append),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Asking,
    Append,
    Wait,
}

pub struct Client {
    number: usize,
    line: Option<Line>,
    append: Append,
    awaited: VecDeque<Awaited>,
    /// Whether the server has taken the number.
    is_taken: bool,
    /// Where it is sent, and whether with `ASKING`.
    redirection: Option<(usize, bool)>,
    hops: u32,
    since: i64,
    pub next_at: i64,
    /// What it writes to then, if that is not left to chance.
    next_tag: Option<usize>,
    /// Which server has which tag, as it was told last.
    map: [usize; TAGS],
    last_number: i64,
    /// How many numbers were confirmed.
    pub confirmed: u64,
}

impl Client {
    pub fn new(number: usize) -> Client {
        let append = Append { client: number, tag: 0, number: 0, server: 0 };
        Client {
            number,
            line: None,
            append,
            awaited: VecDeque::new(),
            is_taken: false,
            redirection: None,
            hops: 0,
            since: 0,
            next_at: 0,
            next_tag: None,
            map: [0; TAGS],
            last_number: 0,
            confirmed: 0,
        }
    }

    /// Goes away, as clients do.
    pub fn disconnect(&mut self) {
        self.line = None;
        self.awaited.clear();
        self.redirection = None;
    }

    /// Writes to a tag next, and at once if it waits for nothing.
    pub fn hurry(&mut self, tag: usize, now: i64) {
        (self.next_tag, self.next_at) = (Some(tag), now);
    }

    /// Whether it waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Reads answers, goes where it is sent, and begins something new if it `may` and its time has come.
    pub fn act(
        &mut self,
        network: &SharedNetwork,
        now: i64,
        servers: usize,
        may: bool,
        rng: &mut SmallRng,
    ) -> Vec<News> {
        let is_dead = self.line.as_ref().is_some_and(Line::is_dead);
        if is_dead || !self.is_idle() && now - self.since > PATIENCE {
            if !self.is_idle() {
                self.map[self.append.tag] = rng.random_range(0..servers);
            }
            self.disconnect();
        }
        let news = self.read(servers, rng);
        if self.is_idle()
            && let Some((server, asking)) = self.redirection.take()
        {
            self.hops += 1;
            if self.hops <= MOST_HOPS {
                self.request(network, server, asking);
            }
        } else if self.is_idle() && may && now >= self.next_at {
            self.last_number += 1;
            let tag = self.next_tag.take().unwrap_or_else(|| rng.random_range(0..TAGS));
            self.append = Append { client: self.number, tag, number: self.last_number, server: 0 };
            (self.hops, self.since) = (0, now);
            self.next_at = now + rng.random_range(5_000..60_000);
            self.request(network, self.map[tag], false);
        }
        if let Some(line) = &mut self.line {
            line.send();
        }
        news
    }

    fn request(&mut self, network: &SharedNetwork, server: usize, asking: bool) {
        let line = self.line.take().filter(|line| line.server == server);
        let mut line = line.unwrap_or_else(|| Line::connect(network, server));
        if asking {
            line.request(&["ASKING"]);
            self.awaited.push_back(Awaited::Asking);
        }
        self.append.server = server;
        self.is_taken = false;
        let key = key(self.append.tag, self.number);
        line.request(&["RPUSH", &key, &self.append.number.to_string()]);
        line.request(&["WAIT", "1", "300"]);
        self.awaited.extend([Awaited::Append, Awaited::Wait]);
        self.line = Some(line);
    }

    fn read(&mut self, servers: usize, rng: &mut SmallRng) -> Vec<News> {
        let mut news = Vec::new();
        let Some(line) = &mut self.line else { return news };
        for reply in line.replies() {
            let awaited = self.awaited.pop_front();
            match (awaited, integer(&reply)) {
                (Some(Awaited::Asking), _) if reply == b"+OK\r\n" => {}
                (Some(Awaited::Append), Some(_)) => {
                    self.is_taken = true;
                    news.push(News::Written(self.append));
                }
                (Some(Awaited::Wait), Some(replicas)) => {
                    if replicas >= 1 && self.is_taken {
                        self.confirmed += 1;
                        news.push(News::Confirmed(self.append));
                    }
                }
                (Some(_), None) => {
                    let text = String::from_utf8_lossy(&reply).into_owned();
                    if let Some((server, asking)) = destination(&text) {
                        if !asking {
                            self.map[self.append.tag] = server;
                        }
                        self.redirection = Some((server, asking));
                    } else {
                        let is_excused = EXCUSES.iter().any(|excuse| text.starts_with(excuse));
                        assert!(is_excused, "a client is told {text}");
                        self.map[self.append.tag] = rng.random_range(0..servers);
                    }
                }
                (Some(Awaited::Asking), _) | (None, _) => {
                    panic!("an answer to no request: {}", reply.escape_ascii())
                }
            }
        }
        news
    }
}

/// Where an error sends a client, and whether with `ASKING`.
pub fn destination(error: &str) -> Option<(usize, bool)> {
    let mut words = error.trim_end().split(' ');
    let asking = match words.next()? {
        "-MOVED" => false,
        "-ASK" => true,
        _ => return None,
    };
    let (host, _) = words.nth(1)?.rsplit_once(':')?;
    let server = host.rsplit_once('.').and_then(|(_, server)| server.parse().ok());
    Some((server.unwrap_or_else(|| panic!("a client is sent to {host:?}")), asking))
}

/// Follows redirections from a server on, each at once; answers who has the key in the end.
pub fn find(group: &mut Group, from: usize, key: &str) -> usize {
    let mut at = from;
    for _ in 0..3 {
        let answer = group.ask(at, &["LLEN", key]);
        match destination(&String::from_utf8_lossy(&answer)) {
            Some((next, false)) => at = next,
            _ if answer.starts_with(b":") => return at,
            _ => panic!("server {at} answers about {key}: {}", answer.escape_ascii()),
        }
    }
    panic!("nobody has {key}, asked from server {from} on: sent to {at} in the end");
}
