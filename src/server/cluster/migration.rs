//! Does what moves of slots want done: connects, sends keys, holds writes back, and takes slots over.

use crate::bus::NodeId;
use crate::resp::encode::encode_command;
use crate::server::Server;
use crate::server::blocking::pause::{self, PauseKind, PausePurpose};
use crate::server::client::{ClientFlags, Token};
use crate::server::cluster::drive::operate;
use crate::server::cluster::obey;
use crate::server::dial;
use crate::server::links::migration::job::{Act, Facts, Job, Message, Operation, Owner, State};
use crate::server::links::migration::jobs::Loaded;
use crate::server::links::migration::walk::Walk;
use crate::server::migration_feed::{encode_entry, encode_select};
use crate::server::output;
use crate::server::propagate;
use crate::server::random_id;
use crate::util::io_reason;
use crate::util::slot_set::SlotSet;
use bytes::Bytes;
use std::io::ErrorKind;
use std::time::Duration;

/// How long a turn may send keys, and bytes that may wait to be sent before it does.
const SLICE: Duration = Duration::from_micros(250);
const MOST_PENDING: usize = 1 << 20;
/// Keys are handed to the connection in pieces of about so many bytes.
const PIECE: usize = 32 * 1024;
/// How long writes are held back at most, in milliseconds.
const PAUSE_MS: i64 = 10_000;
/// An answer to the handshake is no longer than this, in bytes.
const LONGEST_ANSWER: usize = 16 * 1024;

fn facts(server: &Server, job: Option<&Job>) -> Facts {
    let client = job.and_then(|job| server.clients.find(job.client?));
    Facts {
        now_ms: server.ks.now_ms,
        is_primary: server.cluster.as_ref().is_some_and(|c| c.myself().is_primary()),
        pending_bytes: client.map_or(0, |token| server.clients[token].out.len()),
        timeout_ms: i64::from(server.config.repl_timeout) * 1000,
        pause_ms: PAUSE_MS,
        is_paused: server.blocking.pause.is_running(PausePurpose::SlotMigration, server.ks.now_ms),
    }
}

/// Asks a job something, and does what it answers.
fn with_job(server: &mut Server, name: &str, ask: impl FnOnce(&mut Job, &Facts) -> Vec<Act>) {
    let facts = facts(server, server.net.migrations.named(name));
    let Some(job) = server.net.migrations.named_mut(name) else { return };
    let acts = ask(job, &facts);
    server.net.migrations.note_states();
    for act in acts {
        perform(server, name, act);
    }
}

fn perform(server: &mut Server, name: &str, act: Act) {
    match act {
        Act::Log(level, text) => server.log(level, &text),
        Act::Send(message) => send(server, name, message),
        Act::Connect => connect(server, name),
        Act::Pause { until_ms } => {
            pause::pause_clients(server, PausePurpose::SlotMigration, PauseKind::Write, until_ms);
        }
        Act::Unpause => {
            if !server.net.migrations.pauses() {
                pause::unpause_clients(server, PausePurpose::SlotMigration);
            }
        }
        Act::TakeOver => {
            if let Some(slots) = slots_of(server, name) {
                operate(server, |cluster, now, facts| cluster.take_over(&slots, now, facts));
            }
        }
        Act::CleanUp => clean_up(server, name),
        Act::EndImport => end_import(server, name),
        Act::Close => close(server, name),
    }
}

fn slots_of(server: &Server, name: &str) -> Option<SlotSet> {
    server.net.migrations.named(name).map(|job| job.slots.clone())
}

fn token_of(server: &Server, name: &str) -> Option<Token> {
    server.net.migrations.named(name).and_then(|job| server.clients.find(job.client?))
}

fn send(server: &mut Server, name: &str, message: Message) {
    let mut bytes = Vec::new();
    encode_command(&[b"CLUSTER", b"SYNCSLOTS", message.name().as_bytes()], &mut bytes);
    if let Some(token) = token_of(server, name) {
        output::add_output(server, token, Bytes::from(bytes));
    }
}

