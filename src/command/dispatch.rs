//! From a request to its execution: `process_command` decides whether it may run, `call` runs it, times it, counts
//! it and propagates it.

use super::http::is_http;
use super::redact::redact;
use super::redirect::Redirection;
use super::table::CommandId;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::resp::reply::Protocol;
use crate::server::Server;
use crate::server::call::{Call, Propagation};
use crate::server::client::{Blocked, ClientFlags, Token};
use crate::server::cluster::is_redirection;
use crate::server::config::PropagationErrorBehavior;
use crate::server::evict::EvictionOutcome;
use crate::server::networking::CHEAP_COMMAND_NS;
use crate::server::pause::PauseKind;
use crate::spec::CommandFlags;
use crate::util::c_string;

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

/// A handler's run.
struct Run {
    outcome: CommandResult,
    nanos: u64,
    /// Bytes of replies before it.
    start_reply: usize,
    /// Changes of the keyspace before it.
    dirty_before: u64,
}

/// At most one line in that time about a replica that applies what it can't write down, in milliseconds.
const DISK_ERROR_LOG_MS: i64 = 10_000;
const NO_AUTH: CommandError = CommandError::new(ErrorCode::NoAuth, "Authentication required.");
const OOM: CommandError =
    CommandError::new(ErrorCode::Oom, "command not allowed when used memory > 'maxmemory'.");
const NO_REPLICAS: CommandError =
    CommandError::new(ErrorCode::NoReplicas, "Not enough good replicas to write.");
const READ_ONLY: CommandError =
    CommandError::new(ErrorCode::ReadOnly, "You can't write against a read only replica.");
const MASTER_DOWN: CommandError = CommandError::new(
    ErrorCode::MasterDown,
    "Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
);
const REPLICA_ACCESS: CommandError = CommandError::err("Replica can't interact with the keyspace");
const NO_MULTI: CommandError = CommandError::err("Command not allowed inside a transaction");
const LOADING: CommandError =
    CommandError::new(ErrorCode::Loading, "Redis is loading the dataset in memory");

impl Server {
    /// Decides about a request of a client, and executes it if nothing speaks against it.
    #[inline]
    pub fn process_command(
        &mut self,
        call: &mut Call,
        command: Option<CommandId>,
        args: &[&[u8]],
    ) -> Verdict {
        let token = call.client;
        if let Some(id) = command {
            let command = self.commands.get(id);
            if !call.gates.intersects(command.gates) && command.arity_allows(args.len()) {
                debug_assert!(!self.gates_for(token).intersects(command.gates));
                self.call_plain(call, id, args);
                return Verdict::Plain;
            }
        }
        self.process_with_care(call, command, args)
    }

    /// The same for a request that something may speak against.
    fn process_with_care(
        &mut self,
        call: &mut Call,
        command: Option<CommandId>,
        args: &[&[u8]],
    ) -> Verdict {
        let token = call.client;
        let start = call.reply.len();
        let resolved = match command {
            Some(id) => self.resolve(id, args),
            None if is_http(args[0]) => {
                self.refuse_http(token);
                return Verdict::Done;
            }
            None => Err((None, unknown_command(args))),
        };
        let id = match resolved {
            Ok(id) => id,
            Err((known, error)) => {
                self.refuse(call, known, &error);
                self.after_command(call, start);
                return Verdict::Done;
            }
        };
        self.clients[token].last_command = Some(self.commands.get(id).name);
        let mut flags = self.commands.get(id).flags;
        let in_mode = self.clients[token].is(ClientFlags::MULTI | ClientFlags::PUBSUB);
        if in_mode {
            flags = self.flags_in_mode(token, id);
        }
        if flags.contains(CommandFlags::NO_MANDATORY_KEYS) {
            flags = self.flags_of_script(id, args);
        }
        if let Err(error) = self.may_run(call, id, args, flags, in_mode) {
            self.refuse(call, Some(id), &error);
            self.after_command(call, start);
            return Verdict::Done;
        }
        let undecided = matches!(self.redirection(token, flags), Some(Redirection::Undecided));
        if undecided || (self.pause.is_active() && self.is_paused(token, flags)) {
            self.block_client(token, Blocked::Pause, None);
            return Verdict::TryAgain;
        }
        if in_mode && self.is_to_be_queued(token, id) {
            self.queue_multi_command(call, id, flags, args);
        } else {
            self.call(call, id, args);
        }
        self.after_command(call, start);
        if self.ks.changes.blocked.has_ready() && self.busy.is_none() {
            self.handle_clients_blocked_on_keys();
        }
        Verdict::Done
    }

