//! Publish and subscribe: who listens to which channel, and how messages reach them.
//!
//! The server knows the subscribers of each channel in one list, and a client knows its place in the list of each of
//! its channels: subscribing, unsubscribing and finding the receivers of a message take constant time however many
//! channels and subscribers there are. Patterns are matched one by one.
//!
//! A message is encoded once for each protocol that a receiver speaks; the receivers share its bytes.
//!
//! This module knows who hears what. [`subscribe`](super::subscribe) makes clients subscribers, and
//! [`output`](super::output) sends them what is published.

use super::token::Token;
use crate::resp::reply::{Protocol, Reply};
use crate::util::glob::glob_match;
use crate::util::sparse::shrink_if_sparse;
use bytes::Bytes;
use std::collections::HashMap;
use std::rc::Rc;

/// What somebody subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Channel,
    Pattern,
    /// A shard channel: a namespace of its own, without patterns.
    Shard,
}

pub const TOPICS: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::Shard];

/// The subscribers of one kind of topic by name, in the order in which they came until one goes.
pub type Subscribers = HashMap<Rc<[u8]>, Vec<Token>>;

/// All subscribers.
#[derive(Debug, Default)]
pub struct PubSub {
    topics: [Subscribers; TOPICS.len()],
}

/// A client that has another place in a list of subscribers now: its [`Subscriptions`] are to note it.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    pub client: Token,
    topic: Topic,
    name: Rc<[u8]>,
    place: usize,
}

impl PubSub {
    pub fn of(&self, topic: Topic) -> &Subscribers {
        &self.topics[topic as usize]
    }

    /// Whether nobody could receive anything that is published on a channel.
    pub fn is_deaf(&self) -> bool {
        self.of(Topic::Channel).is_empty() && self.of(Topic::Pattern).is_empty()
    }

    /// Who hears what is published on a channel: its subscribers, and those of each pattern that it matches, with the
    /// pattern.
    pub fn listeners(&self, channel: &[u8]) -> impl Iterator<Item = (Option<&[u8]>, &[Token])> {
        let subscribers = self.of(Topic::Channel).get(channel);
        let patterns = self.of(Topic::Pattern).iter();
        subscribers.map(|all| (None, &all[..])).into_iter().chain(
            patterns
                .filter(move |(pattern, _)| glob_match(pattern, channel, false))
                .map(|(pattern, all)| (Some(&pattern[..]), &all[..])),
        )
    }

    /// Subscribes a client, whose subscriptions these are, unless it is subscribed already.
    pub fn subscribe(
        &mut self,
        client: Token,
        subscriptions: &mut Subscriptions,
        topic: Topic,
        name: &[u8],
    ) {
        let places = &mut subscriptions.topics[topic as usize];
        if places.contains_key(name) {
            return;
        }
        let topics = &mut self.topics[topic as usize];
        let known = topics.get_key_value(name).map(|(name, _)| Rc::clone(name));
        let name = known.unwrap_or_else(|| name.into());
        let subscribers = topics.entry(Rc::clone(&name)).or_default();
        places.insert(name, subscribers.len());
        subscribers.push(client);
    }

    /// Ends a subscription of the client whose subscriptions these are, if there is one. Another client may take its
    /// place.
    pub fn unsubscribe(
        &mut self,
        subscriptions: &mut Subscriptions,
        topic: Topic,
        name: &[u8],
    ) -> Option<Moved> {
        let (name, place) = subscriptions.topics[topic as usize].remove_entry(name)?;
        let topics = &mut self.topics[topic as usize];
        let subscribers = topics.get_mut(&name)?;
        subscribers.swap_remove(place);
        if let Some(&client) = subscribers.get(place) {
            return Some(Moved { client, topic, name, place });
        }
        if subscribers.is_empty() {
            topics.remove(&name);
            shrink_if_sparse(topics);
        }
        None
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

    pub fn names(&self, topic: Topic) -> impl ExactSizeIterator<Item = &Rc<[u8]>> {
        self.topics[topic as usize].keys()
    }

    /// The client has another place in a list of subscribers.
    pub fn note_move(&mut self, Moved { topic, name, place, .. }: Moved) {
        self.topics[topic as usize].insert(name, place);
    }

    /// Memory held, in bytes, the names not counted, which all subscribers share.
    pub fn memory(&self) -> usize {
        let places: usize = self.topics.iter().map(HashMap::capacity).sum();
        size_of::<Subscriptions>() + places * size_of::<(Rc<[u8]>, usize)>()
    }
}

/// A message on its way to its receivers.
pub struct Message<'a> {
    parts: &'a [&'a [u8]],
    resp2: Option<Bytes>,
    resp3: Option<Bytes>,
}

impl Message<'_> {
    pub fn new<'a>(parts: &'a [&'a [u8]]) -> Message<'a> {
        Message { parts, resp2: None, resp3: None }
    }

    /// The message as receivers of this protocol are sent it.
    pub fn encoded(&mut self, protocol: Protocol) -> Bytes {
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
    /// Clients by token, each with its subscriptions.
    fn unsubscribe(pubsub: &mut PubSub, all: &mut [Subscriptions], client: Token, name: &[u8]) {
        if let Some(moved) = pubsub.unsubscribe(&mut all[client], Topic::Channel, name) {
            all[moved.client].note_move(moved);
        }
    }

    #[test]
    fn who_hears_what() {
        let mut pubsub = PubSub::default();
        let mut all: [Subscriptions; 3] = Default::default();
        for (client, topic, name) in [
            (0, Topic::Channel, "news"),
            (0, Topic::Channel, "news"),
            (1, Topic::Channel, "news"),
            (1, Topic::Pattern, "n*"),
            (2, Topic::Pattern, "x*"),
            (2, Topic::Shard, "news"),
        ] {
            pubsub.subscribe(client, &mut all[client], topic, name.as_bytes());
        }
        let heard: Vec<_> = pubsub.listeners(b"news").collect();
        assert_eq!(heard, [(None, &[0, 1][..]), (Some(&b"n*"[..]), &[1][..])]);
        assert_eq!(pubsub.listeners(b"other").count(), 0);
        assert_eq!(pubsub.of(Topic::Shard)[&b"news"[..]], [2]);
    }

    #[test]
    fn who_takes_a_place_can_leave_it() {
        let mut pubsub = PubSub::default();
        let mut all: [Subscriptions; 3] = Default::default();
        for (client, subscriptions) in all.iter_mut().enumerate() {
            pubsub.subscribe(client, subscriptions, Topic::Channel, b"c");
        }
        for (client, left) in [(0, &[2, 1][..]), (2, &[1]), (2, &[1])] {
            unsubscribe(&mut pubsub, &mut all, client, b"c");
            assert_eq!(pubsub.of(Topic::Channel)[&b"c"[..]], left);
            assert!(all[client].is_empty());
        }
        unsubscribe(&mut pubsub, &mut all, 1, b"c");
        assert!(pubsub.is_deaf() && pubsub.of(Topic::Channel).is_empty());
    }
}
