//! Commands about the server as a whole: COMMAND, TIME, SAVE and its kin, SHUTDOWN, SLOWLOG, COMMANDLOG, LATENCY,
//! LOLWUT.

use super::args::{int, is};
use super::set::reply_entry;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::config::{ShutdownFlags, SnapshotMethod};
use crate::server::observe::command_log::Measure;
use crate::server::persistence;
use crate::server::persistence::SaveTarget;
use crate::server::persistence::aof::rewrite;
use crate::server::propagate;
use crate::server::replication::primary::snapshot;
use crate::server::shutdown;
use crate::server::table::{Command, CommandTable, Row};
use crate::spec::CommandSpec;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::spec::reply::{
    COMMAND_HELP, ListFilter, reply_command, reply_command_docs, reply_command_docs_of,
    reply_command_getkeys, reply_command_info, reply_command_list,
};
use crate::util::histogram::Histogram;
use crate::util::number::parse_i64;

const SLOWLOG_HELP: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

const COMMANDLOG_HELP: &[&str] = &[
    "GET <count> <type>",
    "    Return top <count> entries of the specified <type> from the commandlog (-1 mean all).",
    "    Entries are made of:",
    "    id, timestamp,",
    "        time in microseconds for type of slow,",
    "        or size in bytes for type of large-request,",
    "        or size in bytes for type of large-reply",
    "    arguments array, client IP and port,",
    "    client name",
    "LEN <type>",
    "    Return the length of the specified type of commandlog.",
    "RESET <type>",
    "    Reset the specified type of commandlog.",
];

const LATENCY_HELP: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

const SAVE_IN_PROGRESS: CommandError = CommandError::err("Background save already in progress");
const OTHER_CHILD: CommandError = CommandError::err(
    "Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a \
     BGSAVE whenever possible.",
);
/// As Redis answers where the log says why.
const FAILED: CommandError = CommandError::err("");

fn spec_of(commands: &CommandTable, name: &[u8]) -> Option<&'static CommandSpec> {
    commands.find_full(name).map(|id| commands.get(id).spec)
}

fn top_level_specs(commands: &CommandTable) -> Vec<&'static CommandSpec> {
    commands.top_level().map(|command| command.spec).collect()
}

fn command(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_command(&mut call.reply, top_level_specs(&s.commands).into_iter());
    Ok(())
}

fn command_count(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.int(s.commands.top_level().count() as i64);
    Ok(())
}

fn command_info(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match &args[2..] {
        [] => return command(s, call, args),
        names => reply_command_info(&mut call.reply, names, |name| spec_of(&s.commands, name)),
    }
    Ok(())
}

fn command_docs(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    match &args[2..] {
        [] => reply_command_docs(&mut call.reply, top_level_specs(&s.commands).into_iter()),
        names => reply_command_docs_of(&mut call.reply, names, |name| spec_of(&s.commands, name)),
    }
    Ok(())
}

fn command_list(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let filter = ListFilter::parse(&args[2..])?;
    reply_command_list(&mut call.reply, top_level_specs(&s.commands).into_iter(), filter);
    Ok(())
}

fn command_getkeys(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    getkeys(s, call, &args[2..], false)
}

fn command_getkeysandflags(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    getkeys(s, call, &args[2..], true)
}

fn getkeys(s: &mut Server, call: &mut Call, request: &[&[u8]], with_flags: bool) -> CommandResult {
    let commands = &s.commands;
    let found = commands.find(request[0]).and_then(|id| match request.get(1) {
        Some(name) if !commands.get(id).subcommands.is_empty() => {
            commands.find_subcommand(id, name)
        }
        _ => Some(id),
    });
    let found = found.map(|id| commands.get(id).spec);
    reply_command_getkeys(&mut call.reply, found, request, with_flags)
}

fn command_help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "COMMAND", COMMAND_HELP);
    Ok(())
}

fn time(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    // In a transaction or script time stands still.
    let now = if propagate::gathers_unit(s) { s.ks.now_us } else { s.ks.clock.unix_us() };
    call.reply.array(2);
    call.reply.bulk_int(now / 1_000_000);
    call.reply.bulk_int(now % 1_000_000);
    Ok(())
}

fn lastsave(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.int(s.persistence.snapshots.last_save());
    Ok(())
}

