//! Client-side caching (`CLIENT TRACKING`): who may hold which keys in a cache of its own, and hears when they change.
//!
//! By default the server remembers the keys that a tracking client reads, and forgets them when it has told the client
//! of a change. In broadcasting mode it remembers nothing: the client names prefixes, and hears of every change below
//! them, once in a turn of the loop.

use super::Server;
use super::client::{Client, ClientFlags, Token};
use crate::resp::reply::{Protocol, Reply};
use crate::server::output;
use crate::server::table::CommandId;
use crate::server::transaction;
use crate::spec::keys::get_keys_from_command;
use bitflags::bitflags;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;

/// Where clients of RESP2, which knows no pushes, hear of changes.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys forgotten at once where the table is too large; more if it is so again and again.
const EFFORT: usize = 100;

/// What a prefix takes beside its name, in bytes: its places in the client's set and in the server's.
const PREFIX_COST: usize = 2 * size_of::<Box<[u8]>>();

/// A client, as it can be found again: its token, and its id lest the token be another's by now.
type Noted = (Token, u64);

bitflags! {
    /// The options of `CLIENT TRACKING`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct TrackingOptions: u8 {
        const BCAST = 1 << 0;
        /// Only keys of commands behind `CLIENT CACHING YES` are remembered.
        const OPTIN = 1 << 1;
        /// Keys of commands behind `CLIENT CACHING NO` are not remembered.
        const OPTOUT = 1 << 2;
        /// The client does not hear of its own changes.
        const NOLOOP = 1 << 3;
    }
}

/// What a tracking client wants.
#[derive(Debug, Default)]
pub struct ClientTracking {
    pub options: TrackingOptions,
    /// `CLIENT CACHING` came, for the next command or transaction.
    pub caching: bool,
    /// Who is told in its place.
    pub redirect: Option<Noted>,
    /// The client that was to be told has gone.
    pub broken_redirect: bool,
    /// What it hears of in broadcasting mode.
    pub prefixes: BTreeSet<Box<[u8]>>,
}

impl ClientTracking {
    /// Memory held, in bytes, the names of the prefixes not counted.
    pub fn memory(&self) -> usize {
        size_of::<ClientTracking>() + self.prefixes.len() * PREFIX_COST
    }
}

impl Client {
    /// The id of the client that invalidations go to: 0 for none, -1 without tracking.
    pub fn redirect_id(&self) -> i64 {
        match &self.tracking {
            None => -1,
            Some(tracking) => tracking.redirect.map_or(0, |(_, id)| id as i64),
        }
    }
}

/// A prefix that somebody has named.
#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<Noted>,
    /// Keys that have changed in this turn of the loop, and who changed each last.
    changed: BTreeMap<Box<[u8]>, Option<Token>>,
}

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Tracking {
    keys: BTreeMap<Box<[u8]>, BTreeSet<Noted>>,
    prefixes: BTreeMap<Box<[u8]>, Prefix>,
    /// Clients that track.
    clients: usize,
    /// Clients of all keys.
    items: usize,
    /// The key forgotten last for want of room: the next one is behind it.
    forgotten: Box<[u8]>,
    /// How many times in a row there were too many keys after all effort.
    overruns: usize,
}

impl Tracking {
    pub fn clients(&self) -> usize {
        self.clients
    }

    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    pub fn items(&self) -> usize {
        self.items
    }

    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    fn remember(&mut self, key: &[u8], client: Noted) {
        let readers = match self.keys.get_mut(key) {
            Some(readers) => readers,
            None => self.keys.entry(key.into()).or_default(),
        };
        self.items += usize::from(readers.insert(client));
    }

    fn forget(&mut self, key: &[u8]) -> BTreeSet<Noted> {
        let readers = self.keys.remove(key).unwrap_or_default();
        self.items -= readers.len();
        readers
    }

    /// A key that has to go for want of room: they take turns.
    fn victim(&mut self) -> Option<Box<[u8]>> {
        let behind = (Bound::Excluded(&*self.forgotten), Bound::Unbounded);
        let next = self.keys.range::<[u8], _>(behind).next().or_else(|| self.keys.iter().next());
        self.forgotten = next.map(|(key, _)| key.clone())?;
        Some(self.forgotten.clone())
    }
}

/// What a client is told.
#[derive(Clone, Copy)]
enum Invalid<'a> {
    Keys(&'a [&'a [u8]]),
    Everything,
}

