//! What changes a stream's log: XADD, XDEL, XTRIM, XSETID; and XLEN, which tells how long it is.

use super::delete::{Effects, References};
use super::{id, reply_id};
use crate::command::args::{self, is};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::client::ClientFlags;
use crate::server::propagate;
use crate::value::stream::log::{NewId, NodeLimits, TrimTo};
use crate::value::stream::{Log, Stream, StreamId};

const TWO_STRATEGIES: CommandError =
    CommandError::err("syntax error, MAXLEN and MINID options at the same time are not compatible");
const EXHAUSTED: CommandError =
    CommandError::err("The stream has exhausted the last possible ID, unable to add more items");
const ID_TOO_SMALL: CommandError = CommandError::err(
    "The ID specified in XADD is equal or smaller than the target stream top item",
);

/// Trims at most so many entries if `LIMIT` does not say otherwise and nodes have any number of them.
const DEFAULT_LIMIT: u64 = 10_000;
const MAX_DEFAULT_LIMIT: u64 = 1_000_000;

/// The options that XADD and XTRIM share.
#[derive(Clone, Copy, Debug)]
struct Trim {
    to: TrimTo,
    /// `~`: whole nodes only, and at most `limit` entries, if that is not 0.
    approximate: bool,
    limit: u64,
    /// Where the strategy and its threshold stand among the arguments, and where `LIMIT` does.
    at: usize,
    to_at: usize,
    limit_at: Option<usize>,
}

#[derive(Debug)]
struct Options {
    trim: Option<Trim>,
    no_mkstream: bool,
    /// What becomes of deliveries of entries that are trimmed, and where that stands (Redis 8.2).
    references: References,
    references_at: Option<usize>,
    /// XADD's ID, and where it stands; behind the last argument if it is missing.
    id: NewId,
    id_at: usize,
}

