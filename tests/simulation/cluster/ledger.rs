//! Which of the clients' writes must not be lost, and what is known of those who hold them.
//!
//! A write counts from when a replica has confirmed it; while nothing goes wrong, from when it was answered. It may be
//! lost when all who held it were disturbed: crashed, stopped, or cut off from anybody, if only for a moment. Whoever
//! takes a slot over is looked at in that moment, and everything at the next quiet point, from which on nobody counts
//! as disturbed.

use super::client::Append;
use super::tags::{TAGS, key, slot};
use crate::group::Group;
use aeolis::ds::quicklist::Element;
use aeolis::server::Server;
use aeolis::value::ValueRef;
use std::collections::BTreeSet;

/// See the module.
pub struct Ledger {
    clients: usize,
    /// By tag and client: the numbers that must be there.
    kept: Vec<BTreeSet<i64>>,
    pub disturbed: Vec<bool>,
    /// Servers that an operator had take their primaries' places without asking these.
    pub forced: Vec<bool>,
    /// How many writes were given up as all who held them were disturbed.
    pub excused: usize,
}

impl Ledger {
    pub fn new(servers: usize, clients: usize) -> Ledger {
        Ledger {
            clients,
            kept: vec![BTreeSet::new(); TAGS * clients],
            disturbed: vec![false; servers],
            forced: vec![false; servers],
            excused: 0,
        }
    }

    fn keys(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let clients = self.clients;
        (0..TAGS).flat_map(move |tag| (0..clients).map(move |client| (tag, client)))
    }

    fn kept(&mut self, tag: usize, client: usize) -> &mut BTreeSet<i64> {
        &mut self.kept[tag * self.clients + client]
    }

    /// How many writes must be there.
    pub fn len(&self) -> usize {
        self.kept.iter().map(BTreeSet::len).sum()
    }

    /// A write counts from now on, unless whoever took it was deposed by then. `must_count`: nobody can have been.
    pub fn note(&mut self, group: &Group, append: Append, must_count: bool) {
        let Append { client, tag, number, server } = append;
        let is_held = self.last_of_holders(group, tag, client) >= number;
        // Its replicas may still have what the one before took.
        let owner = newest_owner(group, slot(tag));
        let of_owner = owner.map_or(0, |owner| last(owner, tag, client));
        let owner_has = of_owner == 0 || of_owner >= number;
        if is_held && owner_has {
            self.kept(tag, client).insert(number);
        } else {
            let key = key(tag, client);
            assert!(!must_count, "server {server} took {number} for {key}, which is not its own");
        }
    }

    /// The last number of a key on servers that were not disturbed and that have it rightfully.
    fn last_of_holders(&self, group: &Group, tag: usize, client: usize) -> i64 {
        let slot = slot(tag);
        let newest = group.running().filter_map(|(_, server)| claim(server, slot)).max();
        // Who has a slot imported has a key only if its owner has not.
        let owner = newest_owner(group, slot);
        let is_at_owner = owner.is_some_and(|owner| last(owner, tag, client) > 0);
        let holders = group.running().filter(|(i, server)| {
            let cluster = server.cluster().expect("a node");
            let owns = cluster.shard_owns(slot) && claim(server, slot) == newest;
            let imports = !is_at_owner && cluster.importing_from(slot).is_some();
            !self.disturbed[*i] && (owns || imports)
        });
        holders.map(|(_, server)| last(server, tag, client)).max().unwrap_or(0)
    }

    /// Something has happened to a server, or is about to.
    pub fn disturb(&mut self, group: &Group, server: usize) {
        if std::mem::replace(&mut self.disturbed[server], true) {
            return;
        }
        for (tag, client) in self.keys() {
            if !self.kept(tag, client).is_empty() {
                let last = self.last_of_holders(group, tag, client);
                self.excuse_beyond(tag, client, last);
            }
        }
    }

    fn excuse_beyond(&mut self, tag: usize, client: usize, last: i64) {
        let excused = self.kept(tag, client).split_off(&(last + 1));
        self.excused += excused.len();
    }

