//! What must hold: about every resynchronisation, about buffers in every turn, about the data at quiet points.

use crate::group::Group;
use crate::network::SharedNetwork;
use aeolis::server::Server;
use aeolis::server::client::ClientFlags;
use aeolis::server::links::NO_ID;
use aeolis::server::turn::Event;
use std::collections::{BTreeSet, HashSet};

/// What an output may exceed its limit by: one read's worth of replies, and a piece of a snapshot.
const SLACK: usize = 512 * 1024;

/// What is known of one server's backlog, from outside.
#[derive(Clone, Debug, Default)]
struct Backlog {
    id: String,
    /// Where the kept stream began when it was first seen, and its end then.
    since: Option<u64>,
    end: u64,
}

/// Watches one group.
#[derive(Debug)]
pub struct Checks {
    backlogs: Vec<Backlog>,
    /// What the present event must lead to, if it carries a `PSYNC`: the partial resynchronisations so far.
    expected: Option<u64>,
    pub partial: u64,
    pub full: u64,
}

impl Checks {
    pub fn new(servers: usize) -> Checks {
        Checks { backlogs: vec![Backlog::default(); servers], expected: None, partial: 0, full: 0 }
    }

    /// A server starts with nothing kept.
    pub fn forget(&mut self, i: usize) {
        self.backlogs[i] = Backlog::default();
    }

    /// Before and after a server handles an event: a replica that asks for what the backlog holds must get just that.
    pub fn around(
        &mut self,
        i: usize,
        network: &SharedNetwork,
        server: &Server,
        event: &Event,
        before: bool,
    ) {
        let Event::Client(event) = event else { return };
        if before {
            let asked = asked_for(&network.borrow().inbox(i, event.token));
            let is_follower = |t: usize| {
                server.clients().get(t).is_some_and(|c| {
                    !c.is_any(ClientFlags::MASTER | ClientFlags::HANDSHAKE | ClientFlags::SLAVE)
                })
            };
            // Nobody can be answered on a connection that is broken by now.
            let answerable = event.readable && !event.closed;
            let granted = asked.filter(|_| answerable && is_follower(event.token));
            let owed = granted.is_some_and(|(id, from)| self.must_continue(i, server, &id, from));
            self.expected = owed.then_some(server.stats().sync_partial_ok);
            (self.partial, self.full) = (
                self.partial - server.stats().sync_partial_ok,
                self.full - server.stats().sync_full,
            );
            return;
        }
        (self.partial, self.full) =
            (self.partial + server.stats().sync_partial_ok, self.full + server.stats().sync_full);
        if let Some(before) = self.expected.take() {
            assert!(
                server.stats().sync_partial_ok > before,
                "server {i} had the bytes that a replica asked for, and did not continue"
            );
        }
    }

    fn must_continue(&self, i: usize, server: &Server, id: &str, from: u64) -> bool {
        let repl = &server.replication();
        let same = id == repl.id()
            || (id == repl.second_id()
                && id != NO_ID
                && i64::try_from(from).is_ok_and(|from| from <= repl.second_offset()));
        let linked = !repl.is_replica() || repl.is_connected_to_primary();
        let offset = from.wrapping_sub(1);
        same && linked
            && self.backlogs[i].since.is_some_and(|since| offset >= since)
            && offset <= repl.offset()
            && repl.offset() - offset <= server.config().repl_backlog_size
    }