fn close(server: &mut Server, name: &str) {
    if let Some(token) = token_of(server, name) {
        server.clients[token].flags.remove(ClientFlags::MOVES_SLOTS);
        server.clients.close_later(token);
    }
    if let Some(job) = server.net.migrations.named_mut(name) {
        job.client = None;
    }
}

/// Deletes what was imported, of slots that are not this node's.
fn clean_up(server: &mut Server, name: &str) {
    let Some(slots) = slots_of(server, name) else { return };
    let owns = |slot| server.cluster.as_ref().is_some_and(|cluster| cluster.owns(slot));
    let foreign: Vec<u16> = slots.iter().filter(|&slot| !owns(slot)).collect();
    foreign.into_iter().for_each(|slot| obey::drop_slot_keys(server, slot));
}

/// The slots are like others again; this node's replicas hear of it.
fn end_import(server: &mut Server, name: &str) {
    let Some(job) = server.net.migrations.named(name) else { return };
    let mut slots = job.slots.clone();
    let outcome = if job.state == State::Success { "SUCCESS" } else { "FAILED" };
    let message = job.message.clone();
    server.net.migrations.leftovers.keys().for_each(|&slot| _ = slots.remove(slot));
    server.ks.hide_slots(&slots, false);
    if server.cluster.as_ref().is_some_and(|cluster| cluster.myself().is_primary()) {
        let mut command: Vec<&[u8]> = vec![b"CLUSTER", b"SYNCSLOTS", b"FINISH", b"STATE"];
        command.extend([outcome.as_bytes(), b"NAME", name.as_bytes()]);
        if let Some(message) = &message {
            command.extend([&b"MESSAGE"[..], message.as_bytes()]);
        }
        propagate::propagate(server, 0, &command);
    }
}

/// Sends slots of this node to another one; returns the name of the job.
pub(crate) fn export(
    server: &mut Server,
    slots: SlotSet,
    ranges: String,
    target: NodeId,
) -> String {
    let name = random_id(&mut server.rng);
    let source = server.cluster.as_ref().map(|cluster| cluster.myself().id());
    let now = server.ks.now_ms;
    let job =
        Job::new(Operation::Export, name.clone(), (slots, ranges), (source, Some(target)), now);
    server.notice(&format!(
        "Slot migration initiated through CLUSTER MIGRATESLOTS command: {}",
        job.description
    ));
    add_job(server, job);
    with_job(server, &name, Job::tick);
    name
}

/// Slots come from another node over the connection of this client; without one, they come to the primary of this node.
pub(crate) fn import(
    server: &mut Server,
    name: String,
    (slots, ranges): (SlotSet, String),
    from: Option<(NodeId, Token)>,
) {
    obey::drop_leftovers_of(server, &slots);
    server.ks.hide_slots(&slots, true);
    let target = server.cluster.as_ref().map(|cluster| cluster.myself().id());
    let (source, target) = (from.map(|(source, _)| source), target.filter(|_| from.is_some()));
    let now = server.ks.now_ms;
    let mut job = Job::new(Operation::Import, name, (slots, ranges), (source, target), now);
    server.notice(&format!("New slot import job created: {}.", job.description));
    if let Some((_, token)) = from {
        job.client = Some(server.clients.noted(token));
        server.clients[token].flags |= ClientFlags::MOVES_SLOTS;
    }
    add_job(server, job);
}

fn add_job(server: &mut Server, job: Job) {
    let most = server.config.cluster_slot_migration_log_max_len;
    server.net.migrations.add(job, usize::try_from(most).unwrap_or(usize::MAX));
}

/// The data that the primary of this replica imports into has been replaced: what follows is in the new data.
fn data_replaced(server: &mut Server) {
    for name in server.net.migrations.unfinished() {
        if server.net.migrations.named(&name).is_some_and(|job| !job.is_export()) {
            let text = "A full synchronization replaced the data during slot import";
            with_job(server, &name, |job, facts| job.fail(text, facts));
        }
    }
}

