//! HyperLogLogs: PFADD, PFCOUNT, PFMERGE, and looking inside with PFDEBUG and PFSELFTEST.

use super::args::is;
use crate::db::notify::Class;
use crate::ds::hyperloglog::{self as hll, Corrupt, Registers, Run};
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::table::Row;
use crate::value::ValueRef;
use rand::Rng;
use std::fmt::Write;

const NOT_ONE: CommandError =
    CommandError::new(ErrorCode::WrongType, "Key is not a valid HyperLogLog string value.");

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> CommandError {
        CommandError::new(ErrorCode::InvalidObj, "Corrupted HLL object detected")
    }
}

/// A string that claims to be a HyperLogLog.
fn hyperloglog(value: ValueRef<'_>) -> CommandResult<&[u8]> {
    match value {
        ValueRef::Str(string) if hll::is_hyperloglog(string) => Ok(string),
        _ => Err(NOT_ONE),
    }
}

/// The HyperLogLog under a key, for reading.
fn read<'s>(s: &'s mut Server, call: &Call, key: &[u8]) -> CommandResult<Option<&'s [u8]>> {
    s.ks.read_string(call.db, key)?.map(hyperloglog).transpose()
}

/// Changes the HyperLogLog under a key, in place; makes an empty one before if there is none.
fn change<T>(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    change: impl FnOnce(&mut Vec<u8>) -> Result<T, Corrupt>,
) -> CommandResult<T> {
    let Some(mut found) = s.ks.write_string(call.db, key)? else {
        let mut new = hll::new();
        let outcome = change(&mut new)?;
        s.ks.add_raw_string(call.db, key, new);
        return Ok(outcome);
    };
    hyperloglog(found.get().value())?;
    let mut outcome = Err(Corrupt);
    found.update(|entry| entry.modify_string(|bytes| outcome = change(bytes)));
    Ok(outcome?)
}

fn pfadd(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, sparse_max) = (args[1], s.config.hll_sparse_max_bytes);
    let is_new = s.ks.lookup_write(call.db, key).is_none();
    let added = change(s, call, key, |bytes| {
        let mut added = u64::from(is_new);
        for element in &args[2..] {
            added += u64::from(hll::add(bytes, element, sparse_max)?);
        }
        if added > 0 {
            hll::forget_count(bytes);
        }
        Ok(added)
    })?;
    if added > 0 {
        s.ks.changes.write(Class::STRING, "pfadd", call.db, key);
        s.ks.changes.dirty += added - 1;
    }
    call.reply.int((added > 0).into());
    Ok(())
}

fn pfcount(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    if let [_, key] = *args {
        return count_one(s, call, key);
    }
    let mut all = Registers::default();
    for key in &args[1..] {
        if let Some(bytes) = read(s, call, key)? {
            all.merge(bytes)?;
        }
    }
    call.reply.int(all.count() as i64);
    Ok(())
}

fn count_one(s: &mut Server, call: &mut Call, key: &[u8]) -> CommandResult {
    let Some(bytes) = read(s, call, key)? else {
        call.reply.int(0);
        return Ok(());
    };
    let count = match hll::cached_count(bytes) {
        Some(count) => count,
        None => {
            let count = hll::count(bytes)?;
            change(s, call, key, |bytes| {
                hll::cache_count(bytes, count);
                Ok(())
            })?;
            // The string is another one now, for replicas too.
            s.ks.changes.signal_modified(call.db, key);
            s.ks.changes.dirty += 1;
            count
        }
    };
    call.reply.int(count as i64);
    Ok(())
}

fn pfmerge(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (target, sparse_max) = (args[1], s.config.hll_sparse_max_bytes);
    let mut all = Registers::default();
    let mut any_dense = false;
    for key in &args[1..] {
        if let Some(bytes) = read(s, call, key)? {
            any_dense |= hll::is_dense(bytes);
            all.merge(bytes)?;
        }
    }
    change(s, call, target, |bytes| {
        if any_dense {
            hll::make_dense(bytes)?;
        }
        all.raise_all(bytes, sparse_max)?;
        hll::forget_count(bytes);
        Ok(())
    })?;
    s.ks.changes.write(Class::STRING, "pfadd", call.db, target);
    call.reply.ok();
    Ok(())
}

fn pfdebug(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (name, key) = (args[1], args[2]);
    let found = s.ks.write_string(call.db, key)?;
    let found = found.ok_or(CommandError::err("The specified key does not exist"))?;
    let bytes = hyperloglog(found.get().value())?;
    let is_dense = hll::is_dense(bytes);
    if is(name, "ENCODING") {
        call.reply.simple(if is_dense { "dense" } else { "sparse" });
    } else if is(name, "DECODE") {
        if is_dense {
            return Err(CommandError::err("HLL encoding is not sparse"));
        }
        let mut text = String::new();
        for run in hll::runs(bytes).map_while(Result::ok) {
            let separator = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = match run {
                Run::Zeros(n) => write!(text, "{separator}z:{n}"),
                Run::LongZeros(n) => write!(text, "{separator}Z:{n}"),
                Run::Value(value, n) => write!(text, "{separator}v:{value},{n}"),
            };
        }
        call.reply.bulk_str(&text);
    } else if is(name, "GETREG") {
        let mut registers = Registers::default();
        registers.merge(bytes)?;
        make_dense(s, call, key)?;
        call.reply.array(hll::REGISTERS);
        for &value in registers.values() {
            call.reply.int(value.into());
        }
    } else if is(name, "TODENSE") {
        let converted = make_dense(s, call, key)?;
        call.reply.int(converted.into());
    } else {
        return Err(CommandError::quoting("Unknown PFDEBUG subcommand '", name, "'"));
    }
    Ok(())
}

/// Makes a HyperLogLog dense, which replicas do too; returns whether it was not.
fn make_dense(s: &mut Server, call: &mut Call, key: &[u8]) -> CommandResult<bool> {
    let converted = change(s, call, key, hll::make_dense)?;
    s.ks.changes.dirty += u64::from(converted);
    Ok(converted)
}

fn pfselftest(s: &mut Server, call: &mut Call, _: &[&[u8]]) -> CommandResult {
    let outcome = hll::self_test(|| s.rng.random(), s.config.hll_sparse_max_bytes);
    outcome.map_err(|what| CommandError::err_with(format!("TESTFAILED {what}")))?;
    call.reply.ok();
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("pfadd", pfadd),
    ("pfcount", pfcount),
    ("pfdebug", pfdebug),
    ("pfmerge", pfmerge),
    ("pfselftest", pfselftest),
];