    /// Executes the command again that a client blocked with.
    pub fn reprocess_command(&mut self, call: &mut Call, args: &[&[u8]]) {
        let start = call.reply.len();
        let Some(id) = self.commands.find(args[0]) else { return };
        match self.may_run(call, id, args, self.commands.get(id).flags, false) {
            Ok(()) => self.call(call, id, args),
            Err(error) => self.refuse(call, Some(id), &error),
        }
        self.after_command(call, start);
    }

    /// The command or subcommand that a request names, if its arity fits; if not, the error, and whose it is.
    #[inline]
    pub fn resolve(
        &self,
        id: CommandId,
        args: &[&[u8]],
    ) -> Result<CommandId, (Option<CommandId>, CommandError)> {
        let command = self.commands.get(id);
        let id = if command.subcommands.is_empty() || args.len() < 2 {
            id
        } else {
            match self.commands.find_subcommand(id, args[1]) {
                Some(sub) => sub,
                None => return Err((None, unknown_subcommand(command.name, args[1]))),
            }
        };
        let command = self.commands.get(id);
        if !command.arity_allows(args.len())
            || (args.len() < 2 && !command.subcommands.is_empty() && command.arity < -1)
        {
            let text = format!("wrong number of arguments for '{}' command", command.name);
            return Err((Some(id), CommandError::err_with(text)));
        }
        Ok(id)
    }

    /// The flags of a command for a client in a transaction or subscribed: `EXEC` does what was queued.
    #[cold]
    fn flags_in_mode(&self, token: Token, id: CommandId) -> CommandFlags {
        let command = self.commands.get(id);
        match &self.clients[token].transaction {
            Some(transaction) if command.is(CommandFlags::EXECUTES_QUEUE) => {
                transaction.exec_flags(command.flags)
            }
            _ => command.flags,
        }
    }

    /// Whether a command of a client that may be in a transaction waits for its end.
    #[cold]
    fn is_to_be_queued(&self, token: Token, id: CommandId) -> bool {
        self.clients[token].is(ClientFlags::MULTI)
            && !self.commands.get(id).is(CommandFlags::NEVER_QUEUED)
    }

    /// Refuses what a subscriber can't be answered: in RESP2 it takes every reply for a message.
    #[cold]
    fn check_subscriber_mode(&self, token: Token, id: CommandId) -> CommandResult {
        let client = &self.clients[token];
        let command = self.commands.get(id);
        if !client.is(ClientFlags::PUBSUB)
            || client.protocol != Protocol::Resp2
            || command.is(CommandFlags::FOR_SUBSCRIBERS)
        {
            return Ok(());
        }
        Err(CommandError::err_with(format!(
            "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            command.name
        )))
    }

    /// Refuses what the client's user has no permission for.
    #[cold]
    fn check_permission(&mut self, token: Token, id: CommandId, args: &[&[u8]]) -> CommandResult {
        let checked = self.acl_check(token, id, args);
        checked.map_err(|denied| self.no_permission(token, id, args, denied))
    }