fn save(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    if is_saving(s) {
        return Err(SAVE_IN_PROGRESS);
    }
    s.persistence.snapshots.count_save();
    if !persistence::rdb_save(s) {
        return Err(FAILED);
    }
    call.reply.ok();
    Ok(())
}

/// BGSAVE [SCHEDULE] [FORK | FORKLESS] | CANCEL
fn bgsave(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let schedule = args.get(1).is_some_and(|option| is(option, "SCHEDULE"));
    let method = match args[if schedule { 2 } else { 1 }..] {
        [] => None,
        [how] if is(how, "FORK") => Some(SnapshotMethod::Fork),
        [how] if is(how, "FORKLESS") => Some(SnapshotMethod::Incremental),
        [how] if !schedule && is(how, "CANCEL") => return cancel_bgsave(s, call),
        _ => return Err(CommandError::SYNTAX),
    };
    if is_saving(s) {
        return Err(SAVE_IN_PROGRESS);
    }
    let in_exec = s.client(call).is(ClientFlags::MULTI);
    if s.persistence.saver().is_some() || in_exec {
        if !schedule && !in_exec {
            return Err(OTHER_CHILD);
        }
        s.persistence.snapshots.schedule(method);
        call.reply.simple("Background saving scheduled");
        return Ok(());
    }
    let method = method.unwrap_or(s.config.snapshot_method);
    let contents = persistence::all_contents(s);
    persistence::rdb_save_background(s, SaveTarget::Disk, contents, &[], method)
        .map_err(|_| FAILED)?;
    call.reply.simple("Background saving started");
    Ok(())
}

/// Ends the snapshot that is being made, or forgets the one that is to be.
fn cancel_bgsave(s: &mut Server, call: &mut Call) -> CommandResult {
    if is_saving(s) {
        s.notice("Background saving will be aborted due to user request");
        snapshot::kill_saver(s);
        call.reply.simple("Background saving cancelled");
    } else if s.persistence.snapshots.unschedule() {
        s.notice("Scheduled background saving will be cancelled due to user request");
        call.reply.simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::err(
            "Background saving is currently not in progress or scheduled",
        ));
    }
    Ok(())
}

/// Whether a snapshot is being made, as opposed to rewriting the append-only file.
fn is_saving(s: &Server) -> bool {
    s.persistence.saver().is_some() && !s.persistence.is_rewriting_aof()
}

fn bgrewriteaof(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let text = rewrite::bgrewriteaof(s).map_err(CommandError::err_with)?;
    call.reply.simple(text);
    Ok(())
}

fn shutdown(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut flags = ShutdownFlags::empty();
    let mut abort = false;
    for option in &args[1..] {
        match option.to_ascii_lowercase().as_slice() {
            b"nosave" => flags |= ShutdownFlags::NOSAVE,
            b"save" => flags |= ShutdownFlags::SAVE,
            b"now" => flags |= ShutdownFlags::NOW,
            b"force" => flags |= ShutdownFlags::FORCE,
            b"abort" => abort = true,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    if (abort && !flags.is_empty()) || flags.contains(ShutdownFlags::SAVE | ShutdownFlags::NOSAVE) {
        return Err(CommandError::SYNTAX);
    }
    if abort {
        if !shutdown::abort_shutdown(s) {
            return Err(CommandError::err("No shutdown in progress."));
        }
        call.reply.ok();
        return Ok(());
    }
    if call.deny_blocking && !flags.contains(ShutdownFlags::NOW) {
        return Err(CommandError::err(
            "SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client",
        ));
    }
    if s.persistence.is_loading() {
        // Half a dataset must not take the place of the whole one.
        flags.remove(ShutdownFlags::SAVE);
        flags |= ShutdownFlags::NOSAVE;
    }
    if let Some(busy) = s.scripting.busy() {
        if !flags.contains(ShutdownFlags::NOSAVE) {
            return Err(busy.error());
        }
        // Nobody can wait for replicas in the midst of a script.
        flags |= ShutdownFlags::NOW;
    }
    shutdown::shutdown_command(s, flags)
}

fn slowlog_get(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if args.len() > 3 {
        return Err(subcommand_syntax_error("SLOWLOG", args));
    }
    let count = args.get(2).map_or(Ok(10), |arg| log_count(arg))?;
    reply_command_log(s, call, Measure::Duration, count);
    Ok(())
}

/// How many entries of a log are wanted.
fn log_count(arg: &[u8]) -> CommandResult<usize> {
    let wanted = parse_i64(arg).filter(|n| *n >= -1);
    let wanted =
        wanted.ok_or_else(|| CommandError::err("count should be greater than or equal to -1"))?;
    Ok(usize::try_from(wanted).unwrap_or(usize::MAX))
}

/// Replies with the newest entries of a log.
fn reply_command_log(s: &mut Server, call: &mut Call, measure: Measure, count: usize) {
    let entries = s.observer.command_logs.of(measure).entries();
    let reply = &mut call.reply;
    reply.array(entries.len().min(count));
    for entry in entries.take(count) {
        reply.array(6);
        reply.int(entry.id as i64);
        reply.int(entry.time);
        reply.int(entry.measured as i64);
        reply.array(entry.arg_count());
        entry.args().chain(entry.client()).for_each(|text| reply_entry(reply, text));
    }
}

fn slowlog_len(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    call.reply.int(s.observer.command_logs.of(Measure::Duration).entries().len() as i64);
    Ok(())
}

fn slowlog_reset(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    s.observer.command_logs.of_mut(Measure::Duration).clear();
    call.reply.ok();
    Ok(())
}

fn slowlog_help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "SLOWLOG", SLOWLOG_HELP);
    Ok(())
}

