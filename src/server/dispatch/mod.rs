//! From a request to its execution: `process_command` decides whether it may run, `call` runs it, times it, counts
//! it and propagates it.
//!
//! * [`checks`]: what may speak against a request.
//! * [`resume`]: blocked clients go on.

mod checks;
pub(crate) mod resume;

use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::blocking;
use crate::server::blocking::pause::PauseKind;
use crate::server::call::{Call, Propagation};
use crate::server::client::{Blocked, ClientFlags, Token};
use crate::server::cluster::redirect::{is_plainly_ours, is_redirection};
use crate::server::config::PropagationErrorBehavior;
use crate::server::gates::Gates;
use crate::server::http;
use crate::server::monitoring;
use crate::server::observe::command_log::{MEASURES, Measured};
use crate::server::observe::slot_stats::{Usage, inline_request_bytes, request_bytes};
use crate::server::output;
use crate::server::propagate;
use crate::server::redact::redact;
use crate::server::redirect;
use crate::server::redirect::Redirection;
use crate::server::replication::primary;
use crate::server::scripting;
use crate::server::table::CommandId;
use crate::server::tracking;
use crate::server::transaction;
use crate::spec::CommandFlags;
use crate::util::c_string;
use checks::{OBEYED, may_run};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was executed or refused, and is behind us.
    Done,
    /// So it was, and it did no more than read or change keys: the client and the server are what they were before.
    Plain,
    /// It has to wait, unexecuted: the client is blocked, and the request is tried again afterwards.
    TryAgain,
}

/// What a handler did.
struct Executed {
    outcome: CommandResult,
    nanos: u64,
    /// Bytes of replies before it: those in the writer, and all.
    start_reply: usize,
    start_bytes: usize,
    /// Changes of the keyspace before it.
    dirty_before: u64,
}

/// What a command may take before it counts for its client's turn. Those that are cheaper are bounded by the buffer
/// that they lie in: to stop among them, and move the rest, would cost more than they do.
const CHEAP_COMMAND_NS: u64 = 20_000;

/// Decides about a request of a client, and executes it if nothing speaks against it.
#[inline]
pub(crate) fn process_command(
    server: &mut Server,
    call: &mut Call,
    command: Option<CommandId>,
    args: &[&[u8]],
) -> Verdict {
    let token = call.client;
    if let Some(id) = command {
        let command = server.commands.get(id);
        let closed = call.gates & command.gates;
        let is_plain = closed.is_empty()
            || (closed == Gates::CLUSTER && is_plainly_ours(server, command, args));
        if is_plain && command.arity_allows(args.len()) {
            debug_assert!(closed.contains(server.gates_for(token) & command.gates));
            call_plain(server, call, id, args);
            return Verdict::Plain;
        }
    }
    process_with_care(server, call, command, args)
}

/// The same for a request that something may speak against.
fn process_with_care(
    server: &mut Server,
    call: &mut Call,
    command: Option<CommandId>,
    args: &[&[u8]],
) -> Verdict {
    let token = call.client;
    let start = call.reply.len();
    let resolved = match command {
        Some(id) => server.commands.resolve(id, args),
        None => Err((None, unknown_command(args))),
    };
    let id = match resolved {
        Ok(id) => id,
        Err(_) if http::is_http(args) => {
            http::refuse_http(server, call);
            return Verdict::Done;
        }
        Err((known, error)) => {
            let name = known.map(|id| server.commands.get(id).name);
            server.clients[token].last_command = name;
            refuse(server, call, known, &error);
            end_asking(server, token, known);
            after_command(server, call, start);
            return Verdict::Done;
        }
    };
    server.clients[token].last_command = Some(server.commands.get(id).name);
    let mut flags = server.commands.get(id).flags;
    let in_mode = server.clients[token].is_any(ClientFlags::MULTI | ClientFlags::PUBSUB);
    if in_mode {
        flags = flags_in_mode(server, token, id);
    }
    if flags.intersects(CommandFlags::RUNS_SCRIPT) {
        flags = scripting::flags_of_script(server, id, args);
    }
    let slot = match may_run(server, call, id, args, flags, in_mode) {
        Ok(slot) => slot,
        Err(error) => {
            refuse(server, call, Some(id), &error);
            end_asking(server, token, Some(id));
            after_command(server, call, start);
            return Verdict::Done;
        }
    };
    let undecided =
        matches!(redirect::redirection(server, token, flags), Some(Redirection::Undecided));
    if undecided || (server.blocking.pause.is_active() && is_paused(server, token, flags)) {
        blocking::block_client(server, token, Blocked::Pause, None);
        return Verdict::TryAgain;
    }
    if in_mode && is_to_be_queued(server, token, id) {
        transaction::queue_multi_command(server, call, id, flags, args);
        count_queued_for_slot(server, call, slot, args);
    } else {
        call_in_slot(server, call, id, args, slot);
    }
    end_asking(server, token, Some(id));
    after_command(server, call, start);
    if server.ks.changes.blocked.has_ready() && !server.scripting.is_busy() {
        resume::handle_clients_blocked_on_keys(server);
    }
    Verdict::Done
}