    /// The checks before execution, in Redis's order. `in_mode`: the client is in a transaction, or subscribed.
    fn may_run(
        &mut self,
        call: &mut Call,
        id: CommandId,
        args: &[&[u8]],
        flags: CommandFlags,
        in_mode: bool,
    ) -> CommandResult {
        let token = call.client;
        let client = &self.clients[token];
        let client_flags = client.flags;
        let from_primary = client.is(ClientFlags::MASTER);
        if !client.is(ClientFlags::AUTHENTICATED)
            && !flags.contains(CommandFlags::NO_AUTH)
            && self.acl.needs_auth(client)
        {
            return Err(NO_AUTH);
        }
        if flags.contains(CommandFlags::PROTECTED) {
            self.check_protected(token, id)?;
        }
        if client_flags.intersects(ClientFlags::SLAVE)
            && flags.intersects(
                CommandFlags::WRITE | CommandFlags::READONLY | CommandFlags::MAY_REPLICATE,
            )
        {
            return Err(REPLICA_ACCESS);
        }
        if in_mode && flags.contains(CommandFlags::NO_MULTI) && client.is(ClientFlags::MULTI) {
            return Err(NO_MULTI);
        }
        if client_flags.contains(ClientFlags::RESTRICTED) {
            self.check_permission(token, id, args)?;
        }
        match self.redirection(token, flags) {
            None => {}
            Some(Redirection::Elsewhere(error)) => return Err(error),
            // It is not for this server to judge.
            Some(Redirection::Undecided) => return Ok(()),
        }
        if self.cluster.is_some() && !from_primary {
            self.check_slots(token, id, args)?;
        }
        if self.tracking.keys() > 0 {
            self.tracking_limit_keys();
            // Who hears of it hears it before the reply.
            self.flush_pushes(call);
        }
        if self.config.maxmemory > 0 {
            let outcome = self.perform_evictions();
            // Who hears that evicted keys are gone hears it before the reply.
            self.flush_pushes(call);
            if outcome == EvictionOutcome::Exhausted
                && !from_primary
                // A queue may grow without end, too.
                && (flags.contains(CommandFlags::DENYOOM)
                    || (in_mode && self.is_to_be_queued(token, id)))
            {
                return Err(OOM);
            }
        }
        // PING tells those who watch over the server that something is wrong.
        if self.has_disk_error()
            && flags.intersects(CommandFlags::WRITE | CommandFlags::SHOWS_DISK_ERRORS)
        {
            match self.disk_error() {
                Some(_) if from_primary && flags.contains(CommandFlags::WRITE) => {
                    self.apply_without_disk();
                }
                Some(error) if !from_primary => return Err(error.into()),
                _ => {}
            }
        }
        if flags.contains(CommandFlags::WRITE) && !from_primary {
            if self.config.min_replicas_to_write > 0 && !self.enough_good_replicas() {
                return Err(NO_REPLICAS);
            }
            if self.config.replica_read_only && self.repl.is_replica() {
                return Err(READ_ONLY);
            }
        }
        if in_mode {
            self.check_subscriber_mode(token, id)?;
        }
        if self.repl.is_replica()
            && !self.config.replica_serve_stale_data
            && !self.repl.is_connected_to_primary()
            && !flags.contains(CommandFlags::STALE)
        {
            return Err(MASTER_DOWN);
        }
        if let Some(loading) = &self.loading
            && !from_primary
            && match loading.is_async {
                true => flags.contains(CommandFlags::NO_ASYNC_LOADING),
                false => !flags.contains(CommandFlags::LOADING),
            }
        {
            return Err(LOADING);
        }
        if let Some(busy) = &self.busy
            && !flags.contains(CommandFlags::ALLOW_BUSY)
        {
            return Err(busy.error());
        }
        Ok(())
    }

    fn is_paused(&self, token: Token, flags: CommandFlags) -> bool {
        let client = &self.clients[token];
        if client.is(ClientFlags::SLAVE) {
            return false;
        }
        match self.pause.kind(self.ks.now_ms) {
            // Even the primary waits: a pause keeps a replica's data as they are.
            Some(PauseKind::All) => true,
            Some(PauseKind::Write) => {
                flags.intersects(CommandFlags::WRITE | CommandFlags::MAY_REPLICATE)
            }
            None => false,
        }
    }

    /// Answers a request that is not executed. In a transaction it should have been: nothing of it will be.
    fn refuse(&mut self, call: &mut Call, id: Option<CommandId>, error: &CommandError) {
        let token = call.client;
        if let Some(id) = id {
            self.commands.get_mut(id).stats.rejected += 1;
            if self.commands.get(id).is(CommandFlags::EXECUTES_QUEUE) {
                if !is_redirection(error) {
                    self.abort_exec(call, id, error);
                    return;
                }
                self.discard_transaction(token);
            }
        }
        self.flag_transaction(token);
        call.reply_error(&mut self.stats, error);
        self.error_on_link(token, error);
    }

    /// A command of the primary, or of a replica, failed. Nobody reads the answer; that it failed may mean that the
    /// data are not the same any more.
    fn error_on_link(&mut self, token: Token, error: &CommandError) {
        let Some(client) = self.clients.get(token) else { return };
        let primary = self.config.flavour.primary();
        let (from, to) = match client {
            _ if client.is(ClientFlags::MASTER) => ("replica", primary),
            _ if client.is(ClientFlags::SLAVE) => (primary, "replica"),
            _ => return,
        };
        let from_primary = client.is(ClientFlags::MASTER);
        let name = client.last_command.unwrap_or("<unknown>");
        self.warning(&format!(
            "== CRITICAL == This {from} is sending an error to its {to}: '{error}' after processing the command '{name}'"
        ));
        self.stats.unexpected_error_replies += 1;
        let fatal = self.config.propagation_error_behavior != PropagationErrorBehavior::Ignore;
        if fatal && from_primary && self.config.replica_read_only {
            self.give_up(&format!(
                "This {from} panicked sending an error to its {to} after processing the command '{name}'"
            ));
        }
    }