/// Heeds what loading a snapshot means to moves, before anything is executed on its data.
pub(crate) fn heed_loaded(server: &mut Server) {
    if server.cluster.is_none() {
        return;
    }
    let Loaded { replaced, open, imports } = server.net.migrations.take_loaded();
    if replaced {
        data_replaced(server);
    }
    for (name, slots) in imports {
        let ranges = slots.ranges();
        let ranges = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end()));
        let ranges = ranges.collect::<Vec<_>>().join(" ");
        import(server, name, (slots, ranges), None);
    }
    if let Some(states) = open {
        operate(server, |cluster, _, _| cluster.adopt_open_slots(&states));
    }
}

/// The other side of a job says something; `false`: the client is none.
pub(crate) fn heard(server: &mut Server, token: Token, message: Message) -> bool {
    let Some(name) = job_of(server, token) else { return false };
    output::settle(server, token);
    with_job(server, &name, |job, facts| job.heard(message, facts));
    true
}

/// It says something that is not understood.
pub(crate) fn heard_nonsense(server: &mut Server, token: Token) -> bool {
    let Some(name) = job_of(server, token) else { return false };
    with_job(server, &name, |job, facts| job.fail("Unknown SYNCSLOTS subcommand used", facts));
    true
}

/// The primary of this replica has ended an import.
pub(crate) fn finished_on_primary(
    server: &mut Server,
    name: &str,
    succeeded: bool,
    message: Option<&str>,
) -> bool {
    let is_known = server.net.migrations.named(name).is_some();
    let outcome = if succeeded { State::Success } else { State::Failed };
    with_job(server, name, |job, facts| job.finish(outcome, message, facts));
    is_known
}

/// Ends all exports.
pub(crate) fn cancel(server: &mut Server) {
    for name in server.net.migrations.unfinished() {
        if server.net.migrations.named(&name).is_some_and(Job::is_export) {
            with_job(server, &name, |job, facts| job.finish(State::Cancelled, None, facts));
        }
    }
}

fn job_of(server: &Server, token: Token) -> Option<String> {
    server.clients.get(token)?;
    let noted = server.clients.noted(token);
    server.net.migrations.of_client(noted).map(|job| job.name.clone())
}

fn connect(server: &mut Server, name: &str) {
    let target = server.net.migrations.named(name).and_then(|job| job.target);
    let node = target.and_then(|id| server.cluster.as_ref()?.node(&id));
    let encrypted = server.config.tls_replication;
    let Some((ip, port)) = node.map(|n| (n.address().ip.clone(), n.port(encrypted))) else {
        let text = "Unable to connect to target node: target node not found";
        return with_job(server, name, |job, facts| job.fail(text, facts));
    };
    let connected = dial::dial(server, &ip, port, encrypted);
    match connected.and_then(|connection| server.create_client(connection)) {
        Ok(token) => {
            let client = &mut server.clients[token];
            client.flags |= ClientFlags::MOVES_SLOTS | ClientFlags::AUTHENTICATED;
            let noted = server.clients.noted(token);
            if let Some(job) = server.net.migrations.named_mut(name) {
                job.client = Some(noted);
                let text = format!(
                    "Connecting slot migration {} (ip: {ip}, port {port})",
                    job.description
                );
                server.notice(&text);
            }
        }
        Err(error) => cannot_connect(server, name, &io_reason(&error)),
    }
}

fn cannot_connect(server: &mut Server, name: &str, reason: &str) {
    let text = format!("Unable to connect to target node: {reason}");
    with_job(server, name, |job, facts| job.fail(&text, facts));
}

/// Something happened on the connection of a job. `false`: it has been established; what comes is commands.
pub(crate) fn shake_hands(server: &mut Server, token: Token) -> bool {
    let Some(name) = job_of(server, token) else { return false };
    let Some(state) = server.net.migrations.named(&name).map(|job| job.state) else { return false };
    match state {
        State::Connecting => greet(server, &name, token),
        State::ReadAuth | State::ReadEstablish => {
            read_answer(server, &name, token);
        }
        _ => return false,
    }
    true
}