/// What `ASKING` allows ends with the request behind it, or with the transaction that this has begun.
fn end_asking(server: &mut Server, token: Token, id: Option<CommandId>) {
    let Some(client) = server.clients.get_mut(token) else { return };
    if client.is(ClientFlags::BLOCKED) {
        // The request goes on.
        return;
    }
    let lasts = id.is_some_and(|id| server.commands.get(id).is(CommandFlags::ALLOWS_NEXT));
    if client.is(ClientFlags::ASKING) && !lasts && !client.is(ClientFlags::MULTI) {
        client.flags.remove(ClientFlags::ASKING);
    }
}

/// Executes the command again that a client blocked with.
pub(crate) fn reprocess_command(server: &mut Server, call: &mut Call, args: &[&[u8]]) {
    let start = call.reply.len();
    let Some(id) = server.commands.find(args[0]) else { return };
    match may_run(server, call, id, args, server.commands.get(id).flags, false) {
        Ok(slot) => call_in_slot(server, call, id, args, slot),
        Err(error) => refuse(server, call, Some(id), &error),
    }
    end_asking(server, call.client, Some(id));
    after_command(server, call, start);
}

/// The flags of a command for a client in a transaction or subscribed: `EXEC` does what was queued.
#[cold]
fn flags_in_mode(server: &Server, token: Token, id: CommandId) -> CommandFlags {
    let command = server.commands.get(id);
    match &server.clients[token].transaction {
        Some(transaction) if command.is(CommandFlags::EXECUTES_QUEUE) => {
            transaction.exec_flags(command.flags)
        }
        _ => command.flags,
    }
}

/// Whether a command of a client that may be in a transaction waits for its end.
#[cold]
fn is_to_be_queued(server: &Server, token: Token, id: CommandId) -> bool {
    server.clients[token].is(ClientFlags::MULTI)
        && !server.commands.get(id).is(CommandFlags::NEVER_QUEUED)
}

fn is_paused(server: &Server, token: Token, flags: CommandFlags) -> bool {
    let client = &server.clients[token];
    if client.is(ClientFlags::SLAVE) {
        return false;
    }
    match server.blocking.pause.kind(server.ks.now_ms) {
        // Even the primary waits: a pause keeps a replica's data as they are.
        Some(PauseKind::All) => true,
        Some(PauseKind::Write) => {
            flags.intersects(CommandFlags::WRITE | CommandFlags::MAY_REPLICATE)
        }
        None => false,
    }
}

/// Answers a request that is not executed. In a transaction it should have been: nothing of it will be.
fn refuse(server: &mut Server, call: &mut Call, id: Option<CommandId>, error: &CommandError) {
    let token = call.client;
    if let Some(id) = id {
        server.commands.get_mut(id).stats.rejected += 1;
        if server.commands.get(id).is(CommandFlags::EXECUTES_QUEUE) {
            if !is_redirection(error) {
                abort_exec(server, call, id, error);
                return;
            }
            transaction::discard_transaction(server, token);
        }
    }
    transaction::flag_transaction(server, token);
    call.reply_error(&mut server.observer, error);
    error_on_link(server, token, error);
}