    /// Ends the process at once: going on would make it worse.
    fn give_up(&self, why: &str) -> ! {
        self.warning(&format!("Guru Meditation: {why}"));
        std::process::abort();
    }

    /// The primary's command is to be applied although this server can't write to its disk: goes on or ends, as
    /// configured.
    fn apply_without_disk(&mut self) {
        if !self.config.replica_ignore_disk_write_errors {
            self.give_up("Replica was unable to write command to disk.");
        }
        let now = self.ks.now_ms;
        if now > self.repl.disk_error_logged_ms + DISK_ERROR_LOG_MS {
            self.repl.disk_error_logged_ms = now;
            self.warning(
                "Replica is applying a command even though it is unable to write to disk.",
            );
        }
    }

    /// `EXEC` itself is refused: the transaction is over.
    fn abort_exec(&mut self, call: &mut Call, id: CommandId, reason: &CommandError) {
        let token = call.client;
        self.discard_transaction(token);
        // Only a code that says something is part of the reason.
        let reason = match reason.code {
            ErrorCode::Err => reason.text.to_vec(),
            _ => reason.to_bytes(),
        };
        let text = [b"Transaction discarded because of: ", &reason[..]].concat();
        call.reply_error(&mut self.stats, &CommandError::with(ErrorCode::ExecAbort, text));
        if !self.monitors.is_empty() {
            // They have seen MULTI, and are to see its end.
            let flags = self.commands.get(id).flags;
            self.feed_monitors(call, flags, &[b"EXEC"]);
        }
    }

    /// Executes a command: runs, times, counts and propagates it.
    pub fn call(&mut self, call: &mut Call, id: CommandId, args: &[&[u8]]) {
        let token = call.client;
        let flags = self.commands.get(id).flags;
        let run = self.run_handler(call, id, args);
        if !self.monitors.is_empty() && !self.is_resuming() {
            self.feed_monitors(call, flags, args);
        }
        let dirty_before = run.dirty_before;
        // A command that blocked is counted when it goes on.
        if !self.clients.get(token).is_some_and(|c| c.is_blocked_on_keys()) {
            self.note_call(call, id, args, run);
            if let Some(client) = self.clients.get_mut(token) {
                client.commands += 1;
            }
        }
        self.tell_of_changes(call, flags, args, dirty_before);
        // A key that the command has met and deleted, as its time had come, was deleted before it was read.
        let reads = CommandFlags::READONLY | CommandFlags::RUNS_SCRIPT;
        if self.tracking.clients() > 0 && flags.intersection(reads) == CommandFlags::READONLY {
            self.tracking_remember_keys(token, id, args);
        }
    }

    /// [`Server::call`] without what no gate stands for: a command of the ordinary kind, and nobody who looks on.
    #[inline(always)]
    fn call_plain(&mut self, call: &mut Call, id: CommandId, args: &[&[u8]]) {
        let token = call.client;
        let command = self.commands.get(id);
        let flags = command.flags;
        let client = &mut self.clients[token];
        client.last_command = Some(command.name);
        client.commands += 1;
        let run = self.run_handler(call, id, args);
        let dirty_before = run.dirty_before;
        self.note_call(call, id, args, run);
        self.tell_of_changes(call, flags, args, dirty_before);
        if self.clients.has_pushes() {
            self.flush_pushes(call);
        }
        if self.ks.changes.blocked.has_ready() {
            self.handle_clients_blocked_on_keys();
        }
    }

    /// Runs a command's handler, and takes the time.
    #[inline(always)]
    fn run_handler(&mut self, call: &mut Call, id: CommandId, args: &[&[u8]]) -> Run {
        let handler = self.commands.get(id).handler;
        let start_reply = call.reply.len();
        let dirty_before = self.ks.changes.dirty;
        call.propagation = Propagation::Automatic;
        let started = self.clock.nanos();
        let outcome = handler(self, call, args);
        let nanos = self.clock.nanos().saturating_sub(started);
        self.turn_cost_ns += nanos.saturating_sub(CHEAP_COMMAND_NS);
        Run { outcome, nanos, start_reply, dirty_before }
    }