/// The connection is there, or can't be.
fn greet(server: &mut Server, name: &str, token: Token) {
    let conn = &mut server.clients[token].conn;
    if let Ok(Some(error)) = conn.take_error() {
        return cannot_connect(server, name, &io_reason(&error));
    }
    let mut first = [0; 1];
    match conn.read(&mut first) {
        Ok(_) => return cannot_connect(server, name, "connection closed"),
        Err(error) if error.kind() == ErrorKind::NotConnected => return,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            if conn.is_handshaking() {
                return;
            }
        }
        Err(error) => return cannot_connect(server, name, &io_reason(&error)),
    }
    let Some(job) = server.net.migrations.named_mut(name) else { return };
    let text = format!("Slot migration {} connection established.", job.description);
    server.notice(&text);
    let Some(password) = server.config.masterauth.clone() else {
        with_job(server, name, Job::authenticated);
        return establish(server, name, token);
    };
    let user = server.config.masteruser.clone();
    let mut command: Vec<&[u8]> = vec![b"AUTH"];
    command.extend(user.as_deref());
    command.push(&password);
    let mut bytes = Vec::new();
    encode_command(&command, &mut bytes);
    if let Some(job) = server.net.migrations.named_mut(name) {
        job.state = State::ReadAuth;
    }
    output::add_output(server, token, Bytes::from(bytes));
}

/// Asks the other node to take part.
fn establish(server: &mut Server, name: &str, token: Token) {
    let Some(job) = server.net.migrations.named(name) else { return };
    let source = job.source.map(|id| id.to_string()).unwrap_or_default();
    let mut command: Vec<&[u8]> = vec![b"CLUSTER", b"SYNCSLOTS", b"ESTABLISH", b"SOURCE"];
    command.extend([source.as_bytes(), b"NAME", name.as_bytes(), b"SLOTSRANGE"]);
    command.extend(job.ranges.split([' ', '-']).map(str::as_bytes));
    let mut bytes = Vec::new();
    encode_command(&command, &mut bytes);
    output::add_output(server, token, Bytes::from(bytes));
}

/// Reads a line of the handshake, of which there is never more than one.
fn read_answer(server: &mut Server, name: &str, token: Token) {
    let Some(client) = server.clients.get_mut(token) else { return };
    let mut answer = std::mem::take(&mut client.query);
    let outcome = client.conn.read_append(&mut answer, LONGEST_ANSWER);
    match outcome {
        Ok(0) => return server.free_client(token),
        Err(error) if error.kind() != ErrorKind::WouldBlock => return server.free_client(token),
        _ => {}
    }
    let Some(line) = answer.strip_suffix(b"\r\n") else {
        if answer.len() >= LONGEST_ANSWER {
            let text = "Response to establish job is larger than buffer limit";
            return with_job(server, name, |job, facts| job.fail(text, facts));
        }
        server.clients[token].query = answer;
        return;
    };
    let is_auth = server.net.migrations.named(name).is_some_and(|j| j.state == State::ReadAuth);
    let text = String::from_utf8_lossy(line).into_owned();
    match (is_auth, line.first()) {
        (true, Some(b'-')) => {
            let text = format!("Failed to AUTH to target node: {text}");
            with_job(server, name, |job, facts| job.fail(&text, facts));
        }
        (false, Some(b'-')) => {
            let text = format!("Received error during handshake to target: {text}");
            with_job(server, name, |job, facts| job.fail(&text, facts));
        }
        (true, _) => {
            with_job(server, name, Job::authenticated);
            establish(server, name, token);
        }
        (false, _) => begin_sending(server, name, token),
    }
}

fn begin_sending(server: &mut Server, name: &str, token: Token) {
    server.clients[token].flags |= ClientFlags::REPLY_OFF;
    with_job(server, name, Job::established);
    let databases = server.ks.dbs.len();
    if let Some(job) = server.net.migrations.named_mut(name) {
        let keys = job.slots.iter().map(|slot| server.ks.slot_len(slot) as u64).sum();
        job.walk = Some(Walk::new(&job.slots, databases, keys));
        let text = format!("Beginning snapshot of slot migration {}.", job.description);
        server.notice(&text);
    }
}