/// A command of the primary, or of a replica, failed. Nobody reads the answer; that it failed may mean that the
/// data are not the same any more.
fn error_on_link(server: &mut Server, token: Token, error: &CommandError) {
    let Some(client) = server.clients.get(token) else { return };
    if client.is(ClientFlags::MOVES_SLOTS) {
        let noted = server.clients.noted(token);
        server.net.migrations.note_error(noted, error.code == ErrorCode::Oom);
        return;
    }
    let primary = server.config.flavour.primary();
    let (from, to) = match client {
        _ if client.is(ClientFlags::MASTER) => ("replica", primary),
        _ if client.is(ClientFlags::SLAVE) => (primary, "replica"),
        _ => return,
    };
    let from_primary = client.is(ClientFlags::MASTER);
    let name = client.last_command.unwrap_or("<unknown>");
    server.warning(&format!(
        "== CRITICAL == This {from} is sending an error to its {to}: '{error}' after processing the command '{name}'"
    ));
    server.observer.count_unexpected_error();
    let fatal = server.config.propagation_error_behavior != PropagationErrorBehavior::Ignore;
    if fatal && from_primary && server.config.replica_read_only {
        give_up(
            server,
            &format!(
                "This {from} panicked sending an error to its {to} after processing the command '{name}'"
            ),
        );
    }
}

/// Ends the process at once: going on would make it worse.
fn give_up(server: &Server, why: &str) -> ! {
    server.warning(&format!("Guru Meditation: {why}"));
    std::process::abort();
}

/// `EXEC` itself is refused: the transaction is over.
fn abort_exec(server: &mut Server, call: &mut Call, id: CommandId, reason: &CommandError) {
    let token = call.client;
    transaction::discard_transaction(server, token);
    // Only a code that says something is part of the reason.
    let reason = match reason.code {
        ErrorCode::Err => reason.text.to_vec(),
        _ => reason.to_bytes(),
    };
    let text = [b"Transaction discarded because of: ", &reason[..]].concat();
    call.reply_error(&mut server.observer, &CommandError::with(ErrorCode::ExecAbort, text));
    if !server.observer.monitors.is_empty() {
        // They have seen MULTI, and are to see its end.
        let flags = server.commands.get(id).flags;
        monitoring::feed_monitors(server, call, flags, &[b"EXEC"]);
    }
}

/// Executes a command whose keys are in a slot, if it has any, and counts what it costs if that is asked for.
fn call_in_slot(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    args: &[&[u8]],
    slot: Option<u16>,
) {
    if !server.config.cluster_slot_stats_enabled {
        return self::call(server, call, id, args);
    }
    let (counted_ns, start) = (server.commands.get(id).stats.nanos, call.reply_bytes());
    let told = server.repl.told_bytes();
    self::call(server, call, id, args);
    let Some(slot) = server.observer.slot_stats.slot_of_request(slot) else { return };
    let client = server.clients.get(call.client);
    if client.is_some_and(|client| client.is_blocked_on_keys()) {
        // It counts when it goes on.
        return;
    }
    let is_answered = !client.is_some_and(|client| client.is_any(OBEYED));
    let is_exec = server.commands.get(id).is(CommandFlags::EXECUTES_QUEUE);
    let begin = if is_exec { request_bytes(&[b"MULTI"]) } else { 0 };
    let told = server.repl.told_bytes().saturating_sub(told);
    let to_replicas = told * server.repl.replicas().len() as u64;
    let replied = call.reply_bytes().saturating_sub(start) as u64;
    let usage = Usage {
        // What was counted for the command.
        cpu_ns: server.commands.get(id).stats.nanos.saturating_sub(counted_ns),
        bytes_in: begin + bytes_of_request(call, args),
        bytes_out: if is_answered { replied + to_replicas } else { 0 },
    };
    server.observer.slot_stats.count(slot, usage);
}

fn bytes_of_request(call: &Call, args: &[&[u8]]) -> u64 {
    if call.is_inline { inline_request_bytes(args) } else { request_bytes(args) }
}

/// A request that waits for the end of its transaction has come all the same.
fn count_queued_for_slot(server: &mut Server, call: &Call, slot: Option<u16>, args: &[&[u8]]) {
    if let Some(slot) = slot.filter(|_| server.config.cluster_slot_stats_enabled) {
        let usage = Usage { bytes_in: bytes_of_request(call, args), ..Usage::default() };
        server.observer.slot_stats.count(slot, usage);
    }
}

