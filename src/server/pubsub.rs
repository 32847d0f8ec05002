//! Publish and subscribe: who listens to which channel, and how messages reach them.
//!
//! The server knows the subscribers of each channel in one list, and a client knows its place in the list of each of
//! its channels: subscribing, unsubscribing and finding the receivers of a message take constant time however many
//! channels and subscribers there are. Patterns are matched one by one.
//!
//! A message is encoded once for each protocol that a receiver speaks; the receivers share its bytes.
//!
//! What the keyspace tells of keys (`notify-keyspace-events`) is published here too.

use super::Server;
use super::call::Call;
use super::client::{ClientFlags, Token};
use crate::db::notify::Class;
use crate::resp::reply::{Protocol, Reply};
use crate::server::output;
use crate::util::glob::glob_match;
use crate::util::sparse::shrink_if_sparse;
use bytes::Bytes;
use std::collections::HashMap;
use std::mem;
use std::rc::Rc;

/// What somebody subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Channel,
    Pattern,
    /// A shard channel: a namespace of its own, without patterns.
    Shard,
}

const TOPICS: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::Shard];

/// The subscribers of one kind of topic by name, in the order in which they came until one goes.
pub type Subscribers = HashMap<Rc<[u8]>, Vec<Token>>;

/// All subscribers.
#[derive(Debug, Default)]
pub struct PubSub {
    topics: [Subscribers; TOPICS.len()],
}

impl PubSub {
    pub fn of(&self, topic: Topic) -> &Subscribers {
        &self.topics[topic as usize]
    }

    /// Whether nobody could receive anything that is published on a channel.
    pub fn is_deaf(&self) -> bool {
        self.of(Topic::Channel).is_empty() && self.of(Topic::Pattern).is_empty()
    }
}

/// What one client is subscribed to, with its places in the lists of subscribers.
#[derive(Debug, Default)]
pub struct Subscriptions {
    topics: [HashMap<Rc<[u8]>, usize>; TOPICS.len()],
}

impl Subscriptions {
    pub fn len(&self, topic: Topic) -> usize {
        self.topics[topic as usize].len()
    }

    pub fn is_empty(&self) -> bool {
        self.topics.iter().all(HashMap::is_empty)
    }

    /// Memory held, in bytes, the names not counted, which all subscribers share.
    pub fn memory(&self) -> usize {
        let places: usize = self.topics.iter().map(HashMap::capacity).sum();
        size_of::<Subscriptions>() + places * size_of::<(Rc<[u8]>, usize)>()
    }
}

/// A message on its way to its receivers.
struct Message<'a> {
    parts: &'a [&'a [u8]],
    resp2: Option<Bytes>,
    resp3: Option<Bytes>,
}

impl Message<'_> {
    fn new<'a>(parts: &'a [&'a [u8]]) -> Message<'a> {
        Message { parts, resp2: None, resp3: None }
    }

    fn encoded(&mut self, protocol: Protocol) -> Bytes {
        let parts = self.parts;
        let slot = match protocol {
            Protocol::Resp2 => &mut self.resp2,
            Protocol::Resp3 => &mut self.resp3,
        };
        let encode = || {
            let mut reply = Reply::new(protocol);
            reply.push(parts.len());
            parts.iter().for_each(|part| reply.bulk(part));
            Bytes::from(reply.take())
        };
        slot.get_or_insert_with(encode).clone()
    }
}

/// Subscribes a client.
pub(crate) fn subscribe(server: &mut Server, token: Token, topic: Topic, name: &[u8]) {
    let client = &mut server.clients[token];
    client.flags |= ClientFlags::PUBSUB;
    let places = &mut client.subscriptions.get_or_insert_default().topics[topic as usize];
    if places.contains_key(name) {
        return;
    }
    let topics = &mut server.pubsub.topics[topic as usize];
    let name = topics.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Rc::clone(name));
    let subscribers = topics.entry(Rc::clone(&name)).or_default();
    places.insert(name, subscribers.len());
    subscribers.push(token);
    apply_notification_config(server);
}

/// Ends a subscription, if there is one. A client without any is an ordinary client again.
pub(crate) fn unsubscribe(server: &mut Server, token: Token, topic: Topic, name: &[u8]) {
    let client = &mut server.clients[token];
    let Some(subscriptions) = &mut client.subscriptions else { return };
    let Some((name, place)) = subscriptions.topics[topic as usize].remove_entry(name) else {
        return;
    };
    if subscriptions.is_empty() {
        client.subscriptions = None;
        client.flags.remove(ClientFlags::PUBSUB);
    }
    let topics = &mut server.pubsub.topics[topic as usize];
    let Some(subscribers) = topics.get_mut(&name) else { return };
    subscribers.swap_remove(place);
    if let Some(&moved) = subscribers.get(place)
        && let Some(subscriptions) = &mut server.clients[moved].subscriptions
    {
        subscriptions.topics[topic as usize].insert(name, place);
    } else if subscribers.is_empty() {
        topics.remove(&name);
        shrink_if_sparse(topics);
        apply_notification_config(server);
    }
}