/// The loop is about to sleep: moves go on.
pub(crate) fn before_sleep(server: &mut Server) {
    heed_loaded(server);
    if server.net.migrations.is_idle() {
        server.net.migrations.take_news();
        return;
    }
    obey::drop_leftovers(server);
    hear_news(server);
    for name in server.net.migrations.unfinished() {
        let client = server.net.migrations.named(&name).and_then(|job| job.client);
        if client.is_some_and(|noted| server.clients.find(noted).is_none()) {
            with_job(server, &name, Job::lost);
        }
        if let Some(token) = token_of(server, &name) {
            output::settle(server, token);
        }
        with_job(server, &name, Job::tick);
        send_keys(server, &name);
    }
}

/// Whether the loop must not sleep for their sake.
pub(crate) fn has_work(server: &Server) -> bool {
    let jobs = &server.net.migrations;
    !jobs.leftovers.is_empty()
        || jobs.iter().any(|job| {
            let pending = || facts(server, Some(job)).pending_bytes;
            job.state == State::Snapshotting && pending() < MOST_PENDING
        })
}

fn hear_news(server: &mut Server) {
    let news = server.net.migrations.take_news();
    for (client, out_of_memory) in news.errors {
        let Some(job) = server.net.migrations.of_client(client) else { continue };
        let name = job.name.clone();
        let text = match out_of_memory {
            true => "Ran out of memory (OOM) during slot import",
            false => {
                "Failed to process command during slot migration. Check logs for more information"
            }
        };
        with_job(server, &name, |job, facts| job.fail(text, facts));
    }
    for name in server.net.migrations.unfinished() {
        if news.flushed {
            with_job(server, &name, |job, facts| match job.state.is_in_progress() {
                true => job.fail("Data was flushed", facts),
                false => Vec::new(),
            });
        }
        if news.owners_changed {
            let owner = owner(server, &name);
            with_job(server, &name, |job, facts| job.owner_changed(owner, facts));
        }
    }
}

/// Whose the slots of a job are.
fn owner(server: &Server, name: &str) -> Owner {
    let (Some(cluster), Some(job)) = (&server.cluster, server.net.migrations.named(name)) else {
        return Owner::NoSingle;
    };
    let mut owners = job.slots.iter().map(|slot| cluster.slot_owner(slot).map(|node| node.id()));
    match owners.next() {
        Some(Some(first)) if owners.all(|owner| owner == Some(first)) => {
            if first == cluster.myself().id() { Owner::Myself } else { Owner::Node(first) }
        }
        _ => Owner::NoSingle,
    }
}

/// Sends the next keys, as many as a turn is for.
fn send_keys(server: &mut Server, name: &str) {
    let started = server.ks.clock.nanos();
    loop {
        let Some(token) = token_of(server, name) else { return };
        if server.clients[token].out.len() >= MOST_PENDING {
            return;
        }
        let job = server.net.migrations.named_mut(name);
        let job = job.filter(|job| job.state == State::Snapshotting);
        let Some((walk, db)) = job.and_then(|job| Some((job.walk.take()?, job.db))) else { return };
        let (walk, db, bytes) = next_piece(server, walk, db);
        let is_done = walk.next().is_none();
        if let Some(job) = server.net.migrations.named_mut(name) {
            (job.walk, job.db) = (Some(walk).filter(|_| !is_done), db);
        }
        if !bytes.is_empty() {
            output::add_output(server, token, Bytes::from(bytes));
            output::settle(server, token);
        }
        if is_done {
            return with_job(server, name, Job::snapshot_sent);
        }
        if server.ks.clock.since(started) > SLICE {
            return;
        }
    }
}

/// The next keys as commands; where the walk is then, and which database is selected.
fn next_piece(server: &Server, mut walk: Walk, mut db: usize) -> (Walk, usize, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut keys = 0;
    while bytes.len() < PIECE
        && let Some(place) = walk.next()
    {
        let next = server.ks.dbs[place.db].table.walk_slot(place.slot, place.position, |entry| {
            if db != place.db {
                encode_select(place.db, &mut bytes);
                db = place.db;
            }
            encode_entry(server, entry, &mut bytes);
            keys += 1;
        });
        walk.advance(next);
    }
    walk.count(keys);
    (walk, db, bytes)
}
