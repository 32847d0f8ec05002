//! Running a script: `redis.call` executes commands as the caller's, one by one, and what they change is propagated as
//! one unit.

use crate::lua::args::{guarded, to_number, truncated};
use crate::lua::engine::{CurrentRun, Engine, Host, LuaRef, no_state};
use crate::lua::error::{COUNTED, LibError, LibResult};
use crate::lua::guard::Guard;
use crate::lua::log::log_line;
use crate::lua::shebang::ScriptFlags;
use crate::lua::value::{ReplyReader, ReplyWriter, command_args, push_error, to_argument};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::resp::reply::{Protocol, Reply};
use crate::server::Server;
use crate::server::acl;
use crate::server::acl::log::Origin;
use crate::server::busy;
use crate::server::call::Call;
use crate::server::client::Token;
use crate::server::cluster::redirect::{SlotError, check_slots};
use crate::server::dispatch;
use crate::server::memory::evict;
use crate::server::persistence::DiskError;
use crate::server::propagate;
use crate::server::propagate::Targets;
use crate::server::replication::primary::feed;
use crate::server::replication::replica;
use crate::server::scripting::{BusyScript, Words};
use crate::server::table::CommandId;
use crate::server::turn;
use crate::spec::CommandFlags;
use crate::sys::lua_args::{Arguments, create_native};
use crate::sys::lua_stack::Stack;
use crate::sys::lua_walk::Seen;
use crate::util::slot::key_slot;
use bstr::ByteSlice;
use mlua::{Lua, MultiValue, Table, Value};
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A script that is to be run.
pub struct ScriptRequest<'a> {
    pub engine: &'a Engine,
    pub function: &'a LuaRef,
    /// What errors call it.
    pub name: &'a Rc<str>,
    pub flags: ScriptFlags,
    /// It came with a command that changes nothing.
    pub read_only: bool,
    /// The command, whole.
    pub command: &'a [&'a [u8]],
    pub keys: &'a [&'a [u8]],
    pub args: &'a [&'a [u8]],
    /// The function gets the keys and arguments itself, and not as globals.
    pub is_function: bool,
}

/// A script that is running.
pub struct Run {
    name: Rc<str>,
    /// What was sent to run it. Of scripts nobody is told.
    command: Words,
    is_function: bool,
    token: Token,
    started: Instant,
    flags: ScriptFlags,
    /// In a cluster, the slot that the script keeps to.
    slot: Option<u16>,
    /// What the script wants its replies in.
    protocol: Protocol,
    read_only: bool,
    /// It has called a command that writes: what was allowed then is allowed to the end.
    wrote: bool,
    /// The database that its commands work on.
    db: usize,
}

/// What Lua states reach of this.
pub const HOST: Host = Host { natives, interrupt };

const NOT_FROM_SCRIPT: CommandError =
    CommandError::err("This Redis command is not allowed from script");
const NO_WRITES: CommandError =
    CommandError::err("Write commands are not allowed from read-only scripts.");
const STALE: CommandError = CommandError::err("Can not execute the command on a stale replica");

/// Runs a script for the current client, and answers what it returns.
pub(crate) fn run_script(
    server: &mut Server,
    call: &mut Call,
    request: &ScriptRequest,
) -> CommandResult {
    let token = call.client;
    may_run_script(server, token, request)?;
    let version = &server.config.redis_version_announced;
    request.engine.show_version(version).map_err(no_state)?;
    let is_whole = !propagate::gathers_unit(server);
    if is_whole {
        server.update_time();
        propagate::begin_unit(server);
    }
    let client_db = server.clients[token].db;

    let started = Instant::now();
    let threshold = Duration::from_millis(server.config.busy_reply_threshold);
    // Without a threshold nobody is served before the end.
    let turn_at = started.checked_add(threshold).filter(|_| !threshold.is_zero());
    request.engine.begin(started, turn_at, server.config.lua_memory_limit);
    let command = match request.is_function {
        true => server.scripting.take_words(request.command),
        false => Words::default(),
    };
    let mut run = Run {
        name: Rc::clone(request.name),
        command,
        is_function: request.is_function,
        token,
        started,
        flags: request.flags,
        slot: request.keys.first().filter(|_| server.cluster.is_some()).map(|key| key_slot(key)),
        protocol: Protocol::Resp2,
        read_only: request.read_only || request.flags.contains(ScriptFlags::NO_WRITES),
        wrote: false,
        db: call.db,
    };
    let outcome = execute_script(server, &mut run, request, &mut call.reply);
    if server.config.cluster_slot_stats_enabled {
        server.observer.slot_stats.note_script(run.slot);
    }
    server.scripting.end_busy();
    if request.is_function {
        server.scripting.give_back(run.command);
    }
    server.effects.set_targets(Targets::default());
    if let Some(client) = server.clients.get_mut(token) {
        client.db = client_db;
    }
    if is_whole {
        propagate::end_unit(server);
    }
    call.propagate_nothing();
    let failed = outcome.or_else(|failure| failure.answer(&mut call.reply, request.name))?;
    if failed && let Some(id) = server.commands.find(request.command[0]) {
        server.commands.get_mut(id).stats.failed += 1;
    }
    Ok(())
}