impl Options {
    /// Parses the options from `args[2]` on.
    fn parse(s: &mut Server, call: &Call, args: &[&[u8]], xadd: bool) -> CommandResult<Options> {
        let mut options = Options {
            trim: None,
            no_mkstream: false,
            references: References::Keep,
            references_at: None,
            id: NewId::Auto,
            id_at: args.len(),
        };
        let mut limit = None;
        let mut at = 2;
        while at < args.len() {
            let more = args.len() - 1 - at;
            let arg = args[at];
            if xadd && arg == b"*" {
                options.id_at = at;
                break;
            } else if (is(arg, "MAXLEN") || is(arg, "MINID")) && more > 0 {
                if options.trim.is_some() {
                    return Err(TWO_STRATEGIES);
                }
                let sign = if more > 1 { args[at + 1] } else { b"" };
                let first = at;
                at += if sign == b"~" || sign == b"=" { 2 } else { 1 };
                let to = trim_to(arg, args[at])?;
                let approximate = sign == b"~";
                options.trim =
                    Some(Trim { to, approximate, limit: 0, at: first, to_at: at, limit_at: None });
            } else if is(arg, "LIMIT") && more > 0 {
                at += 1;
                let n = args::int(args[at])?;
                let n = u64::try_from(n)
                    .map_err(|_| CommandError::err("The LIMIT argument must be >= 0."))?;
                limit = Some((at - 1, n));
            } else if let Some(references) = References::parse(arg)
                && options.references_at.is_none()
            {
                (options.references, options.references_at) = (references, Some(at));
            } else if xadd && is(arg, "NOMKSTREAM") {
                options.no_mkstream = true;
            } else if xadd {
                options.id = new_id(arg)?;
                options.id_at = at;
                break;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        options.apply_limit(s, call, limit, xadd)?;
        Ok(options)
    }

    fn apply_limit(
        &mut self,
        s: &mut Server,
        call: &Call,
        limit: Option<(usize, u64)>,
        xadd: bool,
    ) -> CommandResult {
        let Some(trim) = &mut self.trim else {
            if limit.is_some_and(|(_, n)| n > 0) {
                return Err(CommandError::err(
                    "syntax error, LIMIT cannot be used without specifying a trimming strategy",
                ));
            }
            if !xadd {
                return Err(CommandError::err(
                    "syntax error, XTRIM must be called with a trimming strategy",
                ));
            }
            return Ok(());
        };
        trim.limit_at = limit.map(|(at, _)| at);
        if s.client(call).is(ClientFlags::MASTER) {
            // What the primary has trimmed is to be trimmed here.
            return Ok(());
        }
        match limit {
            Some(_) if !trim.approximate => {
                return Err(CommandError::err(
                    "syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            Some((_, n)) => trim.limit = n,
            None if trim.approximate => {
                let nodes = s.config.stream_node_max_entries.saturating_mul(100);
                let limit = if nodes == 0 { DEFAULT_LIMIT } else { nodes };
                trim.limit = limit.min(MAX_DEFAULT_LIMIT);
            }
            None => {}
        }
        Ok(())
    }
}

/// The threshold of a trimming strategy, which `option` names.
fn trim_to(option: &[u8], arg: &[u8]) -> CommandResult<TrimTo> {
    if is(option, "MINID") {
        return Ok(TrimTo::MinId(id(arg, 0)?));
    }
    let max = u64::try_from(args::int(arg)?);
    max.map(TrimTo::MaxLen).map_err(|_| CommandError::err("The MAXLEN argument must be >= 0."))
}

/// The ID of a new entry, if it is not `*`.
fn new_id(arg: &[u8]) -> CommandResult<NewId> {
    match arg.strip_suffix(b"-*") {
        Some(ms) if !ms.contains(&b'-') => Ok(NewId::Millisecond(id(ms, 0)?.ms)),
        _ => id(arg, 0).map(NewId::Exact),
    }
}

pub(super) fn xadd(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let options = Options::parse(s, call, args, true)?;
    let key = args[1];
    let fields = args.get(options.id_at + 1..).unwrap_or(&[]);
    if fields.is_empty() || fields.len() % 2 == 1 {
        return Err(CommandError::err("wrong number of arguments for 'xadd' command"));
    }
    if options.id == NewId::Exact(StreamId::MIN) {
        return Err(CommandError::err("The ID specified in XADD must be greater than 0-0"));
    }
    if !Log::fits(fields) {
        return Err(CommandError::err("Elements are too large to be stored"));
    }
    let limits = NodeLimits {
        max_bytes: s.config.stream_node_max_bytes,
        max_entries: s.config.stream_node_max_entries,
    };
    let now = s.ks.now_ms;
    let stream = match s.ks.write::<Stream>(call.db, key)? {
        Some(stream) => stream,
        None if options.no_mkstream => {
            call.reply.null();
            return Ok(());
        }
        None => s.ks.write_or_create(call.db, key, Stream::new)?,
    };
    if stream.log.last_id == StreamId::MAX {
        return Err(EXHAUSTED);
    }
    let id = stream.log.new_id(options.id, now).ok_or(ID_TOO_SMALL)?;
    stream.log.append(id, fields, limits);
    let trimmed = options.trim.map(|trim| trim.apply(stream, options.references));
    reply_id(&mut call.reply, id);
    s.ks.changes.write(Class::STREAM, "xadd", call.db, key);
    if trimmed.as_ref().is_some_and(|trimmed| trimmed.count > 0) {
        s.ks.changes.notifications.push(Class::STREAM, "xtrim", call.db, key);
    }
    s.ks.changes.blocked.signal_ready(call.db, key);
    let approximate = options.trim.is_some_and(|trim| trim.approximate);
    let as_it_came = !approximate && options.references_at.is_none();
    if propagate::is_propagated(s) && !(as_it_came && matches!(options.id, NewId::Exact(_))) {
        let id = id.text();
        let mut command = args.to_vec();
        command[options.id_at] = &id;
        propagate_trimmed(s, call, command, &options, trimmed.as_ref());
    }
    Ok(())
}

/// What trimming has done.
struct Trimmed {
    count: u64,
    /// A threshold that trims another copy of the stream exactly as much.
    to: TrimTo,
    /// In place of that, where references mattered.
    effects: Option<Effects>,
}

impl Trim {
    fn apply(&self, stream: &mut Stream, references: References) -> Trimmed {
        let mut effects = None;
        let count = match references {
            References::Keep => stream.log.trim(self.to, self.approximate, self.limit),
            // Whole nodes go only without a look at their entries: in Redis 8.2, none does then.
            _ if self.approximate => 0,
            _ => effects.insert(Effects::default()).trim(stream, self.to, references),
        };
        Trimmed { count, to: remaining(&stream.log, self.to), effects }
    }
}

/// What is left after trimming, as a threshold.
fn remaining(log: &Log, to: TrimTo) -> TrimTo {
    match to {
        TrimTo::MaxLen(_) => TrimTo::MaxLen(log.len()),
        TrimTo::MinId(_) if log.is_empty() => TrimTo::MinId(StreamId::MAX),
        TrimTo::MinId(_) => TrimTo::MinId(log.first_id()),
    }
}

/// Propagates a command that may have trimmed, with the exact outcome as its threshold, or behind it.
fn propagate_trimmed(
    s: &mut Server,
    call: &mut Call,
    command: Vec<&[u8]>,
    options: &Options,
    trimmed: Option<&Trimmed>,
) {
    let mut digits = itoa::Buffer::new();
    let id;
    let mut command = command;
    let mut left_out = Vec::from_iter(options.references_at);
    let effects = trimmed.and_then(|trimmed| trimmed.effects.as_ref());
    match (options.trim, trimmed) {
        (Some(trim), Some(_)) if effects.is_some() => left_out.extend(trim.at..=trim.to_at),
        (Some(trim), Some(trimmed)) if trim.approximate => {
            command[trim.to_at - 1] = b"=";
            command[trim.to_at] = match trimmed.to {
                TrimTo::MaxLen(n) => digits.format(n).as_bytes(),
                TrimTo::MinId(min) => {
                    id = min.text();
                    &id
                }
            };
            // Only what is approximate may be limited.
            left_out.extend(trim.limit_at.into_iter().flat_map(|at| [at, at + 1]));
        }
        _ => {}
    }
    let mut at = 0..;
    command.retain(|_| !left_out.contains(&at.next().unwrap_or_default()));
    propagate::propagate_instead(s, call, &command);
    if let Some(effects) = effects {
        effects.propagate(s, call, command[1]);
    }
}

pub(super) fn xtrim(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let options = Options::parse(s, call, args, false)?;
    let Some(trim) = options.trim else { return Err(CommandError::SYNTAX) };
    let mut removed = 0;
    if let Some(stream) = s.ks.write::<Stream>(call.db, key)? {
        let trimmed = trim.apply(stream, options.references);
        removed = trimmed.count;
        if removed > 0 {
            s.ks.changes.write(Class::STREAM, "xtrim", call.db, key);
            s.ks.changes.dirty += removed - 1;
        }
        match &trimmed.effects {
            Some(effects) => effects.propagate(s, call, key),
            None if trim.approximate || options.references_at.is_some() => {
                propagate_trimmed(s, call, args.to_vec(), &options, Some(&trimmed));
            }
            None => {}
        }
    }
    call.reply.int(removed as i64);
    Ok(())
}

pub(super) fn xdel(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let Some(stream) = s.ks.write::<Stream>(call.db, key)? else {
        call.reply.int(0);
        return Ok(());
    };
    // All or nothing: no entry is deleted if an ID is wrong.
    for arg in &args[2..] {
        id(arg, 0)?;
    }
    let mut deleted = 0;
    for arg in &args[2..] {
        deleted += u64::from(stream.log.delete(id(arg, 0)?));
    }
    if deleted > 0 {
        s.ks.changes.write(Class::STREAM, "xdel", call.db, key);
        s.ks.changes.dirty += deleted - 1;
    }
    call.reply.int(deleted as i64);
    Ok(())
}

pub(super) fn xlen(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let len = s.ks.read::<Stream>(call.db, args[1])?.map_or(0, |stream| stream.log.len());
    call.reply.int(len as i64);
    Ok(())
}

pub(super) fn xsetid(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, new_last) = (args[1], id(args[2], 0)?);
    let (mut entries_added, mut max_deleted) = (None, None);
    for option in args[3..].chunks(2) {
        match *option {
            [name, n] if is(name, "ENTRIESADDED") => {
                let n = u64::try_from(args::int(n)?);
                let n = n.map_err(|_| CommandError::err("entries_added must be positive"))?;
                entries_added = Some(n);
            }
            [name, arg] if is(name, "MAXDELETEDID") => {
                let max = id(arg, 0)?;
                if new_last < max {
                    return Err(CommandError::err(
                        "The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
                max_deleted = Some(max).filter(|&max| max != StreamId::MIN);
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let stream = s.ks.write::<Stream>(call.db, key)?.ok_or(CommandError::NO_SUCH_KEY)?;
    let log = &mut stream.log;
    if new_last < log.max_deleted_id {
        return Err(CommandError::err(
            "The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if log.last_entry_id().is_some_and(|last| new_last < last) {
        return Err(CommandError::err(
            "The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if entries_added.is_some_and(|added| added < log.len()) {
        return Err(CommandError::err(
            "The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    log.last_id = new_last;
    log.entries_added = entries_added.unwrap_or(log.entries_added);
    log.max_deleted_id = max_deleted.unwrap_or(log.max_deleted_id);
    // The entries are as they were: nobody who watches the key needs to know.
    s.ks.changes.dirty += 1;
    s.ks.changes.notifications.push(Class::STREAM, "xsetid", call.db, key);
    call.reply.ok();
    Ok(())
}
