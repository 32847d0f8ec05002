//! Stages of publish and subscribe.

use super::{bulks, talk};
use crate::harness::Server;

fn subscribed(what: &str, channel: &str, count: usize) -> String {
    let (n, m) = (what.len(), channel.len());
    format!("*3\r\n${n}\r\n{what}\r\n${m}\r\n{channel}\r\n:{count}\r\n")
}

#[test]
fn subscribing_counts_channels() {
    let server = Server::start(&[]);
    let mut raw = server.raw();
    talk(
        &mut raw,
        &[
            ("SUBSCRIBE foo", &subscribed("subscribe", "foo", 1)),
            ("SUBSCRIBE bar", &subscribed("subscribe", "bar", 2)),
            ("SUBSCRIBE bar", &subscribed("subscribe", "bar", 2)),
        ],
    );
    for command in ["SET key value", "GET key", "ECHO hey"] {
        raw.command(&command.split(' ').collect::<Vec<_>>());
        let error = raw.line();
        let name = command.split(' ').next().unwrap_or_default().to_lowercase();
        assert!(error.starts_with(&format!("-ERR Can't execute '{name}'")), "{error}");
    }
    talk(&mut raw, &[("PING", &bulks(&["pong", ""]))]);
    talk(&mut server.raw(), &[("PING", "+PONG\r\n")]);
}

#[test]
fn messages_reach_those_who_listen() {
    let server = Server::start(&[]);
    let (mut one, mut other, mut third) = (server.raw(), server.raw(), server.raw());
    let mut publisher = server.raw();
    talk(&mut one, &[("SUBSCRIBE foo", &subscribed("subscribe", "foo", 1))]);
    talk(&mut one, &[("SUBSCRIBE bar", &subscribed("subscribe", "bar", 2))]);
    talk(&mut other, &[("SUBSCRIBE bar", &subscribed("subscribe", "bar", 1))]);
    talk(&mut third, &[("SUBSCRIBE foo", &subscribed("subscribe", "foo", 1))]);
    talk(&mut publisher, &[("PUBLISH bar hello", ":2\r\n"), ("PUBLISH none hello", ":0\r\n")]);
    one.expect(bulks(&["message", "bar", "hello"]));
    other.expect(bulks(&["message", "bar", "hello"]));
    talk(&mut publisher, &[("PUBLISH foo hi", ":2\r\n")]);
    one.expect(bulks(&["message", "foo", "hi"]));
    third.expect(bulks(&["message", "foo", "hi"]));
    talk(
        &mut one,
        &[
            ("UNSUBSCRIBE bar", &subscribed("unsubscribe", "bar", 1)),
            ("UNSUBSCRIBE none", &subscribed("unsubscribe", "none", 1)),
        ],
    );
    talk(&mut publisher, &[("PUBLISH bar again", ":1\r\n")]);
    other.expect(bulks(&["message", "bar", "again"]));
    talk(
        &mut one,
        &[("UNSUBSCRIBE foo", &subscribed("unsubscribe", "foo", 0)), ("GET k", "$-1\r\n")],
    );
}
