//! `GET /events`: what the live page shows, as server-sent events, once a second while somebody looks at it.
//!
//! An event is one object of JSON with all of it, bounded: no list in it grows with the keys or the clients.

mod cluster;
mod keys;

use super::access::Needs;
use crate::ds::listpack::ListpackEntry;
use crate::server::Server;
use crate::server::client::{Client, ClientFlags};
use crate::server::info::fields::{Fields, Parts};
use crate::server::info::info_text;
use crate::server::links::trace::{LinkRole, LinkTrace, Step, StepKind};
use crate::server::observe::command_log::{LogEntry, Measure};
use crate::server::observe::progress::Work;
use crate::server::replication::status::{self, Condition};
use crate::util::histogram::Histogram;
use crate::util::pace::Pace;
use bytes::Bytes;
use keys::KeySampler;
use rand::Rng;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;

/// Whoever sees an event could have asked for it with commands.
pub const NEEDS: Needs = Needs {
    commands: &["info", "slowlog|get", "client|list", "repltrace", "cluster|nodes", "randomkey"],
    all_keys: true,
};
/// How often there is one, in milliseconds.
const PERIOD_MS: i64 = 1000;

const SLOW_COMMANDS: usize = 20;
/// Clients that are looked at, and those of them that are shown: the ones with the most memory.
const CLIENTS_SEEN: usize = 1000;
const CLIENTS_SHOWN: usize = 30;
/// Links that are shown, the newest of them, and steps of each, the last ones.
const LINKS_SHOWN: usize = 16;
const STEPS_SHOWN: usize = 24;
/// Characters of a command that are shown.
const MAX_SHOWN: usize = 300;
/// The powers of two of nanoseconds that times are counted for: up to 256 ns, and up to 4.3 s.
const BOUNDS: std::ops::RangeInclusive<usize> = 8..=32;

/// What is kept from one event to the next, while there are viewers.
#[derive(Default)]
pub struct Live {
    keys: KeySampler,
    next_ms: i64,
}

impl Live {
    /// The next event, if it is time for one.
    pub fn event(&mut self, server: &mut Server) -> Option<Bytes> {
        let now_ms = server.ks.now_ms;
        if now_ms < self.next_ms {
            return None;
        }
        self.next_ms = now_ms + PERIOD_MS;
        let Server { ks, rng, .. } = server;
        self.keys.sample(ks, &mut || rng.random());
        Some(format!("data: {}\n\n", snapshot(server, &self.keys)).into())
    }
}

fn snapshot(server: &Server, keys: &KeySampler) -> Value {
    let text = info_text(server, &[]);
    let text = String::from_utf8_lossy(&text);
    let fields = Fields::of(&text);
    let bounds = Histogram::default();
    let bounds: Vec<f64> = bounds.buckets(BOUNDS).map(|(nanos, _)| nanos as f64 / 1000.0).collect();
    let slow_log = server.observer.command_logs.of(Measure::Duration);
    json!({
        "at_ms": server.ks.now_ms,
        "info": info(&fields),
        "keyspace": keyspace(&fields),
        "bounds_us": bounds,
        "commands": commands(server),
        "slow_log": slow_log.entries().take(SLOW_COMMANDS).map(slow).collect::<Value>(),
        "clients": clients(server),
        "links": replication_links(server),
        "cluster": cluster::map(server),
        "keys": keys.show(server.ks.access.lfu),
        "progress": server.observer.progress.running().map(progress).collect::<Value>(),
    })
}

/// All fields, those that are numbers as such.
fn info(fields: &Fields<'_>) -> Value {
    let value = |text: &str| match text.parse::<i64>() {
        Ok(number) => json!(number),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number))
        }
        Err(_) => json!(text),
    };
    fields.iter().map(|(name, text)| (name.to_string(), value(text))).collect::<Map<_, _>>().into()
}

/// What is not known is null.
fn progress((work, pace): (Work, &Pace)) -> Value {
    json!({
        "title": work.title(),
        "unit": work.unit(),
        "done": pace.done(),
        "total": pace.total(),
        "per_second": pace.per_second(),
        "seconds_left": pace.seconds_left(),
    })
}