impl Invalid<'_> {
    fn write(self, reply: &mut Reply) {
        match self {
            Invalid::Keys(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
            Invalid::Everything => reply.null(),
        }
    }
}

/// Starts tracking for a client, or changes what it wants.
pub(crate) fn enable_tracking(
    server: &mut Server,
    token: Token,
    options: TrackingOptions,
    redirect: Option<Noted>,
    prefixes: &[&[u8]],
) {
    let client = &mut server.clients[token];
    let noted = (token, client.id);
    if client.tracking.is_none() {
        client.flags |= ClientFlags::TRACKING;
        server.tracking.clients += 1;
    }
    let tracking = client.tracking.get_or_insert_default();
    tracking.options = options;
    tracking.redirect = redirect;
    tracking.broken_redirect = false;
    if options.contains(TrackingOptions::BCAST) {
        let all: &[&[u8]] = &[b""];
        for &prefix in if prefixes.is_empty() { all } else { prefixes } {
            tracking.prefixes.insert(prefix.into());
            server.tracking.prefixes.entry(prefix.into()).or_default().clients.insert(noted);
        }
    }
    transaction::apply_key_watching(server);
}

/// Ends tracking for a client, if it tracks. That it has read keys is forgotten when they change.
pub(crate) fn disable_tracking(server: &mut Server, token: Token) {
    let client = &mut server.clients[token];
    let Some(tracking) = client.tracking.take() else { return };
    client.flags.remove(ClientFlags::TRACKING);
    let noted = (token, client.id);
    for name in tracking.prefixes {
        let Some(prefix) = server.tracking.prefixes.get_mut(&name) else { continue };
        prefix.clients.remove(&noted);
        if prefix.clients.is_empty() {
            server.tracking.prefixes.remove(&name);
        }
    }
    server.tracking.clients -= 1;
    transaction::apply_key_watching(server);
}

/// A tracking client has executed a command that reads: it may keep what it has read.
#[cold]
pub(crate) fn tracking_remember_keys(
    server: &mut Server,
    token: Token,
    command: CommandId,
    args: &[&[u8]],
) {
    let client = &server.clients[token];
    let Some(tracking) = &client.tracking else { return };
    let options = tracking.options;
    if options.contains(TrackingOptions::BCAST)
        || (options.contains(TrackingOptions::OPTIN) && !tracking.caching)
        || (options.contains(TrackingOptions::OPTOUT) && tracking.caching)
    {
        return;
    }
    let noted = (token, client.id);
    for key in get_keys_from_command(&server.commands.get(command).spec, args) {
        server.tracking.remember(args[key.pos], noted);
    }
}

/// A command is done: what `CLIENT CACHING` said holds for one command or transaction behind it.
#[cold]
pub(crate) fn tracking_command_done(server: &mut Server, token: Token) {
    let client = &mut server.clients[token];
    let about_client = client.last_command.is_some_and(|name| name.starts_with("client"));
    let in_transaction = client.is(ClientFlags::MULTI);
    if let Some(tracking) = &mut client.tracking
        && !about_client
        && !in_transaction
    {
        tracking.caching = false;
    }
}

/// A key has another value now, or none. `by`: who changed it, if a client did.
pub(crate) fn tracking_key_changed(server: &mut Server, key: &[u8], by: Option<Token>) {
    for (name, prefix) in &mut server.tracking.prefixes {
        if key.starts_with(name) {
            prefix.changed.insert(key.into(), by);
        }
    }
    tracking_invalidate_key(server, key);
}

/// Tells those who have read a key not to believe what they have.
fn tracking_invalidate_key(server: &mut Server, key: &[u8]) {
    for noted in server.tracking.forget(key) {
        let Some(token) = server.clients.find(noted) else { continue };
        let Some(tracking) = &server.clients[token].tracking else { continue };
        let own =
            tracking.options.contains(TrackingOptions::NOLOOP) && server.clients.is_in_turn(token);
        if !own && !tracking.options.contains(TrackingOptions::BCAST) {
            send_tracking_message(server, token, Invalid::Keys(&[key]));
        }
    }
}

/// Databases were emptied: whatever anybody has read is no longer so.
pub(crate) fn tracking_invalidate_everything(server: &mut Server) {
    server.tracking.keys.clear();
    server.tracking.items = 0;
    if server.tracking.clients == 0 {
        return;
    }
    let tracks = |(token, client): (Token, &Client)| client.tracking.is_some().then_some(token);
    for token in server.clients.iter().filter_map(tracks).collect::<Vec<_>>() {
        send_tracking_message(server, token, Invalid::Everything);
    }
}

