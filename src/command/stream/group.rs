//! XGROUP: makes, moves and removes consumer groups and their consumers.

use super::{id, no_such_group};
use crate::command::args::{self, is};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::spec::help::{reply_help, subcommand_syntax_error};
use crate::value::stream::{Group, Log, Stream, StreamId};

const NO_KEY: CommandError = CommandError::err(
    "The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

/// The options of CREATE and SETID.
#[derive(Default)]
struct Options {
    mkstream: bool,
    /// ENTRIESREAD, and where it stands.
    entries_read: Option<u64>,
    entries_read_at: usize,
}

impl Options {
    fn parse(args: &[&[u8]], create: bool) -> CommandResult<Options> {
        let mut options = Options::default();
        let mut rest = args.iter().enumerate().skip(5);
        while let Some((_, arg)) = rest.next() {
            if create && is(arg, "MKSTREAM") {
                options.mkstream = true;
            } else if is(arg, "ENTRIESREAD")
                && let Some((at, n)) = rest.next()
            {
                options.entries_read_at = at;
                options.entries_read = match args::int(n)? {
                    -1 => None,
                    n => Some(u64::try_from(n).map_err(|_| {
                        CommandError::err("value for ENTRIESREAD must be positive or -1")
                    })?),
                };
            } else {
                return Err(subcommand_syntax_error("XGROUP", args));
            }
        }
        Ok(options)
    }

    /// How many entries the group has read: no more than there ever were.
    fn entries_read(&self, log: &Log) -> Option<u64> {
        self.entries_read.map(|read| read.min(log.entries_added))
    }

    /// Propagates the command with what was made of ENTRIESREAD, where others might make something else of it.
    fn propagate(
        &self,
        s: &mut Server,
        call: &mut Call,
        args: &[&[u8]],
        entries_read: Option<u64>,
    ) {
        if let Some(read) = entries_read
            && self.entries_read != entries_read
        {
            let mut digits = itoa::Buffer::new();
            let mut command = args.to_vec();
            command[self.entries_read_at] = digits.format(read).as_bytes();
            propagate::propagate_instead(s, call, &command);
        }
    }
}

pub(super) fn create(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let options = Options::parse(args, true)?;
    let (key, name) = (args[2], args[3]);
    let found = s.ks.write::<Stream>(call.db, key)?;
    if found.is_none() && !options.mkstream {
        return Err(NO_KEY);
    }
    let last_id = match (args[4], &found) {
        (b"$", Some(stream)) => stream.log.last_id,
        (b"$", None) => StreamId::MIN,
        (arg, _) => id(arg, 0)?,
    };
    let stream = match found {
        Some(stream) => stream,
        None => {
            s.ks.changes.signal_modified(call.db, key);
            s.ks.write_or_create(call.db, key, Stream::new)?
        }
    };
    if stream.groups.contains_key(name) {
        return Err(CommandError::new(ErrorCode::BusyGroup, "Consumer Group name already exists"));
    }
    let entries_read = options.entries_read(&stream.log);
    stream.groups.insert(name.into(), Group::new(last_id, entries_read));
    options.propagate(s, call, args, entries_read);
    note(s, call, "xgroup-create", key);
    call.reply.ok();
    Ok(())
}

pub(super) fn set_id(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let options = Options::parse(args, false)?;
    let (key, name) = (args[2], args[3]);
    let stream = s.ks.write::<Stream>(call.db, key)?.ok_or(NO_KEY)?;
    let (last, entries_read) = (stream.log.last_id, options.entries_read(&stream.log));
    let group = stream.groups.get_mut(name).ok_or_else(|| no_such_group(key, name))?;
    group.last_id = match args[4] {
        b"$" => last,
        b"-" => StreamId::MIN,
        b"+" => StreamId::MAX,
        arg => id(arg, 0)?,
    };
    group.entries_read = entries_read;
    options.propagate(s, call, args, entries_read);
    note(s, call, "xgroup-setid", key);
    call.reply.ok();
    Ok(())
}

pub(super) fn destroy(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, name) = (args[2], args[3]);
    let stream = s.ks.write::<Stream>(call.db, key)?.ok_or(NO_KEY)?;
    let destroyed = stream.groups.remove(name).is_some();
    if destroyed {
        note(s, call, "xgroup-destroy", key);
        // Who waits for the group has to learn that it is gone.
        s.ks.changes.blocked.signal_ready(call.db, key);
    }
    call.reply.int(destroyed.into());
    Ok(())
}

pub(super) fn create_consumer(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, now) = (args[2], s.ks.now_ms);
    let created = find(s, call, args)?.add_consumer(args[4], now).is_some();
    if created {
        note(s, call, "xgroup-createconsumer", key);
    }
    call.reply.int(created.into());
    Ok(())
}

pub(super) fn del_consumer(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[2];
    let group = find(s, call, args)?;
    let mut pending = 0;
    if let Some(consumer) = group.find_consumer(args[4]) {
        pending = group.remove_consumer(consumer);
        note(s, call, "xgroup-delconsumer", key);
    }
    call.reply.int(pending as i64);
    Ok(())
}

/// The group that `args[3]` names, of the stream that `args[2]` does.
fn find<'s>(s: &'s mut Server, call: &Call, args: &[&[u8]]) -> CommandResult<&'s mut Group> {
    let stream = s.ks.write::<Stream>(call.db, args[2])?.ok_or(NO_KEY)?;
    stream.groups.get_mut(args[3]).ok_or_else(|| no_such_group(args[2], args[3]))
}

/// Notes a change of a stream's groups, which leaves the stream itself as it was for those who watch it.
fn note(s: &mut Server, call: &mut Call, event: &'static str, key: &[u8]) {
    s.ks.changes.dirty += 1;
    s.ks.changes.notifications.push(Class::STREAM, event, call.db, key);
}

pub(super) fn help(_: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let lines = [
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ];
    reply_help(&mut call.reply, "XGROUP", &lines);
    Ok(())
}