    /// Counts a run, answers its error if it had one, and notes it where it took long.
    #[inline(always)]
    fn note_call(&mut self, call: &mut Call, id: CommandId, args: &[&[u8]], run: Run) {
        let token = call.client;
        let micros = run.nanos / 1000;
        self.stats.commands += 1;
        self.stats.command_us += micros;
        let command = self.commands.get_mut(id);
        command.stats.record(run.nanos);
        let flags = command.flags;
        if let Err(error) = run.outcome {
            self.answer_failure(call, id, &error, run.start_reply);
        }
        if self.slow_log.wants(micros, flags) {
            self.log_slow_command(token, micros, &redact(args));
        }
        let threshold = self.config.latency_monitor_threshold;
        if threshold > 0 && micros / 1000 >= threshold {
            let event = if flags.contains(CommandFlags::FAST) { "fast-command" } else { "command" };
            self.latency.add(event, self.now_seconds(), micros / 1000);
        }
    }

    /// A command's error is its reply, in place of what it may have written.
    #[cold]
    fn answer_failure(
        &mut self,
        call: &mut Call,
        id: CommandId,
        error: &CommandError,
        start_reply: usize,
    ) {
        let token = call.client;
        let command = self.commands.get_mut(id);
        command.stats.failed += 1;
        call.reply.truncate(start_reply);
        call.reply_error(&mut self.stats, error);
        self.error_on_link(token, error);
    }

    /// Propagates what a command did, and tells whoever wants to know.
    #[inline(always)]
    fn tell_of_changes(
        &mut self,
        call: &mut Call,
        flags: CommandFlags,
        args: &[&[u8]],
        dirty_before: u64,
    ) {
        let token = call.client;
        let changed = self.ks.changes.dirty != dirty_before;
        if changed
            || call.propagation != Propagation::Automatic
            || self.ks.changes.needs_attention()
        {
            let writes = flags.intersects(CommandFlags::WRITE | CommandFlags::MAY_REPLICATE);
            self.propagate_after(call, changed && writes, flags, args);
            if let Some(client) = self.clients.get_mut(token) {
                client.write_offset = Some(self.repl.offset);
            }
        }
    }

    /// What remains to do for a request, whether it was executed or refused.
    #[inline]
    fn after_command(&mut self, call: &mut Call, start: usize) {
        let token = call.client;
        let Some(client) = self.clients.get_mut(token) else { return };
        let silent = ClientFlags::REPLY_OFF
            | ClientFlags::REPLY_SKIP
            | ClientFlags::REPLY_SKIP_NEXT
            | ClientFlags::MASTER
            | ClientFlags::SLAVE;
        if client.flags.intersects(silent | ClientFlags::TRACKING) {
            let forced =
                client.is(ClientFlags::MASTER) && client.is(ClientFlags::MASTER_FORCE_REPLY);
            let skip = ClientFlags::REPLY_OFF | ClientFlags::REPLY_SKIP;
            if client.is(skip) || (client.is(ClientFlags::MASTER) && !forced) {
                call.reply.truncate(start);
            }
            if client.is(ClientFlags::SLAVE) && call.reply.len() > start {
                call.reply.truncate(start);
                self.replica_must_not_be_answered(token);
                return;
            }
            client.flags.remove(ClientFlags::REPLY_SKIP | ClientFlags::MASTER_FORCE_REPLY);
            if client.is(ClientFlags::REPLY_SKIP_NEXT) {
                client.flags.remove(ClientFlags::REPLY_SKIP_NEXT);
                client.flags.insert(ClientFlags::REPLY_SKIP);
            }
            self.tracking_command_done(token);
        }
        if self.clients.has_pushes() {
            self.flush_pushes(call);
        }
    }

    fn check_protected(&self, token: Token, id: CommandId) -> CommandResult {
        let client = &self.clients[token];
        let local = client.conn.peer_ip().is_none_or(|ip| ip.is_loopback());
        let name = self.commands.get(id).name;
        let name = name.split('|').next().unwrap_or(name);
        let allowed = match name {
            "module" => self.config.enable_module_command,
            _ => self.config.enable_debug_command,
        };
        if allowed.allows(local) {
            return Ok(());
        }
        Err(CommandError::err_with(format!(
            "{} command not allowed. If the enable-{name}-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the \
             server.",
            name.to_uppercase()
        )))
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

fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    let name = c_string(&name[..name.len().min(SHOWN)]);
    let container = container.to_uppercase();
    let text =
        [b"unknown subcommand '", name, b"'. Try ", container.as_bytes(), b" HELP."].concat();
    CommandError::err_with(text)
}