/// The names of what a client is subscribed to.
pub(crate) fn subscribed_to(server: &Server, token: Token, topic: Topic) -> Vec<Rc<[u8]>> {
    let subscriptions = server.clients[token].subscriptions.as_ref();
    subscriptions.map(|s| s.topics[topic as usize].keys().cloned().collect()).unwrap_or_default()
}

/// Ends all subscriptions of a client, without a word to it.
pub(crate) fn unsubscribe_from_all(server: &mut Server, token: Token) {
    for topic in TOPICS {
        for name in subscribed_to(server, token, topic) {
            unsubscribe(server, token, topic, &name);
        }
    }
}

/// Publishes a message on a channel; answers how many receive it.
pub(crate) fn publish(server: &mut Server, channel: &[u8], message: &[u8]) -> usize {
    if server.pubsub.is_deaf() {
        return 0;
    }
    // Nobody subscribes or unsubscribes while messages are handed out.
    let pubsub = mem::take(&mut server.pubsub);
    let mut receivers = 0;
    if let Some(subscribers) = pubsub.of(Topic::Channel).get(channel) {
        receivers += deliver(server, subscribers, &[b"message", channel, message]);
    }
    for (pattern, subscribers) in pubsub.of(Topic::Pattern) {
        if glob_match(pattern, channel, false) {
            receivers += deliver(server, subscribers, &[b"pmessage", pattern, channel, message]);
        }
    }
    server.pubsub = pubsub;
    receivers
}

/// Publishes a message on a shard channel; answers how many receive it.
pub(crate) fn publish_on_shard(server: &mut Server, channel: &[u8], message: &[u8]) -> usize {
    let pubsub = mem::take(&mut server.pubsub);
    let subscribers = pubsub.of(Topic::Shard).get(channel);
    let receivers = subscribers.map_or(0, |s| deliver(server, s, &[b"smessage", channel, message]));
    server.pubsub = pubsub;
    receivers
}

fn deliver(server: &mut Server, receivers: &[Token], parts: &[&[u8]]) -> usize {
    let mut message = Message::new(parts);
    for &token in receivers {
        let bytes = message.encoded(server.clients[token].protocol);
        push_to(server, token, bytes);
    }
    receivers.len()
}

/// Sends a client what is no reply: `CLIENT REPLY` does not silence it, and it never comes between a command and
/// its reply.
pub(crate) fn push_to(server: &mut Server, token: Token, bytes: Bytes) {
    if server.clients.is_in_turn(token) {
        server.clients.push(bytes);
        return;
    }
    let closing = ClientFlags::CLOSE_ASAP | ClientFlags::CLOSE_AFTER_REPLY;
    if !server.clients[token].is(closing) {
        output::add_output(server, token, bytes);
    }
}

/// The current client's reply is complete: what was to follow it follows.
#[cold]
pub(crate) fn flush_pushes(server: &mut Server, call: &mut Call) {
    for bytes in server.clients.take_pushes() {
        call.reply.raw(&bytes);
    }
}

/// Publishes what happened to keys, in the order in which it happened.
pub(crate) fn publish_notifications(server: &mut Server) {
    let enabled = server.ks.changes.notifications.enabled;
    for event in mem::take(&mut server.ks.changes.notifications.waiting) {
        if enabled.contains(Class::KEYSPACE) {
            let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
            channel.extend_from_slice(&event.key);
            publish(server, &channel, event.name.as_bytes());
        }
        if enabled.contains(Class::KEYEVENT) {
            let channel = format!("__keyevent@{}__:{}", event.db, event.name);
            publish(server, channel.as_bytes(), &event.key);
        }
    }
}

/// Carries `notify-keyspace-events` over to the keyspace, which notes nothing that nobody could hear of.
pub(crate) fn apply_notification_config(server: &mut Server) {
    let letters = server.config.notify_keyspace_events.to_letters();
    let wanted = Class::parse(&letters).unwrap_or_default();
    let heard = wanted.intersects(Class::KEYSPACE | Class::KEYEVENT) && !server.pubsub.is_deaf();
    server.ks.changes.notifications.enabled = if heard { wanted } else { Class::empty() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_encoded_for_each_protocol_once() {
        let parts: [&[u8]; 3] = [b"message", b"c", b""];
        let mut message = Message::new(&parts);
        let resp2 = message.encoded(Protocol::Resp2);
        assert_eq!(&resp2[..], b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n");
        let resp3 = message.encoded(Protocol::Resp3);
        assert_eq!(&resp3[..], b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n");
        assert_eq!(message.encoded(Protocol::Resp2).as_ptr(), resp2.as_ptr());
    }
}
