//! Client-side caching (`CLIENT TRACKING`): who may hold which keys in a cache of its own, and hears when they change.
//!
//! By default the server remembers the keys that a tracking client reads, and forgets them when it has told the client
//! of a change. In broadcasting mode it remembers nothing: the client names prefixes, and hears of every change below
//! them, once in a turn of the loop.

mod table;

pub use table::Tracking;

use super::Server;
use super::client::tracking::TrackingOptions;
use super::client::{Client, ClientFlags};
use super::token::{Noted, Token};
use crate::resp::reply::{Protocol, Reply};
use crate::server::output;
use crate::server::table::CommandId;
use crate::spec::keys::get_keys_from_command;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Where clients of RESP2, which knows no pushes, hear of changes.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// What clients are told, all of them by the same bytes.
struct Invalidation<'a> {
    /// The keys that are no longer what they were; `None`: all.
    keys: Option<&'a [&'a [u8]]>,
    pushed: Option<Bytes>,
    published: Option<Bytes>,
}

impl<'a> Invalidation<'a> {
    fn of(keys: &'a [&'a [u8]]) -> Invalidation<'a> {
        Invalidation { keys: Some(keys), pushed: None, published: None }
    }

    fn of_everything() -> Invalidation<'a> {
        Invalidation { keys: None, pushed: None, published: None }
    }

    /// As RESP3 has it.
    fn pushed(&mut self) -> Bytes {
        let encode = || {
            let mut reply = Reply::new(Protocol::Resp3);
            reply.push(2);
            reply.bulk(b"invalidate");
            write_keys(&mut reply, self.keys);
            Bytes::from(reply.take())
        };
        self.pushed.get_or_insert_with(encode).clone()
    }

    /// As a message on a channel, for clients of RESP2.
    fn published(&mut self) -> Bytes {
        let encode = || {
            let mut reply = Reply::new(Protocol::Resp2);
            reply.array(3);
            reply.bulk(b"message");
            reply.bulk(CHANNEL);
            write_keys(&mut reply, self.keys);
            Bytes::from(reply.take())
        };
        self.published.get_or_insert_with(encode).clone()
    }
}

fn write_keys(reply: &mut Reply, keys: Option<&[&[u8]]>) {
    let Some(keys) = keys else { return reply.null() };
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
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
        server.tracking.add_client();
    }
    let tracking = client.tracking.get_or_insert_default();
    tracking.options = options;
    tracking.redirect = redirect;
    tracking.broken_redirect = false;
    if options.contains(TrackingOptions::BCAST) {
        let all: &[&[u8]] = &[b""];
        for &prefix in if prefixes.is_empty() { all } else { prefixes } {
            tracking.prefixes.insert(prefix.into());
            server.tracking.add_prefix(prefix, noted);
        }
    }
    server.apply_key_watching();
}

/// Ends tracking for a client, if it tracks. That it has read keys is forgotten when they change.
pub(crate) fn disable_tracking(server: &mut Server, token: Token) {
    let client = &mut server.clients[token];
    let Some(tracking) = client.tracking.take() else { return };
    client.flags.remove(ClientFlags::TRACKING);
    let noted = (token, client.id);
    server.tracking.remove_client(noted, &tracking.prefixes);
    server.apply_key_watching();
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
    if !tracking.keeps_what_it_reads() {
        return;
    }
    let noted = (token, client.id);
    for key in get_keys_from_command(server.commands.get(command).spec, args) {
        server.tracking.remember(args[key.pos], noted);
    }
}

/// A command is done: what `CLIENT CACHING` said holds for one command or transaction behind it.
#[cold]
pub(crate) fn tracking_command_done(server: &mut Server, token: Token) {
    let client = &mut server.clients[token];
    let about_client = client.last_command.is_some_and(|name| name.starts_with("client|"));
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
    let readers = server.tracking.key_changed(key, by);
    invalidate_key(server, key, readers);
}

/// Tells those who have read a key not to believe what they have.
fn invalidate_key(server: &mut Server, key: &[u8], readers: BTreeSet<Noted>) {
    let keys = [key];
    let mut invalidation = Invalidation::of(&keys);
    for noted in readers {
        let Some(token) = server.clients.find(noted) else { continue };
        let Some(tracking) = &server.clients[token].tracking else { continue };
        let own =
            tracking.options.contains(TrackingOptions::NOLOOP) && server.clients.is_in_turn(token);
        if !own && !tracking.options.contains(TrackingOptions::BCAST) {
            send_tracking_message(server, token, &mut invalidation);
        }
    }
}

/// Databases were emptied: whatever anybody has read is no longer so.
pub(crate) fn tracking_invalidate_everything(server: &mut Server) {
    server.tracking.forget_everything();
    if server.tracking.clients() == 0 {
        return;
    }
    let tracks = |(token, client): (Token, &Client)| client.tracking.is_some().then_some(token);
    let mut invalidation = Invalidation::of_everything();
    for token in server.clients.iter().filter_map(tracks).collect::<Vec<_>>() {
        send_tracking_message(server, token, &mut invalidation);
    }
}

/// Tells those in broadcasting mode what has changed in this turn of the loop.
pub(crate) fn tracking_broadcast(server: &mut Server) {
    for (clients, changed) in server.tracking.take_changes() {
        for noted in clients {
            let Some(token) = server.clients.find(noted) else { continue };
            let tracking = server.clients[token].tracking.as_ref();
            let no_loop = tracking.is_some_and(|t| t.options.contains(TrackingOptions::NOLOOP));
            let by_others = changed.iter().filter(|(_, by)| !no_loop || **by != Some(token));
            let keys: Vec<&[u8]> = by_others.map(|(key, _)| &**key).collect();
            if !keys.is_empty() {
                send_tracking_message(server, token, &mut Invalidation::of(&keys));
            }
        }
    }
}

/// Forgets keys while there are more than `tracking-table-max-keys`, as if they had changed.
pub(crate) fn tracking_limit_keys(server: &mut Server) {
    let most = server.config.tracking_table_max_keys as usize;
    for (key, readers) in server.tracking.forget_surplus(most) {
        invalidate_key(server, &key, readers);
    }
}

/// Tells a tracking client, or who is told in its place, what is no longer so.
fn send_tracking_message(server: &mut Server, token: Token, what: &mut Invalidation<'_>) {
    let redirect = server.clients[token].tracking.as_ref().and_then(|t| t.redirect);
    let Some(noted) = redirect else {
        if server.clients[token].protocol == Protocol::Resp3 {
            output::push_to(server, token, what.pushed());
        }
        return;
    };
    match server.clients.find(noted) {
        Some(target) if server.clients[target].protocol == Protocol::Resp3 => {
            output::push_to(server, target, what.pushed());
        }
        Some(target) if server.clients[target].is(ClientFlags::PUBSUB) => {
            output::push_to(server, target, what.published());
        }
        // It could not tell the message from a reply.
        Some(_) => {}
        None => tell_broken_redirect(server, token, noted.1),
    }
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