/// COMMANDLOG GET count SLOW|LARGE-REQUEST|LARGE-REPLY
fn commandlog_get(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let count = log_count(args[2])?;
    reply_command_log(s, call, measure_of(args[3])?, count);
    Ok(())
}

/// COMMANDLOG LEN SLOW|LARGE-REQUEST|LARGE-REPLY
fn commandlog_len(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    call.reply.int(s.observer.command_logs.of(measure_of(args[2])?).entries().len() as i64);
    Ok(())
}

/// COMMANDLOG RESET SLOW|LARGE-REQUEST|LARGE-REPLY
fn commandlog_reset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    s.observer.command_logs.of_mut(measure_of(args[2])?).clear();
    call.reply.ok();
    Ok(())
}

fn commandlog_help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "COMMANDLOG", COMMANDLOG_HELP);
    Ok(())
}

/// Which of the command logs a client means.
fn measure_of(arg: &[u8]) -> CommandResult<Measure> {
    match arg {
        _ if is(arg, "SLOW") => Ok(Measure::Duration),
        _ if is(arg, "LARGE-REQUEST") => Ok(Measure::Request),
        _ if is(arg, "LARGE-REPLY") => Ok(Measure::Reply),
        _ => Err(CommandError::err(
            "type should be one of the following: slow, large-request, large-reply",
        )),
    }
}

fn latency_histogram(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let chosen: Vec<&Command> = match &args[2..] {
        [] => s.commands.iter().collect(),
        names => names
            .iter()
            .filter_map(|name| s.commands.find_full(name))
            .flat_map(|id| with_subcommands(&s.commands, id))
            .collect(),
    };
    let reply = &mut call.reply;
    let at = reply.deferred();
    let mut shown = 0;
    for command in chosen {
        let Some(histogram) = &command.stats.histogram else { continue };
        reply.bulk_str(command.name);
        reply_histogram(reply, histogram);
        shown += 1;
    }
    reply.set_map(at, shown);
    Ok(())
}

/// A command and, if it is a container, its subcommands.
fn with_subcommands(commands: &CommandTable, id: usize) -> impl Iterator<Item = &Command> {
    let command = commands.get(id);
    std::iter::once(command).chain(command.subcommands.clone().map(|sub| commands.get(sub)))
}

/// How many calls took at most so many microseconds, for each power of two where there were more than below it.
fn reply_histogram(reply: &mut Reply, histogram: &Histogram) {
    reply.map(2);
    reply.bulk(b"calls");
    reply.int(histogram.count() as i64);
    reply.bulk(b"histogram_usec");
    let at = reply.deferred();
    let (mut total, mut shown, mut entries) = (0, 0, 0);
    for (bits, n) in histogram.iter() {
        total += n;
        // A kilo-nanosecond of 1024 is the first bound; Redis's histogram, exact to two digits, then rounds so.
        if bits < 10 || total == shown {
            continue;
        }
        let bound = (1u64 << bits) + (1u64 << (bits - 7)) - 1;
        reply.int((bound / 1000) as i64);
        reply.int(total as i64);
        (shown, entries) = (total, entries + 1);
    }
    reply.set_map(at, entries);
}