/// Tells those in broadcasting mode what has changed in this turn of the loop.
pub(crate) fn tracking_broadcast(server: &mut Server) {
    let names: Vec<Box<[u8]>> = server.tracking.prefixes.keys().cloned().collect();
    for name in names {
        let Some(prefix) = server.tracking.prefixes.get_mut(&name) else { continue };
        if prefix.changed.is_empty() {
            continue;
        }
        let changed = mem::take(&mut prefix.changed);
        for noted in prefix.clients.clone() {
            let Some(token) = server.clients.find(noted) else { continue };
            let tracking = server.clients[token].tracking.as_ref();
            let no_loop = tracking.is_some_and(|t| t.options.contains(TrackingOptions::NOLOOP));
            let by_others = changed.iter().filter(|(_, by)| !no_loop || **by != Some(token));
            let keys: Vec<&[u8]> = by_others.map(|(key, _)| &**key).collect();
            if !keys.is_empty() {
                send_tracking_message(server, token, Invalid::Keys(&keys));
            }
        }
    }
}

/// Forgets keys while there are more than `tracking-table-max-keys`, as if they had changed.
pub(crate) fn tracking_limit_keys(server: &mut Server) {
    let most = server.config.tracking_table_max_keys as usize;
    if most == 0 || server.tracking.keys() <= most {
        server.tracking.overruns = 0;
        return;
    }
    for _ in 0..EFFORT * (server.tracking.overruns + 1) {
        let Some(key) = server.tracking.victim() else { return };
        tracking_invalidate_key(server, &key);
        if server.tracking.keys() <= most {
            server.tracking.overruns = 0;
            return;
        }
    }
    server.tracking.overruns += 1;
}

/// Tells a tracking client, or who is told in its place, what is no longer so.
fn send_tracking_message(server: &mut Server, token: Token, what: Invalid<'_>) {
    let redirect = server.clients[token].tracking.as_ref().and_then(|t| t.redirect);
    let Some(noted) = redirect else {
        if server.clients[token].protocol == Protocol::Resp3 {
            push_invalidation(server, token, what);
        }
        return;
    };
    match server.clients.find(noted) {
        Some(target) if server.clients[target].protocol == Protocol::Resp3 => {
            push_invalidation(server, target, what);
        }
        Some(target) if server.clients[target].is(ClientFlags::PUBSUB) => {
            let mut reply = Reply::new(Protocol::Resp2);
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
            what.write(&mut reply);
            output::push_to(server, target, Bytes::from(reply.take()));
        }
        // It could not tell the message from a reply.
        Some(_) => {}
        None => tell_broken_redirect(server, token, noted.1),
    }
}

fn push_invalidation(server: &mut Server, token: Token, what: Invalid<'_>) {
    let mut reply = Reply::new(Protocol::Resp3);
    reply.push(2);
    reply.bulk(b"invalidate");
    what.write(&mut reply);
    output::push_to(server, token, Bytes::from(reply.take()));
}

fn tell_broken_redirect(server: &mut Server, token: Token, gone: u64) {
    let client = &mut server.clients[token];
    if let Some(tracking) = &mut client.tracking {
        tracking.broken_redirect = true;
    }
    if client.protocol == Protocol::Resp3 {
        let mut reply = Reply::new(Protocol::Resp3);
        reply.push(2);
        reply.bulk(b"tracking-redir-broken");
        reply.int(gone as i64);
        output::push_to(server, token, Bytes::from(reply.take()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_forgotten_in_turns() {
        let mut tracking = Tracking::default();
        for (key, client) in [("a", 1), ("b", 1), ("b", 2), ("b", 2), ("c", 1)] {
            tracking.remember(key.as_bytes(), (client, client as u64));
        }
        assert_eq!((tracking.keys(), tracking.items()), (3, 4));
        let mut gone = Vec::new();
        while let Some(key) = tracking.victim() {
            tracking.forget(&key);
            gone.push(String::from_utf8_lossy(&key).into_owned());
            if gone.len() == 2 {
                tracking.remember(b"a", (1, 1));
            }
        }
        assert_eq!((gone.join(" "), tracking.items()), ("a b c a".to_string(), 0));
    }
}