    /// A server has no data any more, and is about to serve its slots.
    pub fn lose(&mut self, slots: impl Fn(u16) -> bool) {
        for (tag, client) in self.keys() {
            if slots(slot(tag)) {
                self.excuse_beyond(tag, client, 0);
            }
        }
    }

    /// A server has taken a slot over: it must have what others could have given it.
    pub fn taken_over(&mut self, group: &Group, taker: usize, tag: usize) {
        let slot = slot(tag);
        let is_open = group.running().any(|(_, server)| {
            let cluster = server.cluster().expect("a node");
            cluster.importing_from(slot).is_some() || cluster.migrating_to(slot).is_some()
        });
        for client in 0..self.clients {
            let has = last(group.nodes[taker].up(), tag, client);
            let Some(&missing) = self.kept(tag, client).range(has + 1..).next() else { continue };
            let fit = |(i, server): &(usize, &Server)| {
                !self.disturbed[*i] && *i != taker && last(server, tag, client) >= missing
            };
            let holder = group.running().find(fit).map(|(i, _)| i);
            // A key on its way is with one of two, who don't wait for their replicas to know.
            let is_excused = self.forced[taker] || is_open || holder.is_none();
            let key = key(tag, client);
            assert!(
                is_excused,
                "server {taker} takes slot {slot} over without {missing} of {key}, which server {holder:?} has"
            );
            self.excuse_beyond(tag, client, has);
        }
    }

    /// All is quiet, and these are the owners of the tags' slots.
    pub fn check(&mut self, group: &Group, owner: impl Fn(u16) -> usize) {
        for (tag, client) in self.keys() {
            let (owner, key) = (owner(slot(tag)), key(tag, client));
            let numbers = numbers(group.nodes[owner].up(), tag, client);
            // What a client has given up may come late: a server that stood still reads its new connection first.
            let kept = self.kept(tag, client);
            let confirmed = numbers.iter().filter(|number| kept.contains(number));
            assert!(confirmed.is_sorted(), "{key} on server {owner}: {numbers:?}");
            let there = BTreeSet::from_iter(numbers.iter().copied());
            assert!(there.len() == numbers.len(), "{key} on server {owner} twice: {numbers:?}");
            let lost: Vec<_> = self.kept(tag, client).difference(&there).copied().collect();
            assert!(lost.is_empty(), "server {owner} has lost {lost:?} of {key}");
            // All replicas have them now.
            *self.kept(tag, client) = there;
        }
        self.disturbed.fill(false);
        self.forced.fill(false);
    }
}

/// The server that owns a slot under the newest epoch, if it is up.
fn newest_owner(group: &Group, slot: u16) -> Option<&Server> {
    let newest = group.running().filter_map(|(_, server)| claim(server, slot)).max();
    let mut all = group.running().map(|(_, server)| server);
    all.find(|server| {
        server.cluster().is_some_and(|c| c.owns(slot)) && claim(server, slot) == newest
    })
}

/// The epoch under which a slot's owner has it, as a server sees it.
fn claim(server: &Server, slot: u16) -> Option<u64> {
    server.cluster()?.slot_owner(slot).map(|owner| owner.config_epoch())
}

fn value(server: &Server, tag: usize, client: usize) -> Option<ValueRef<'_>> {
    let (ks, key) = (server.keyspace(), key(tag, client));
    ks.dbs[0].table.get(ks.hash(key.as_bytes()), key.as_bytes()).map(|entry| entry.value())
}

/// The last number of a key on a server; 0: it has none.
fn last(server: &Server, tag: usize, client: usize) -> i64 {
    match value(server, tag, client) {
        None => 0,
        Some(ValueRef::List(list)) => match list.get(-1) {
            Some(Element::Int(number)) => number,
            other => panic!("no number: {other:?}"),
        },
        Some(other) => panic!("no list: {other:?}"),
    }
}

fn numbers(server: &Server, tag: usize, client: usize) -> Vec<i64> {
    let Some(ValueRef::List(list)) = value(server, tag, client) else { return Vec::new() };
    let number = |bytes| String::from_utf8(bytes).expect("digits").parse().expect("a number");
    list.to_vecs().into_iter().map(number).collect()
}