fn latency_latest(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let latency = &s.observer.latency;
    let reply = &mut call.reply;
    reply.array(latency.events().count());
    for (event, series) in latency.events() {
        let last = series.latest();
        reply.array(4);
        reply.bulk_str(event);
        reply.int(last.time);
        reply.int(last.ms as i64);
        reply.int(series.max_ms as i64);
    }
    Ok(())
}

fn latency_history(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let samples =
        s.observer.latency.series(args[2]).map(|series| series.samples()).unwrap_or_default();
    call.reply.array(samples.len());
    for sample in samples {
        call.reply.array(2);
        call.reply.int(sample.time);
        call.reply.int(sample.ms as i64);
    }
    Ok(())
}

fn latency_graph(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let Some(series) = s.observer.latency.series(args[2]) else {
        return Err(CommandError::quoting("No samples available for event '", args[2], "'"));
    };
    let graph = series.graph(&String::from_utf8_lossy(args[2]), s.now_seconds());
    call.reply.verbatim(b"txt", graph.as_bytes());
    Ok(())
}

fn latency_doctor(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let report = s.observer.latency.doctor();
    call.reply.verbatim(b"txt", report.as_bytes());
    Ok(())
}

fn latency_reset(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let reset = match &args[2..] {
        [] => s.observer.latency.reset_all(),
        events => events.iter().filter(|event| s.observer.latency.reset(event)).count(),
    };
    call.reply.int(reset as i64);
    Ok(())
}

fn latency_help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    reply_help(&mut call.reply, "LATENCY", LATENCY_HELP);
    Ok(())
}

/// The lines of a sea, higher where the chance wants it.
const SEA_WIDTH: usize = 60;
const SEA_HEIGHT: usize = 7;

fn lolwut(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if let [_, option, version, ..] = args
        && is(option, "VERSION")
    {
        // There is one picture only, but no version that is no number.
        int(version)?;
    }
    // Two waves over each other, at a random time of the tide.
    let phase = s.random_below(1000) as f64 / 1000.0 * std::f64::consts::TAU;
    let mut art = String::new();
    for row in (0..SEA_HEIGHT).rev() {
        for column in 0..SEA_WIDTH {
            let x = column as f64;
            let height = (SEA_HEIGHT as f64 / 2.0)
                * (1.0 + 0.5 * (x / 5.0 + phase).sin() + 0.3 * (x / 2.3 - phase).sin());
            let above = row as f64 + 1.0 - height;
            art.push(if above > 1.0 {
                ' '
            } else if above > 0.0 {
                '~'
            } else {
                '.'
            });
        }
        art.truncate(art.trim_end_matches(' ').len());
        art.push('\n');
    }
    art.push_str(&format!(
        "\nAeolus keeps the winds. Redis ver. {}\n",
        s.config.redis_version_announced
    ));
    call.reply.verbatim(b"txt", art.as_bytes());
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("command", command),
    ("command|count", command_count),
    ("command|info", command_info),
    ("command|docs", command_docs),
    ("command|list", command_list),
    ("command|getkeys", command_getkeys),
    ("command|getkeysandflags", command_getkeysandflags),
    ("command|help", command_help),
    ("time", time),
    ("lastsave", lastsave),
    ("save", save),
    ("bgsave", bgsave),
    ("bgrewriteaof", bgrewriteaof),
    ("shutdown", shutdown),
    ("slowlog|get", slowlog_get),
    ("slowlog|len", slowlog_len),
    ("slowlog|reset", slowlog_reset),
    ("slowlog|help", slowlog_help),
    ("commandlog|get", commandlog_get),
    ("commandlog|len", commandlog_len),
    ("commandlog|reset", commandlog_reset),
    ("commandlog|help", commandlog_help),
    ("latency|histogram", latency_histogram),
    ("latency|latest", latency_latest),
    ("latency|history", latency_history),
    ("latency|graph", latency_graph),
    ("latency|doctor", latency_doctor),
    ("latency|reset", latency_reset),
    ("latency|help", latency_help),
    ("lolwut", lolwut),
];
