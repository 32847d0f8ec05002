//! How a client is shown: one line of `CLIENT LIST`, which the log uses too.

use super::Server;
use super::client::tracking::TrackingOptions;
use super::client::{Client, ClientFlags, Token};
use super::pubsub::Topic;
use crate::server::observe::slot_stats::request_bytes;
use crate::util::c_string;

/// The letter of each flag, in the order in which Redis prints them.
const FLAG_LETTERS: [(ClientFlags, char); 15] = [
    (ClientFlags::MONITOR, 'O'),
    (ClientFlags::SLAVE, 'S'),
    (ClientFlags::MASTER, 'M'),
    (ClientFlags::PUBSUB, 'P'),
    (ClientFlags::MULTI, 'x'),
    (ClientFlags::BLOCKED, 'b'),
    (ClientFlags::TRACKING, 't'),
    (ClientFlags::DIRTY_CAS, 'd'),
    (ClientFlags::CLOSE_AFTER_REPLY, 'c'),
    (ClientFlags::CLOSE_ASAP, 'A'),
    (ClientFlags::UNIX_SOCKET, 'U'),
    (ClientFlags::READONLY, 'r'),
    (ClientFlags::NO_EVICT, 'e'),
    (ClientFlags::NO_TOUCH, 'T'),
    (ClientFlags::IMPORT_SOURCE, 'I'),
];

impl Client {
    /// The `flags` field of `CLIENT LIST`.
    fn flag_letters(&self) -> String {
        let mut letters = String::new();
        for (flag, letter) in FLAG_LETTERS {
            if self.is(flag) {
                letters.push(letter);
            }
            if let (ClientFlags::TRACKING, Some(tracking)) = (flag, &self.tracking) {
                if tracking.broken_redirect {
                    letters.push('R');
                }
                if tracking.options.contains(TrackingOptions::BCAST) {
                    letters.push('B');
                }
            }
        }
        if letters.is_empty() {
            letters.push('N');
        }
        letters
    }

    /// The name that `CLIENT SETNAME` gave, or nothing.
    pub fn shown_name(&self) -> String {
        String::from_utf8_lossy(c_string(self.name.as_deref().unwrap_or_default())).into_owned()
    }
}

/// Whether the `flags` field of a client has all of these letters.
pub(crate) fn has_flags(client: &Client, letters: &[u8]) -> bool {
    let flags = client.flag_letters();
    letters.iter().all(|letter| flags.as_bytes().contains(letter))
}

/// Whether this is the letter of a flag, be it one that no client has here (`u`, and `i` and `E` of a move of slots).
pub(crate) fn is_flag(letter: u8) -> bool {
    b"NRBiEu".contains(&letter) || FLAG_LETTERS.iter().any(|&(_, it)| it == char::from(letter))
}

/// Fields as `name=value`, with a space between them.
struct Line(String);

impl Line {
    fn text(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(value);
    }

    fn number(&mut self, name: &str, value: impl itoa::Integer) {
        self.text(name, itoa::Buffer::new().format(value));
    }
}

/// So many bytes of the query buffer are those of the request that runs, with these arguments, if one does.
fn qbuf_of_running(server: &Server, args: &[&[u8]]) -> usize {
    match args.is_empty() || server.config.flavour.qbuf_is_without_running_request {
        true => 0,
        false => request_bytes(args) as usize,
    }
}

/// A client as one line of `CLIENT LIST`, without the line break. Empty if there is no such client.
///
/// The fields are those of Redis 7.2 (in Valkey's place with `watch`), the totals that Valkey 8.0 added, and for
/// replicas and the primary `repl`, the state of their link.
pub(crate) fn client_info(server: &Server, token: Token) -> String {
    client_info_running(server, token, &[])
}

/// The same for a client whose command with these arguments is running.
pub(crate) fn client_info_running(server: &Server, token: Token, args: &[&[u8]]) -> String {
    let Some(client) = server.clients.get(token) else { return String::new() };
    let now = server.now_seconds();
    let unix_path = server.unix_path();
    let mut line = Line(String::with_capacity(512));
    let user = match client.is(ClientFlags::MASTER) {
        true => "(superuser)".into(),
        false => String::from_utf8_lossy(&server.acl.get(client.user).name),
    };
    let events = if client.out.is_empty() { "r" } else { "rw" };
    line.number("id", client.id);
    line.text("addr", &client.conn.peer(&unix_path));
    line.text("laddr", &client.conn.local(&unix_path));
    line.number("fd", client.conn.fd());
    line.text("name", &client.shown_name());
    line.number("age", now - client.created_seconds);
    line.number("idle", now - client.last_interaction_seconds);
    line.text("flags", &client.flag_letters());
    line.number("db", client.db);
    let subscribed = |topic| client.subscriptions.as_ref().map_or(0, |s| s.len(topic));
    let transaction = client.transaction.as_ref();
    let queued = transaction.map_or(0, |t| t.len() as i64);
    line.number("sub", subscribed(Topic::Channel));
    line.number("psub", subscribed(Topic::Pattern));
    line.number("ssub", subscribed(Topic::Shard));
    line.number("multi", if client.is(ClientFlags::MULTI) { queued } else { -1 });
    if server.config.flavour.client_list_tells_of_watched_keys {
        line.number("watch", transaction.map_or(0, |t| t.watched.len()));
    }
    let partial = client.partial.as_ref();
    let running = args.iter().map(|arg| arg.len()).sum::<usize>();
    // The complete arguments of half a request are shown as such, though they lie in the query buffer.
    let parsed = partial.map_or(0, |p| p.parsed()).min(client.query.len());
    line.number("qbuf", client.query.len() - parsed + qbuf_of_running(server, args));
    line.number("qbuf-free", client.query.capacity() - client.query.len());
    line.number("argv-mem", running + partial.map_or(0, |p| p.argument_bytes()));
    line.number("multi-mem", transaction.map_or(0, |t| t.memory()));
    // Replies are gathered in a buffer that all clients share: none is the client's own.
    line.number("rbs", 0);
    line.number("rbp", 0);
    line.number("obl", 0);
    line.number("oll", client.out.chunks());
    line.number("omem", client.output_bytes(server.repl.stream()));
    line.number("tot-mem", client.memory() + running);
    line.text("events", events);
    line.text("cmd", client.last_command.unwrap_or("NULL"));
    line.text("user", &user);
    line.number("redir", client.redirect_id());
    line.number("resp", client.protocol.version());
    line.text("lib-name", &client.lib_name);
    line.text("lib-ver", &client.lib_ver);
    line.number("tot-net-in", client.net_in);
    line.number("tot-net-out", client.net_out);
    line.number("tot-cmds", client.commands);
    if let Some(link) = &client.replstate {
        line.text("repl", link.state_name());
    } else if let Some(link) = server.repl.primary()
        && link.token() == Some(token)
    {
        line.text("repl", link.role_name());
    }
    line.0
}