/// What must be so before a script may run. A script that says nothing of itself is judged by what it does.
fn may_run_script(server: &mut Server, token: Token, request: &ScriptRequest) -> CommandResult {
    let ScriptRequest { flags, read_only, .. } = *request;
    let obeyed = busy::must_obey(server, token);
    if server.cluster.is_some() && flags.contains(ScriptFlags::NO_CLUSTER) {
        return Err(CommandError::err("Can not run script on cluster, 'no-cluster' flag is set."));
    }
    if flags.contains(ScriptFlags::COMPATIBLE) {
        if replica::has_stale_data(server) {
            return Err(CommandError::MASTER_DOWN);
        }
        return Ok(());
    }
    if replica::has_stale_data(server) && !flags.contains(ScriptFlags::ALLOW_STALE) {
        return Err(CommandError::new(
            ErrorCode::MasterDown,
            "Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag \
             is not set on the script.",
        ));
    }
    if flags.contains(ScriptFlags::NO_WRITES) {
        return Ok(());
    }
    if server.repl.is_replica() && server.config.replica_read_only && !obeyed {
        return Err(CommandError::new(
            ErrorCode::ReadOnly,
            "Can not run script with write flag on readonly replica",
        ));
    }
    if !obeyed
        && server.persistence.has_disk_error()
        && let Some(error) = server.persistence.disk_error(&server.config)
    {
        return Err(disk_error(&error, server.config.title()));
    }
    if read_only {
        return Err(CommandError::err(
            "Can not execute a script with write flag using *_ro command.",
        ));
    }
    if !obeyed && server.config.min_replicas_to_write > 0 && !feed::enough_good_replicas(server) {
        return Err(CommandError::NO_REPLICAS);
    }
    if evict::is_out_of_memory(server) && !flags.contains(ScriptFlags::ALLOW_OOM) {
        return Err(CommandError::new(
            ErrorCode::Oom,
            "allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        ));
    }
    Ok(())
}

/// What a script that may write hears when there is something wrong with the disk.
fn disk_error(error: &DiskError, title: &str) -> CommandError {
    let (what, reason) = match error {
        DiskError::Aof(reason) => ("persist data to AOF", format!(" AOF error: {reason}")),
        DiskError::Snapshot { .. } => ("save RDB snapshots", String::new()),
    };
    let text = format!(
        "{title} is configured to {what}, but it's currently unable to persist to disk. Writable scripts are \
         blocked. Use 'no-writes' flag for read only scripts.{reason}"
    );
    CommandError::with(ErrorCode::Misconf, text)
}

/// Why a script has not been answered.
enum Failure {
    /// It did not catch an error. `counted`: that is in the statistics already.
    Uncaught { text: Vec<u8>, counted: bool },
    /// It was ended, or its memory was out, while its reply was written.
    Ended(LibError),
}

impl From<LibError> for Failure {
    fn from(error: LibError) -> Failure {
        Failure::Ended(error)
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Failure {
        Failure::Ended(error.into())
    }
}

impl Failure {
    /// Answers it, if it has been counted, and otherwise has the command fail.
    fn answer(self, reply: &mut Reply, name: &str) -> CommandResult<bool> {
        let (text, counted) = match self {
            Failure::Uncaught { text, counted } => (text, counted),
            Failure::Ended(LibError::Table { text, counted }) => {
                ([&text, &b" script: "[..], name.as_bytes()].concat(), counted)
            }
            Failure::Ended(other) => (lua_error(&other.to_bytes(), name), false),
        };
        if !counted {
            return Err(CommandError::of_script(&text));
        }
        reply.error_text(&text);
        Ok(true)
    }
}

/// The text of an error of Lua's own.
fn lua_error(text: &[u8], name: &str) -> Vec<u8> {
    [b"ERR ", text, b" script: ", name.as_bytes()].concat()
}

/// The error on top of the stack, which a script did not catch.
fn uncaught(stack: &mut Stack, name: &str) -> mlua::Result<Failure> {
    match stack.top() {
        Seen::Table => {}
        // Lua's own, for which there was no memory for more.
        Seen::Text(text) => {
            return Ok(Failure::Uncaught { text: lua_error(text, name), counted: false });
        }
        _ => {
            let text = format!("ERR Error running script {name}").into();
            return Ok(Failure::Uncaught { text, counted: false });
        }
    }
    let mut field = |field: &str| {
        stack.push_field(field.as_bytes())?;
        let text = match stack.top() {
            Seen::Text(text) => Some(text.to_vec()),
            Seen::Number(x) if x == x.trunc() => Some(truncated(x).to_string().into()),
            _ => None,
        };
        stack.pop(1);
        mlua::Result::Ok(text)
    };
    let mut text = field("err")?.unwrap_or_else(|| b"ERR unknown error".to_vec());
    if let (Some(source), Some(line)) = (field("source")?, field("line")?) {
        let place = [b" script: ", name.as_bytes(), b", on ", &source, b":", &line, b"."];
        text.extend(place.concat());
    }
    stack.push_field(COUNTED.as_bytes())?;
    Ok(Failure::Uncaught { text, counted: stack.top() == Seen::Boolean(true) })
}

/// What a script hears of a reply that is an error, which has been counted.
fn reply_error(reply: &[u8]) -> LibError {
    let text = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    LibError::Table { text: text.trim_start_with(|c| c == '-').to_vec(), counted: true }
}

type RunFn = fn(&mut Run, &mut Server, &[Value]) -> LibResult<Option<Value>>;

/// What scripts find in `redis` beside `call` and `pcall`.
const RUN_FUNCTIONS: [(&str, RunFn); 6] = [
    ("log", Run::log),
    ("setresp", Run::set_resp),
    ("set_repl", Run::set_repl),
    ("acl_check_cmd", Run::acl_check_cmd),
    ("breakpoint", Run::breakpoint),
    ("debug", Run::debug),
];

/// The functions by which scripts reach the server that runs them. They are called without another Lua function in
/// between: that would be lost in a tail call, and the place of an error with it.
///
/// # Errors
/// If there is no memory for it.
fn natives(lua: &Lua, current: &CurrentRun) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let (server, guard) = (Rc::clone(current), Guard::of(lua)?);
    let call = create_native(
        lua,
        move |lua, args| match call_command(&server, args)? {
            Ok(reply) if reply.as_bytes().first() == Some(&b'-') => {
                Err(reply_error(reply.as_bytes()).raise(lua))
            }
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.raise(lua)),
        },
        move |reply, stack| {
            let pushed = ReplyReader::new(&guard, reply.as_bytes()).push_value(stack);
            pushed.map_err(mlua::Error::external)
        },
    )?;
    let (server, guard) = (Rc::clone(current), Guard::of(lua)?);
    let pcall = create_native(
        lua,
        move |lua, args| match call_command(&server, args)? {
            Err(LibError::Table { text, counted }) => Ok(Err((text, counted))),
            outcome => outcome.map(Ok).map_err(|error| error.raise(lua)),
        },
        move |outcome, stack| match outcome {
            Err((text, counted)) => push_error(stack, &text, counted),
            Ok(reply) => {
                let pushed = ReplyReader::new(&guard, reply.as_bytes()).push_value(stack);
                pushed.map_err(mlua::Error::external)
            }
        },
    )?;
    table.raw_set("call", call)?;
    table.raw_set("pcall", pcall)?;
    for (name, function) in RUN_FUNCTIONS {
        let server = Rc::clone(current);
        let native = guarded(lua, move |lua, args: MultiValue| {
            let args: Vec<Value> = args.into_iter().collect();
            let outcome = with_run(&server, |run, server| function(run, server, &args))?;
            let values = outcome.map_err(|error| error.raise(lua))?;
            Ok(values.into_iter().collect::<MultiValue>())
        })?;
        table.raw_set(name, native)?;
    }
    Ok(table)
}

fn call_command(current: &CurrentRun, args: &Arguments) -> mlua::Result<LibResult<Reply>> {
    with_run(current, |run, server| run.redis_call(server, args))
}

/// Lets others be served in the midst of the script that runs.
///
/// # Errors
/// If it is to end.
fn interrupt(current: &CurrentRun) -> LibResult {
    // Where the server is busy with one of its commands, that will end.
    with_run(current, Run::interrupt).unwrap_or(Ok(()))
}

/// Does something with the script that is running and its server.
fn with_run<T>(
    current: &CurrentRun,
    act: impl FnOnce(&mut Run, &mut Server) -> T,
) -> mlua::Result<T> {
    let outcome = current.borrow(|server, run| act(run, server));
    outcome.ok_or_else(|| mlua::Error::external(LibError::table("ERR no script is running")))
}

/// Calls a script, and answers what it returns; answers itself whether there is an error in it.
fn execute_script(
    server: &mut Server,
    run: &mut Run,
    request: &ScriptRequest,
    reply: &mut Reply,
) -> Result<bool, Failure> {
    let Engine { lua, current, guard, .. } = request.engine;
    let mut errors = Vec::new();
    let outcome = current.lend(server, run, || {
        let mut stack = Stack::new(lua);
        let went_well =
            request.engine.run(&mut stack, request.function, request.keys, request.args)?;
        if !went_well {
            return Err(uncaught(&mut stack, request.name)?);
        }
        let protocol = with_run(current, |run, _| run.protocol)?;
        let start = reply.len();
        let mut writer = ReplyWriter::new(guard, reply, protocol);
        let written = writer.write(&mut stack);
        let failed = writer.failed;
        errors = writer.errors;
        if written.is_err() {
            reply.truncate(start);
        }
        written.map(|()| failed).map_err(Failure::Ended)
    });
    errors.iter().for_each(|code| server.observer.count_error(code));
    guard.end(lua)?;
    outcome
}

impl Run {
    /// `redis.call` and `redis.pcall`: executes a command and answers its reply.
    ///
    /// # Errors
    /// If it is not executed.
    fn redis_call(&mut self, server: &mut Server, args: &Arguments) -> LibResult<Reply> {
        if args.is_empty() {
            return Err(no_arguments(server));
        }
        let mut numbers = Vec::new();
        let args = command_args(args, &mut numbers).ok_or_else(|| bad_arguments(server))?;
        server.scripting.scripts.debugger.note_call(&args);
        let id = find_for_script(server, &args)
            .map_err(|(known, error)| refused(server, known, &error))?;
        let allowed = self.may_call(server, id, &args);
        allowed.map_err(|error| refused(server, Some(id), &error))?;
        self.wrote |= server.commands.get(id).is(CommandFlags::WRITE);
        let mut call = Call::of_script(self.token, self.db, self.protocol, &args);
        dispatch::call(server, &mut call, id, &args);
        self.db = call.db;
        server.scripting.scripts.debugger.note_reply(&call.reply);
        Ok(call.reply)
    }

    /// The checks before a command of a script, in Redis's order.
    fn may_call(&mut self, s: &mut Server, id: CommandId, args: &[&[u8]]) -> CommandResult {
        let flags = s.commands.get(id).flags;
        if flags.contains(CommandFlags::NOSCRIPT) && !s.scripting.scripts.may_call_all() {
            return Err(NOT_FROM_SCRIPT);
        }
        if !flags.contains(CommandFlags::STALE) && replica::has_stale_data(s) {
            return Err(STALE);
        }
        if let Err(denied) = acl::acl_check(s, self.token, id, args) {
            acl::log_denied(s, self.token, id, args, denied, Origin::Lua);
            let text = acl::refusal_text(s, self.token, id, args, denied);
            let text = [b"ACL failure in script: ", &text[..]].concat();
            return Err(CommandError::err_with(text));
        }
        let writes = flags.contains(CommandFlags::WRITE);
        if self.read_only && (writes || flags.contains(CommandFlags::MAY_REPLICATE)) {
            return Err(NO_WRITES);
        }
        if busy::must_obey(s, self.token) {
            return Ok(());
        }
        // When half of it has been done it can't fail any more for the server's sake.
        if writes && !self.wrote {
            may_script_write(s)?;
        }
        if flags.contains(CommandFlags::DENYOOM)
            && !self.wrote
            && !self.flags.contains(ScriptFlags::ALLOW_OOM)
            && evict::is_out_of_memory(s)
        {
            return Err(CommandError::OOM);
        }
        if s.cluster.is_some() { self.check_slots(s, id, args) } else { Ok(()) }
    }

    /// In a cluster: whether the keys of a command belong together, to this node and, unless the script has its way,
    /// to the keys before.
    fn check_slots(&mut self, server: &Server, id: CommandId, args: &[&[u8]]) -> CommandResult {
        let command = server.commands.get(id);
        let name = command.name;
        let checked = check_slots(server, self.token, id, args, command.flags, self.db);
        let slot = checked.map_err(|error| match error {
            SlotError::CrossSlot => CommandError::err_with(format!(
                "Command '{name}' in script attempted to access keys that don't hash to the same slot"
            )),
            SlotError::NotServed => CommandError::err("Script attempted to access a slot not served"),
            SlotError::DownForWrites => CommandError::err(
                "Script attempted to execute a write command while the cluster is down and readonly",
            ),
            SlotError::Unstable => CommandError::err_with(format!(
                "Unable to execute command '{name}' in script because undeclared keys were accessed during \
                 rehashing of the slot"
            )),
            SlotError::Moved(_) | SlotError::Ask(_) => {
                CommandError::err("Script attempted to access a non local key in a cluster node")
            }
            SlotError::Down => {
                CommandError::err("Script attempted to execute a command while the cluster is down")
            }
        })?;
        let free = ScriptFlags::COMPATIBLE | ScriptFlags::ALLOW_CROSS_SLOT_KEYS;
        match slot {
            Some(slot)
                if !self.flags.intersects(free) && *self.slot.get_or_insert(slot) != slot =>
            {
                Err(CommandError::err(
                    "Script attempted to access keys that do not hash to the same slot",
                ))
            }
            _ => Ok(()),
        }
    }

    /// The script has run for long: others are served.
    ///
    /// # Errors
    /// If it is to end.
    fn interrupt(&mut self, server: &mut Server) -> LibResult {
        if !server.scripting.is_busy() {
            self.become_busy(server);
        }
        server.scripting.note_writes(self.wrote);
        turn::serve_others(server);
        if server.lifecycle.shutdown.exit_code().is_some() {
            return Err(LibError::table("ERR The server ends"));
        }
        if server.scripting.is_killed() {
            server.notice("Lua script killed by user with SCRIPT KILL.");
            return Err(LibError::table("ERR Script killed by user with SCRIPT KILL..."));
        }
        Ok(())
    }

    fn become_busy(&mut self, server: &mut Server) {
        let busy = BusyScript {
            name: Rc::clone(&self.name),
            command: mem::take(&mut self.command),
            is_function: self.is_function,
            started: self.started,
            title: server.config.title(),
            caller: self.token,
            wrote: self.wrote,
        };
        server.warning(&format!(
            "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the \
             {} command. Script name is: {}.",
            self.started.elapsed().as_millis(),
            busy.kill_command(),
            self.name,
        ));
        server.scripting.become_busy(busy);
    }

    fn log(&mut self, server: &mut Server, args: &[Value]) -> LibResult<Option<Value>> {
        let (level, line) = log_line(args)?;
        server.log(level, &line);
        Ok(None)
    }

    fn set_resp(&mut self, _: &mut Server, args: &[Value]) -> LibResult<Option<Value>> {
        let [version] = args else {
            return Err(LibError::table("ERR redis.setresp() requires one argument."));
        };
        self.protocol = match to_number(version).map(truncated) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            _ => return Err(LibError::table("ERR RESP version must be 2 or 3.")),
        };
        Ok(None)
    }

    fn set_repl(&mut self, server: &mut Server, args: &[Value]) -> LibResult<Option<Value>> {
        let [targets] = args else {
            return Err(LibError::table("ERR redis.set_repl() requires one argument."));
        };
        let targets = truncated(to_number(targets).unwrap_or(0.0)) as i32;
        if targets & !3 != 0 {
            return Err(LibError::table(
                "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            ));
        }
        let targets = Targets { aof: targets & 1 != 0, replicas: targets & 2 != 0 };
        server.effects.set_targets(targets);
        Ok(None)
    }

    fn breakpoint(&mut self, server: &mut Server, _: &[Value]) -> LibResult<Option<Value>> {
        Ok(Some(Value::Boolean(server.scripting.scripts.debugger.break_at_next_line())))
    }

    fn debug(&mut self, server: &mut Server, values: &[Value]) -> LibResult<Option<Value>> {
        server.scripting.scripts.debugger.note_values(values);
        Ok(None)
    }

    fn acl_check_cmd(&mut self, server: &mut Server, args: &[Value]) -> LibResult<Option<Value>> {
        if args.is_empty() {
            return Err(no_arguments(server));
        }
        let args: Option<Vec<Vec<u8>>> = args.iter().map(to_argument).collect();
        let args = args.ok_or_else(|| bad_arguments(server))?;
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let commands = &server.commands;
        let id = commands.find(args[0]).and_then(|id| match args.get(1) {
            Some(sub) if !commands.get(id).subcommands.is_empty() => {
                commands.find_subcommand(id, sub)
            }
            _ => Some(id),
        });
        let id = id.ok_or_else(|| {
            let library = match server.config.flavour.errors_of_scripts_name_no_redis {
                true => "server",
                false => "redis",
            };
            LibError::table(format!("ERR Invalid command passed to {library}.acl_check_cmd()"))
        })?;
        Ok(Some(Value::Boolean(acl::acl_check(server, self.token, id, &args).is_ok())))
    }
}

/// A script calls without saying what.
fn no_arguments(server: &Server) -> LibError {
    let call = match server.config.flavour.errors_of_scripts_name_no_redis {
        true => "call",
        false => "redis lib call",
    };
    LibError::table(format!("ERR Please specify at least one argument for this {call}"))
}

/// A script calls with what is no argument of a command.
fn bad_arguments(server: &Server) -> LibError {
    let whose = match server.config.flavour.errors_of_scripts_name_no_redis {
        true => "Command",
        false => "Lua redis lib command",
    };
    LibError::table(format!("ERR {whose} arguments must be strings or integers"))
}

/// A command is not called: the script hears why, and it counts as an error.
fn refused(server: &mut Server, id: Option<CommandId>, error: &CommandError) -> LibError {
    if let Some(id) = id {
        server.commands.get_mut(id).stats.rejected += 1;
    }
    server.observer.count_error(&error.code);
    server.scripting.scripts.debugger.note_refusal(error);
    LibError::Table { text: error.to_bytes(), counted: true }
}

/// The command that a script calls; if there is none, the error, and whose it is.
fn find_for_script(
    server: &Server,
    args: &[&[u8]],
) -> Result<CommandId, (Option<CommandId>, CommandError)> {
    let redis = match server.config.flavour.errors_of_scripts_name_no_redis {
        true => "",
        false => "Redis ",
    };
    let unknown = || CommandError::err_with(format!("Unknown {redis}command called from script"));
    let wrong_arity = || {
        CommandError::err_with(format!("Wrong number of args calling {redis}command from script"))
    };
    let id = server.commands.find(args[0]).ok_or_else(|| (None, unknown()))?;
    server.commands.resolve(id, args).map_err(|(known, _)| match known {
        Some(id) => (Some(id), wrong_arity()),
        None => (None, unknown()),
    })
}

/// Whether a script's command may write.
fn may_script_write(server: &mut Server) -> CommandResult {
    if server.repl.is_replica() && server.config.replica_read_only {
        return Err(CommandError::READ_ONLY);
    }
    if server.persistence.has_disk_error()
        && let Some(error) = server.persistence.disk_error(&server.config)
    {
        return Err(error.into());
    }
    if server.config.min_replicas_to_write > 0 && !feed::enough_good_replicas(server) {
        return Err(CommandError::NO_REPLICAS);
    }
    Ok(())
}
