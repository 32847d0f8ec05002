//! Expiry: when a key's time comes, asking for it, and changing one's mind.

use super::args::{self, Unit, invalid_expire, is};
use crate::db::notify::Class;
use crate::db::{ExpiryRole, Keyspace};
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;

/// Whether an expiry to be set has passed already, so that its key can go at once. On a replica only the primary may
/// decide that.
pub fn is_already_expired(ks: &Keyspace, at: i64) -> bool {
    at <= ks.now_ms && ks.role == ExpiryRole::Delete
}

/// Deletes a key that was given an expiry in the past, and propagates that.
pub fn delete_expired_now(s: &mut Server, call: &mut Call, key: &[u8]) {
    let lazy = s.config.lazyfree_lazy_expire;
    if let Some(entry) = s.ks.delete(call.db, key) {
        s.memory.free_entry(entry, lazy);
    }
    s.ks.changes.write(Class::GENERIC, "del", call.db, key);
    propagate::propagate_instead(s, call, &[if lazy { b"UNLINK" } else { b"DEL" }, key]);
}

/// Takes a key's expiry away, and notes that; `false` if it has none.
pub fn remove_expire(s: &mut Server, call: &mut Call, key: &[u8]) -> bool {
    let volatile = s.ks.lookup_write(call.db, key).is_some_and(|found| found.get().has_expire());
    if volatile {
        s.ks.set_expire(call.db, key, None);
        s.ks.changes.write(Class::GENERIC, "persist", call.db, key);
    }
    volatile
}

/// The conditions under which `EXPIRE` does something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    /// `NX`: there is no expiry.
    nx: bool,
    /// `XX`: there is one.
    xx: bool,
    /// `GT`: the new one is later; none is the latest.
    gt: bool,
    /// `LT`: the new one is sooner.
    lt: bool,
}

impl Conditions {
    pub(super) fn parse(args: &[&[u8]]) -> CommandResult<Conditions> {
        let mut c = Conditions::default();
        for arg in args {
            if is(arg, "NX") {
                c.nx = true;
            } else if is(arg, "XX") {
                c.xx = true;
            } else if is(arg, "GT") {
                c.gt = true;
            } else if is(arg, "LT") {
                c.lt = true;
            } else {
                return Err(CommandError::quoting("Unsupported option ", arg, ""));
            }
        }
        if c.nx && (c.xx || c.gt || c.lt) {
            return Err(CommandError::err(
                "NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if c.gt && c.lt {
            return Err(CommandError::err("GT and LT options at the same time are not compatible"));
        }
        Ok(c)
    }

    pub(super) fn hold(self, old: Option<i64>, new: i64) -> bool {
        !(self.nx && old.is_some()
            || self.xx && old.is_none()
            || self.gt && old.is_none_or(|old| new <= old)
            || self.lt && old.is_some_and(|old| new >= old))
    }
}

fn expire_generic(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    unit: Unit,
    base_ms: i64,
    command: &str,
) -> CommandResult {
    let key = args[1];
    let conditions = Conditions::parse(&args[3..])?;
    let n = args::int(args[2])?;
    let ms = match unit {
        Unit::Seconds => n.checked_mul(1000),
        Unit::Milliseconds => Some(n),
    };
    let at = ms.and_then(|ms| ms.checked_add(base_ms)).ok_or_else(|| invalid_expire(command))?;

    let Some(found) = s.ks.lookup_write(call.db, key) else {
        call.reply.int(0);
        return Ok(());
    };
    if !conditions.hold(found.get().expire(), at) {
        call.reply.int(0);
        return Ok(());
    }
    if is_already_expired(&s.ks, at) {
        delete_expired_now(s, call, key);
    } else {
        s.ks.set_expire(call.db, key, Some(at));
        s.ks.changes.write(Class::GENERIC, "expire", call.db, key);
        if (unit, base_ms) != (Unit::Milliseconds, 0) {
            let mut digits = itoa::Buffer::new();
            let mut effect = args.to_vec();
            effect[0] = b"PEXPIREAT";
            effect[2] = digits.format(at).as_bytes();
            propagate::propagate_instead(s, call, &effect);
        }
    }
    call.reply.int(1);
    Ok(())
}

fn expire(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Seconds, s.ks.now_ms, "expire")
}

fn pexpire(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Milliseconds, s.ks.now_ms, "pexpire")
}

fn expireat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Seconds, 0, "expireat")
}

fn pexpireat(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    expire_generic(s, call, args, Unit::Milliseconds, 0, "pexpireat")
}

/// Answers -2 for a key that is not there, -1 for one without an expiry, and else the time from `base_ms` to it.
fn ttl_generic(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    unit: Unit,
    base_ms: i64,
) -> CommandResult {
    let ms = match s.ks.lookup_no_touch(call.db, key).map(|entry| entry.expire()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let ms = at.saturating_sub(base_ms).max(0);
            match unit {
                Unit::Milliseconds => ms,
                Unit::Seconds => ms.saturating_add(500) / 1000,
            }
        }
    };
    call.reply.int(ms);
    Ok(())
}

fn ttl(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args[1], Unit::Seconds, s.ks.now_ms)
}

fn pttl(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args[1], Unit::Milliseconds, s.ks.now_ms)
}

fn expiretime(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args[1], Unit::Seconds, 0)
}

fn pexpiretime(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    ttl_generic(s, call, args[1], Unit::Milliseconds, 0)
}

fn persist(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let removed = remove_expire(s, call, args[1]);
    call.reply.int(removed.into());
    Ok(())
}

pub const COMMANDS: &[Row] = &[
    ("expire", expire),
    ("expireat", expireat),
    ("expiretime", expiretime),
    ("persist", persist),
    ("pexpire", pexpire),
    ("pexpireat", pexpireat),
    ("pexpiretime", pexpiretime),
    ("pttl", pttl),
    ("ttl", ttl),
];

#[cfg(test)]
mod tests {
    use super::Conditions;

    #[test]
    fn conditions() {
        for (options, old, new, holds) in [
            ("", None, 5, true),
            ("NX", None, 5, true),
            ("NX", Some(9), 5, false),
            ("XX", None, 5, false),
            ("XX", Some(9), 5, true),
            ("GT", None, 5, false),
            ("GT", Some(4), 5, true),
            ("GT", Some(5), 5, false),
            ("LT", None, 5, true),
            ("LT", Some(5), 5, false),
            ("XX LT", None, 5, false),
            ("XX GT", Some(4), 5, true),
        ] {
            let args: Vec<&[u8]> = options.split_whitespace().map(str::as_bytes).collect();
            let conditions = Conditions::parse(&args).unwrap();
            assert_eq!(conditions.hold(old, new), holds, "{options} {old:?}");
        }
    }
}