fn keyspace(fields: &Fields<'_>) -> Value {
    let show = |(db, parts): (&str, Parts<'_>)| {
        let number = |part| parts.get(part).parse().unwrap_or(0_i64);
        json!({ "db": db, "keys": number("keys"), "expires": number("expires"), "avg_ttl": number("avg_ttl") })
    };
    fields.numbered("db").map(show).collect()
}

fn commands(server: &Server) -> Value {
    let called = server.commands.iter().filter(|command| command.stats.calls > 0);
    let shown = called.filter_map(|command| {
        let stats = &command.stats;
        let counts: Vec<u64> =
            stats.histogram.as_ref()?.buckets(BOUNDS).map(|(_, n)| n).collect();
        Some(json!({ "name": command.name, "calls": stats.calls, "nanos": stats.nanos, "counts": counts }))
    });
    shown.collect()
}

fn slow(entry: &LogEntry) -> Value {
    let text = |entry: ListpackEntry<'_>| match entry {
        ListpackEntry::Str(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ListpackEntry::Int(n) => n.to_string(),
    };
    let args: Vec<String> = entry.args().map(text).collect();
    let command: String = args.join(" ").chars().take(MAX_SHOWN).collect();
    let client = entry.client().next().map(text);
    json!({ "at": entry.time, "us": entry.measured, "command": command, "client": client })
}

fn clients(server: &Server) -> Value {
    let seen = server.clients.iter().map(|(_, client)| client).take(CLIENTS_SEEN);
    let mut seen: Vec<(usize, &Client)> = seen.map(|c| (c.memory() + c.out.memory(), c)).collect();
    seen.sort_unstable_by_key(|(memory, _)| Reverse(*memory));
    let (now, unix_path) = (server.now_seconds(), server.unix_path());
    let show = |(memory, client): (usize, &Client)| {
        json!({
            "id": client.id,
            "address": client.conn.peer(&unix_path),
            "name": client.shown_name(),
            "user": String::from_utf8_lossy(&server.acl.get(client.user).name),
            "kind": kind(client),
            "command": client.last_command,
            "age_s": now - client.created_seconds,
            "idle_s": now - client.last_interaction_seconds,
            "memory_bytes": memory,
        })
    };
    seen.into_iter().take(CLIENTS_SHOWN).map(show).collect()
}

fn kind(client: &Client) -> &'static str {
    let kinds = [
        (ClientFlags::MASTER | ClientFlags::HANDSHAKE, "primary"),
        (ClientFlags::SLAVE, "replica"),
        (ClientFlags::MONITOR, "monitor"),
        (ClientFlags::PUBSUB, "subscriber"),
        (ClientFlags::BLOCKED, "blocked"),
        (ClientFlags::MULTI, "transaction"),
    ];
    kinds.into_iter().find(|(flag, _)| client.is_any(*flag)).map_or("ordinary", |(_, name)| name)
}

fn replication_links(server: &Server) -> Value {
    let links: Vec<&LinkTrace> = server.repl.traces().links().collect();
    let shown = &links[links.len().saturating_sub(LINKS_SHOWN)..];
    shown.iter().map(|link| show_link(server, link)).collect()
}

fn show_link(server: &Server, link: &LinkTrace) -> Value {
    let (peer, condition) = status::condition(server, link);
    let role = match link.role {
        LinkRole::Primary => "replica",
        LinkRole::Replica => "primary",
    };
    let steps: Vec<&Step> = link.steps().collect();
    let steps = &steps[steps.len().saturating_sub(STEPS_SHOWN)..];
    let mut shown = json!({
        "id": link.id,
        "role": role,
        "peer": peer,
        "state": condition.state(),
        "full": link.full,
        "partial": link.partial,
        "refused": link.refused,
        "refusal": link.refusal,
        "steps": steps.iter().map(|step| show_step(step)).collect::<Value>(),
    });
    if let Condition::Over { seconds } = condition {
        shown["over_s"] = json!(seconds);
    }
    if let Some((bytes, seconds)) = condition.lag() {
        shown["lag_bytes"] = json!(bytes);
        shown["silent_s"] = json!(seconds);
    }
    shown
}

fn show_step(step: &Step) -> Value {
    let direction = match step.kind {
        StepKind::Sent => "sent",
        StepKind::Received => "received",
        StepKind::Here => "here",
    };
    json!({
        "at_ms": step.at_us / 1000,
        "after_us": step.after_us,
        "direction": direction,
        "text": step.text,
        "times": step.times,
    })
}
