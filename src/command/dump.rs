//! `DUMP` and `RESTORE`: a value as bytes, with a version and a checksum.

use super::args::{int, invalid_expire, is};
use super::expire::is_already_expired;
use super::keys::make_room;
use crate::db::Entry;
use crate::db::notify::Class;
use crate::rdb::ErrorKind;
use crate::rdb::dump as payload;
use crate::rdb::writer::RdbVersion;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::value::ValueRef;
use crate::value::hash::{FOREVER_YOUNG, Hash};

/// DUMP key
fn dump(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (compress, version) = (s.config.rdbcompression, s.config.expiring_fields_version());
    match s.ks.lookup_read(call.db, args[1]) {
        Some(entry) => call.reply.bulk(&payload::dump(entry.value(), compress, version)),
        None => call.reply.null(),
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    /// `ABSTTL`: the time to live is a point in time.
    absolute: bool,
    /// `IDLETIME`, in seconds.
    idle: Option<u64>,
    /// `FREQ`
    freq: Option<u8>,
}

impl Options {
    fn parse(args: &[&[u8]]) -> CommandResult<Options> {
        let mut options = Options::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if is(arg, "REPLACE") {
                options.replace = true;
            } else if is(arg, "ABSTTL") {
                options.absolute = true;
            } else if is(arg, "IDLETIME") && options.freq.is_none() {
                let seconds = int(rest.next().ok_or(CommandError::SYNTAX)?)?;
                let invalid = CommandError::err("Invalid IDLETIME value, must be >= 0");
                options.idle = Some(u64::try_from(seconds).map_err(|_| invalid)?);
            } else if is(arg, "FREQ") && options.idle.is_none() {
                let freq = int(rest.next().ok_or(CommandError::SYNTAX)?)?;
                let invalid = CommandError::err("Invalid FREQ value, must be >= 0 and <= 255");
                options.freq = Some(u8::try_from(freq).map_err(|_| invalid)?);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
fn restore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let options = Options::parse(&args[4..])?;
    if !options.replace && s.ks.lookup_write(call.db, key).is_some() {
        return Err(CommandError::new(ErrorCode::BusyKey, "Target key name already exists."));
    }
    let ttl = int(args[2])?;
    if ttl < 0 {
        return Err(CommandError::err("Invalid TTL value, must be >= 0"));
    }
    let expire = match ttl {
        0 => None,
        _ if options.absolute => Some(ttl),
        _ => Some(ttl.checked_add(s.ks.now_ms).ok_or_else(|| invalid_expire("restore"))?),
    };
    let verify = !s.lifecycle.debug.skip_checksum_validation;
    let mut value = payload::restore(args[3], verify).map_err(|error| match error.kind {
        ErrorKind::PayloadFooter => CommandError::err("DUMP payload version or checksum are wrong"),
        _ => {
            s.verbose(&error.to_string());
            CommandError::err("Bad data format")
        }
    })?;
    value.adopt(&s.config.value_limits());

    let replaced = options.replace && make_room(s, call.db, key);
    if expire.is_some_and(|at| is_already_expired(&s.ks, at)) {
        if replaced {
            let lazy = s.config.lazyfree_lazy_server_del;
            s.ks.changes.write(Class::GENERIC, "del", call.db, key);
            propagate::propagate_instead(s, call, &[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        }
        call.reply.ok();
        return Ok(());
    }
    let entry = Entry::new(key, value, expire);
    let access = &s.ks.access;
    entry.view().set_lru(match options {
        Options { freq: Some(freq), .. } if access.lfu => access.lfu_bits(freq),
        Options { idle: Some(seconds), .. } if !access.lfu => access.bits_idle(seconds),
        _ => access.fresh(),
    });
    let relative = expire.filter(|_| !options.absolute);
    // Not all replicas can read a later version than the one that this server writes.
    if propagate::is_propagated(s) && payload::payload_version(args[3]) > RdbVersion::V10 as u16 {
        match entry.view().value() {
            ValueRef::Hash(hash) if hash.has_expiring_field() => {
                propagate_expiring_hash(s, call, key, hash, expire, replaced);
            }
            value => {
                let payload = payload::dump(value, s.config.rdbcompression, RdbVersion::V10);
                propagate_restore(s, call, args, &payload, relative);
            }
        }
    } else if relative.is_some() {
        propagate_restore(s, call, args, args[3], relative);
    }
    s.ks.add(call.db, entry);
    s.ks.changes.write(Class::GENERIC, "restore", call.db, key);
    call.reply.ok();
    Ok(())
}

/// Propagates the same `RESTORE` with this payload, and with a point in time if it came with a time to live.
fn propagate_restore(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    payload: &[u8],
    expire: Option<i64>,
) {
    let mut digits = itoa::Buffer::new();
    let mut effect = args.to_vec();
    effect[3] = payload;
    if let Some(at) = expire {
        effect[2] = digits.format(at).as_bytes();
        effect.push(b"ABSTTL");
    }
    propagate::propagate_instead(s, call, &effect);
}

/// Propagates a hash whose fields expire as the commands that make it: there is no payload of it that all can read.
fn propagate_expiring_hash(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    hash: &Hash,
    expire: Option<i64>,
    replaced: bool,
) {
    if replaced {
        propagate::propagate_instead(s, call, &[b"DEL", key]);
    }
    let mut pairs: Vec<Vec<u8>> = Vec::with_capacity(2 * hash.len());
    let mut expiring: Vec<(Vec<u8>, String)> = Vec::new();
    hash.for_each(FOREVER_YOUNG, |pair| {
        pairs.extend([pair.field.to_vec(), pair.value.to_vec()]);
        expiring.extend(pair.expire.map(|at| (pair.field.to_vec(), at.to_string())));
    });
    let mut command: Vec<&[u8]> = vec![b"HSET", key];
    command.extend(pairs.iter().map(Vec::as_slice));
    propagate::propagate_instead(s, call, &command);
    for (field, at) in &expiring {
        propagate::propagate_instead(
            s,
            call,
            &[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field],
        );
    }
    if let Some(at) = expire {
        propagate::propagate_instead(s, call, &[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
}

pub const COMMANDS: &[Row] = &[("dump", dump), ("restore", restore), ("restore-asking", restore)];

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            Options::parse(&args).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(parse("replace ABSTTL idletime 5"), Ok(()));
        assert_eq!(parse("FREQ 255"), Ok(()));
        for (bad, error) in [
            ("FREQ 1 IDLETIME 1", "ERR syntax error"),
            ("IDLETIME 1 FREQ 1", "ERR syntax error"),
            ("FREQ", "ERR syntax error"),
            ("foo", "ERR syntax error"),
            ("FREQ 256", "ERR Invalid FREQ value, must be >= 0 and <= 255"),
            ("IDLETIME -1", "ERR Invalid IDLETIME value, must be >= 0"),
            ("IDLETIME x", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(parse(bad), Err(error.to_string()), "{bad}");
        }
    }
}
