//! Clients become subscribers and cease to be: their flag, and what the keyspace notes for those who listen.

use super::Server;
use super::client::ClientFlags;
use super::pubsub::{TOPICS, Topic};
use super::token::Token;
use crate::db::notify::Class;
use std::rc::Rc;

/// Subscribes a client.
pub(crate) fn subscribe(server: &mut Server, token: Token, topic: Topic, name: &[u8]) {
    let client = &mut server.clients[token];
    client.flags |= ClientFlags::PUBSUB;
    let subscriptions = client.subscriptions.get_or_insert_default();
    let was_deaf = server.pubsub.is_deaf();
    server.pubsub.subscribe(token, subscriptions, topic, name);
    if was_deaf {
        apply_notification_config(server);
    }
}

/// Ends a subscription, if there is one. A client without any is an ordinary client again.
pub(crate) fn unsubscribe(server: &mut Server, token: Token, topic: Topic, name: &[u8]) {
    let client = &mut server.clients[token];
    let Some(subscriptions) = &mut client.subscriptions else { return };
    let moved = server.pubsub.unsubscribe(subscriptions, topic, name);
    if subscriptions.is_empty() {
        client.subscriptions = None;
        client.flags.remove(ClientFlags::PUBSUB);
    }
    if let Some(moved) = moved
        && let Some(subscriptions) = &mut server.clients[moved.client].subscriptions
    {
        subscriptions.note_move(moved);
    }
    if server.pubsub.is_deaf() {
        apply_notification_config(server);
    }
}

/// The names of what a client is subscribed to.
pub(crate) fn subscribed_to(server: &Server, token: Token, topic: Topic) -> Vec<Rc<[u8]>> {
    let subscriptions = server.clients[token].subscriptions.as_ref();
    subscriptions.map(|all| all.names(topic).cloned().collect()).unwrap_or_default()
}

/// Ends all subscriptions of a client, without a word to it.
pub(crate) fn unsubscribe_from_all(server: &mut Server, token: Token) {
    for topic in TOPICS {
        for name in subscribed_to(server, token, topic) {
            unsubscribe(server, token, topic, &name);
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