/// Executes a command: runs, times, counts and propagates it.
pub(crate) fn call(server: &mut Server, call: &mut Call, id: CommandId, args: &[&[u8]]) {
    let token = call.client;
    let flags = server.commands.get(id).flags;
    let started = server.ks.clock.nanos();
    let executed = run_handler(server, call, id, args, started);
    if !server.observer.monitors.is_empty() && !server.blocking.waits.is_resuming() {
        monitoring::feed_monitors(server, call, flags, args);
    }
    let dirty_before = executed.dirty_before;
    // A command that blocked is counted when it goes on.
    if !server.clients.get(token).is_some_and(|c| c.is_blocked_on_keys()) {
        note_call(server, call, id, args, executed);
        if let Some(client) = server.clients.get_mut(token) {
            client.commands += 1;
        }
    }
    tell_of_changes(server, call, flags, args, dirty_before);
    // A key that the command has met and deleted, as its time had come, was deleted before it was read.
    let reads = CommandFlags::READONLY | CommandFlags::RUNS_SCRIPT;
    if server.tracking.clients() > 0 && flags.intersection(reads) == CommandFlags::READONLY {
        tracking::tracking_remember_keys(server, token, id, args);
    }
}

/// [`call`] without what no gate stands for: a command of the ordinary kind, and nobody who looks on.
#[inline(always)]
fn call_plain(server: &mut Server, call: &mut Call, id: CommandId, args: &[&[u8]]) {
    let token = call.client;
    let command = server.commands.get(id);
    let flags = command.flags;
    let client = &mut server.clients[token];
    client.last_command = Some(command.name);
    client.commands += 1;
    let started = call.ended_ns.unwrap_or_else(|| server.ks.clock.nanos());
    let executed = run_handler(server, call, id, args, started);
    let dirty_before = executed.dirty_before;
    note_call(server, call, id, args, executed);
    tell_of_changes(server, call, flags, args, dirty_before);
    if server.clients.has_pushes() {
        output::flush_pushes(server, call);
    }
    if server.ks.changes.blocked.has_ready() {
        resume::handle_clients_blocked_on_keys(server);
        call.ended_ns = None;
    }
}

/// Runs a command's handler, and takes the time since the command was `started`, in the stopwatch's nanoseconds.
#[inline(always)]
fn run_handler(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    args: &[&[u8]],
    started: u64,
) -> Executed {
    let handler = server.commands.get(id).handler;
    let (start_reply, start_bytes) = (call.reply.len(), call.reply_bytes());
    let dirty_before = server.ks.changes.dirty;
    call.propagation = Propagation::Automatic;
    let outcome = handler(server, call, args);
    let ended = server.ks.clock.nanos();
    call.ended_ns = Some(ended);
    let nanos = ended.saturating_sub(started);
    if nanos > CHEAP_COMMAND_NS {
        note_cost(server, nanos);
    }
    Executed { outcome, nanos, start_reply, start_bytes, dirty_before }
}

/// Notes that a command was not cheap: its client may have had its turn, and for the next command it is later, unless
/// both are of one transaction or script.
#[cold]
fn note_cost(server: &mut Server, nanos: u64) {
    server.buffers.add_turn_cost(nanos - CHEAP_COMMAND_NS);
    if !propagate::gathers_unit(server) {
        server.update_time();
    }
}

/// Counts a run, answers its error if it had one, and notes it where it took long.
#[inline(always)]
fn note_call(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    args: &[&[u8]],
    executed: Executed,
) {
    let token = call.client;
    let micros = executed.nanos / 1000;
    server.observer.count_command(micros);
    let command = server.commands.get_mut(id);
    command.stats.record(executed.nanos, server.config.latency_tracking);
    let flags = command.flags;
    if let Err(error) = executed.outcome {
        answer_failure(server, call, id, &error, executed.start_reply);
    }
    let reply_bytes = call.reply_bytes().saturating_sub(executed.start_bytes) as u64;
    if server.observer.command_logs.want([micros, call.largest_request as u64, reply_bytes])
        && !flags.contains(CommandFlags::SKIP_SLOWLOG)
    {
        log_command(server, token, [micros, request_bytes(args), reply_bytes], args);
    }
    if server.observer.latency.wants(micros / 1000) {
        let event = if flags.contains(CommandFlags::FAST) { "fast-command" } else { "command" };
        server.observer.latency.add(event, server.now_seconds(), micros / 1000);
    }
}