    /// After a turn.
    pub fn after_turn(&mut self, i: usize, server: &Server) {
        let backlog = &mut self.backlogs[i];
        let repl = &server.replication();
        match repl.stream() {
            // A whole data set from elsewhere: what was kept of the stream does not lead to it.
            _ if repl.is_syncing() => *backlog = Backlog::default(),
            None => *backlog = Backlog::default(),
            Some(stream) => {
                let continued = backlog.id == repl.id() || backlog.id == repl.second_id();
                if backlog.since.is_none() || !continued || stream.end() < backlog.end {
                    backlog.since = Some(stream.start());
                }
                backlog.id = repl.id().to_string();
                backlog.end = stream.end();
                assert_eq!(
                    stream.end(),
                    repl.offset(),
                    "the stream of server {i} ends at its offset"
                );
            }
        }
        for (_, client) in server.clients().iter() {
            let limit = server.config().client_output_buffer_limit[client.class()].hard as usize;
            let limit = limit.max(server.config().repl_backlog_size as usize);
            let held = client.output_bytes(server.replication().stream());
            assert!(
                held <= limit + SLACK || client.is(ClientFlags::CLOSE_ASAP),
                "server {i} holds {held} bytes for a client, more than {limit}"
            );
        }
    }

    /// At a quiet point all servers are the same.
    pub fn all_equal(group: &mut Group, primary: usize) {
        let servers = group.nodes.len();
        let digest = group.ask(primary, &["DEBUG", "DIGEST"]);
        let functions = group.ask(primary, &["FUNCTION", "DUMP"]);
        let (id, offset) = {
            let repl = &group.nodes[primary].up().replication();
            (repl.id().to_string(), repl.offset())
        };
        for i in 0..servers {
            let repl = &group.nodes[i].up().replication();
            assert_eq!((repl.id(), repl.offset()), (id.as_str(), offset), "server {i}'s place");
            let got = group.ask(i, &["DEBUG", "DIGEST"]);
            if got != digest {
                differences(group, primary, i);
            }
            let got = group.ask(i, &["FUNCTION", "DUMP"]);
            assert_eq!(got, functions, "server {i}'s functions");
        }
    }

    /// The markers must be on a server.
    pub fn has_markers<'a>(server: &Server, markers: impl Iterator<Item = &'a str>, who: &str) {
        let keys: HashSet<&[u8]> = server.keyspace().dbs[0].table.iter().map(|e| e.key()).collect();
        for marker in markers {
            let kept = keys.contains(marker.as_bytes());
            assert!(kept, "{who} has lost {marker}, which was acknowledged");
        }
    }

    /// Whether a marker is on a server.
    pub fn has_marker(server: &Server, marker: &str) -> bool {
        server.keyspace().dbs[0].table.iter().any(|entry| entry.key() == marker.as_bytes())
    }
}

/// Says what differs, and ends.
fn differences(group: &mut Group, primary: usize, other: usize) -> ! {
    let mut text = String::new();
    for db in 0..group.nodes[primary].up().keyspace().dbs.len() {
        let keys = |i: usize| {
            group.nodes[i].up().keyspace().dbs[db].table.iter().map(|e| e.key().to_vec())
        };
        let all: BTreeSet<Vec<u8>> = keys(primary).chain(keys(other)).collect();
        for key in all {
            let name = String::from_utf8_lossy(&key).into_owned();
            let [here, there] = [primary, other].map(|i| group.digest_of(i, db, &name));
            if here != there {
                let [here, there] = [primary, other].map(|i| {
                    let mut entries = group.nodes[i].up().keyspace().dbs[db].table.iter();
                    let found = entries.find(|e| e.key() == key);
                    found.map(|e| format!("expires {:?}: {:.1000?}", e.expire(), e.value()))
                });
                text += &format!("  {name} in db {db}:\n    {here:?}\n    {there:?}\n");
            }
        }
    }
    let shown: Vec<&str> = text.lines().take(9).collect();
    panic!("servers {primary} and {other} differ:\n{}", shown.join("\n"));
}

/// The history and offset of the `PSYNC` in what a connection has brought.
fn asked_for(inbox: &[u8]) -> Option<(String, u64)> {
    let text = String::from_utf8_lossy(inbox);
    let (_, rest) = text.split_once("$5\r\nPSYNC\r\n")?;
    let mut lines = rest.split("\r\n");
    let id = lines.nth(1)?.to_string();
    let from = lines.nth(1)?.parse().ok()?;
    rest.ends_with("\r\n").then_some((id, from))
}