/// Adds a command to the logs that it belongs to.
#[cold]
fn log_command(server: &mut Server, token: Token, measured: Measured, args: &[&[u8]]) {
    if !server.observer.command_logs.want(measured) {
        return;
    }
    let now = server.now_seconds();
    let Some(client) = server.clients.get(token) else { return };
    let peer = client.conn.peer(&server.unix_path());
    let name = client.name.as_deref().unwrap_or_default();
    let args = redact(args);
    for (measure, measured) in MEASURES.into_iter().zip(measured) {
        let log = server.observer.command_logs.of_mut(measure);
        if log.wants(measured) {
            log.push(measured, now, &args, &peer, name);
        }
    }
}

/// A command's error is its reply, in place of what it may have written.
#[cold]
fn answer_failure(
    server: &mut Server,
    call: &mut Call,
    id: CommandId,
    error: &CommandError,
    start_reply: usize,
) {
    let token = call.client;
    let command = server.commands.get_mut(id);
    command.stats.failed += 1;
    call.reply.truncate(start_reply);
    call.reply_error(&mut server.observer, error);
    error_on_link(server, token, error);
}

/// Propagates what a command did, and tells whoever wants to know.
#[inline(always)]
fn tell_of_changes(
    server: &mut Server,
    call: &mut Call,
    flags: CommandFlags,
    args: &[&[u8]],
    dirty_before: u64,
) {
    let changed = server.ks.changes.dirty != dirty_before;
    let is_alone =
        call.propagation == Propagation::Automatic && !server.ks.changes.needs_attention();
    if is_alone && !changed {
        return;
    }
    let writes = flags.intersects(CommandFlags::WRITE | CommandFlags::MAY_REPLICATE);
    if !is_alone {
        propagate::propagate_after(server, call, changed && writes, flags, args);
    } else if writes {
        propagate::propagate(server, call.db, args);
    }
    if let Some(client) = server.clients.get_mut(call.client) {
        client.write_offset = Some(server.repl.offset());
    }
}

/// What remains to do for a request, whether it was executed or refused. If it has blocked its client, that comes when
/// it goes on, or when its wait ends.
#[inline]
fn after_command(server: &mut Server, call: &mut Call, start: usize) {
    let token = call.client;
    let Some(client) = server.clients.get_mut(token) else { return };
    let silent = ClientFlags::REPLY_OFF
        | ClientFlags::REPLY_SKIP
        | ClientFlags::REPLY_SKIP_NEXT
        | ClientFlags::MASTER
        | ClientFlags::SLAVE;
    if client.flags.intersects(silent | ClientFlags::TRACKING) && !client.is(ClientFlags::BLOCKED) {
        let forced = client.is(ClientFlags::MASTER) && client.is(ClientFlags::MASTER_FORCE_REPLY);
        let skip = ClientFlags::REPLY_OFF | ClientFlags::REPLY_SKIP;
        if client.is_any(skip) || (client.is(ClientFlags::MASTER) && !forced) {
            call.reply.truncate(start);
        }
        if client.is(ClientFlags::SLAVE) && call.reply.len() > start {
            call.reply.truncate(start);
            primary::replica_must_not_be_answered(server, token);
            return;
        }
        client.flags.remove(ClientFlags::REPLY_SKIP | ClientFlags::MASTER_FORCE_REPLY);
        if client.is(ClientFlags::REPLY_SKIP_NEXT) {
            client.flags.remove(ClientFlags::REPLY_SKIP_NEXT);
            client.flags.insert(ClientFlags::REPLY_SKIP);
        }
        tracking::tracking_command_done(server, token);
    }
    if server.clients.has_pushes() {
        output::flush_pushes(server, call);
    }
}

/// At most so many bytes of a request's arguments are shown in an error.
const SHOWN: usize = 128;

fn unknown_command(args: &[&[u8]]) -> CommandError {
    let mut rest = Vec::new();
    for arg in &args[1..] {
        if rest.len() >= SHOWN {
            break;
        }
        let arg = c_string(&arg[..arg.len().min(SHOWN - rest.len())]);
        rest.extend_from_slice(&[b"'", arg, b"' "].concat());
    }
    let name = c_string(&args[0][..args[0].len().min(SHOWN)]);
    let text = [b"unknown command '", name, b"', with args beginning with: ", &rest].concat();
    CommandError::err_with(text)
}
