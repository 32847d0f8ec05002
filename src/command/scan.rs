//! `SCAN`, and what its relatives for collections share with it: the options.

use super::args::{self, is};
use super::keys::is_expired;
use crate::db::EntryRef;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::flavour::Flavour;
use crate::server::table::Row;
use crate::util::glob::glob_match;
use crate::util::slot::pattern_slot;
use crate::value::Type;

const TYPES: [Type; 6] =
    [Type::String, Type::List, Type::Set, Type::Hash, Type::Zset, Type::Stream];

/// A step visits this many elements unless `COUNT` says otherwise.
const DEFAULT_COUNT: u64 = 10;

/// The options of `SCAN`, `SSCAN`, `HSCAN` and `ZSCAN`.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// How many elements to visit, roughly.
    pub count: u64,
    /// `MATCH`; none where everything matches.
    pattern: Option<&'a [u8]>,
    /// `TYPE`, which only `SCAN` has.
    kind: Wanted,
}

/// The elements that are wanted, by their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    Only(Type),
    /// Of a type that there is not.
    Nothing,
}

impl Wanted {
    fn includes(self, kind: Type) -> bool {
        match self {
            Wanted::Any => true,
            Wanted::Only(wanted) => wanted == kind,
            Wanted::Nothing => false,
        }
    }
}

impl<'a> ScanOptions<'a> {
    /// Parses what follows the cursor of `SSCAN` and the like.
    pub fn parse(args: &[&'a [u8]]) -> CommandResult<ScanOptions<'a>> {
        ScanOptions::parse_with(args, |_, _| Err(CommandError::SYNTAX))
    }

    /// Parses what follows the cursor of `SCAN`, whose elements are keys, which have a type.
    fn parse_for_keys(args: &[&'a [u8]], flavour: Flavour) -> CommandResult<ScanOptions<'a>> {
        ScanOptions::parse_with(args, |name, kind| {
            if !is(name, "TYPE") {
                return Err(CommandError::SYNTAX);
            }
            match TYPES.into_iter().find(|known| is(kind, known.name())) {
                Some(known) => Ok(Wanted::Only(known)),
                None if flavour.scan_rejects_unknown_type => {
                    let text = [b"unknown type name '", kind, b"'"].concat();
                    Err(CommandError::err_with(text))
                }
                None => Ok(Wanted::Nothing),
            }
        })
    }

    /// `other` parses the pairs that not all have.
    fn parse_with(
        args: &[&'a [u8]],
        other: impl Fn(&[u8], &[u8]) -> CommandResult<Wanted>,
    ) -> CommandResult<ScanOptions<'a>> {
        let mut options = ScanOptions { count: DEFAULT_COUNT, pattern: None, kind: Wanted::Any };
        for pair in args.chunks(2) {
            match *pair {
                [name, count] if is(name, "COUNT") => {
                    let count = args::int(count)?;
                    if count < 1 {
                        return Err(CommandError::SYNTAX);
                    }
                    options.count = count as u64;
                }
                [name, pattern] if is(name, "MATCH") => {
                    options.pattern = (pattern != b"*").then_some(pattern);
                }
                [name, value] => options.kind = other(name, value)?,
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(options)
    }

    pub fn matches(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, element, false))
    }
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut cursor = args::cursor(args[1])?;
    let flavour = s.config.flavour;
    let options = ScanOptions::parse_for_keys(&args[2..], flavour)?;
    let (now, role) = (s.ks.now_ms, s.ks.role);
    let mut found = call.reply.part();
    let mut expired: Vec<Box<[u8]>> = Vec::new();
    let (mut n, mut visited) = (0, 0);
    // A table that is nearly empty must not keep everybody waiting.
    let mut buckets = options.count.saturating_mul(10);
    let table = &s.ks.dbs[call.db].table;
    // In a cluster a pattern may be one of keys that all have the same slot.
    let slot = options.pattern.filter(|_| s.cluster.is_some()).and_then(pattern_slot);
    loop {
        let mut visit = |entry: EntryRef<'_>| {
            visited += 1;
            let key = entry.key();
            if !options.matches(key) {
                return;
            }
            let wanted = options.kind.includes(entry.value().kind());
            let is_expired = is_expired(entry, now, role);
            if is_expired && (wanted || !flavour.scan_expires_wanted_type_only) {
                expired.push(key.into());
            } else if wanted && !is_expired {
                found.bulk(key);
                n += 1;
            }
        };
        cursor = match slot {
            Some(slot) => table.scan_slot(slot, cursor, &mut visit),
            None => table.scan(cursor, &mut visit),
        };
        buckets -= 1;
        if cursor == 0 || buckets == 0 || visited >= options.count {
            break;
        }
    }
    for key in expired {
        // Looking at an expired key deletes it.
        s.ks.peek(call.db, &key);
    }
    reply_scan(&mut call.reply, cursor, n, found);
    Ok(())
}

/// Repeats a `step` of a scan, which returns the next cursor and counts what it has visited, until there were as many
/// as wanted or nothing is left; returns the last cursor.
pub fn scan_steps(options: &ScanOptions<'_>, mut step: impl FnMut(&mut u64) -> u64) -> u64 {
    let mut visited = 0;
    // A table that is nearly empty must not keep everybody waiting.
    let mut steps = options.count.saturating_mul(10);
    loop {
        let cursor = step(&mut visited);
        steps -= 1;
        if cursor == 0 || steps == 0 || visited >= options.count {
            return cursor;
        }
    }
}

/// The reply to a scan: the cursor, and `n` elements found.
pub fn reply_scan(reply: &mut Reply, cursor: u64, n: usize, found: Reply) {
    reply.array(2);
    reply.bulk_str(itoa::Buffer::new().format(cursor));
    reply.array(n);
    reply.append(found);
}

/// Options that come in pairs, without a flag that may stand between them, and whether it did.
pub fn without_flag<'a>(options: &[&'a [u8]], flag: &str) -> (Vec<&'a [u8]>, bool) {
    let mut pairs = Vec::with_capacity(options.len());
    let mut found = false;
    let mut rest = options.iter();
    while let Some(&option) = rest.next() {
        if is(option, flag) {
            found = true;
        } else {
            pairs.push(option);
            pairs.extend(rest.next());
        }
    }
    (pairs, found)
}

pub const COMMANDS: &[Row] = &[("scan", scan)];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, flavour: Option<Flavour>) -> Result<(u64, Wanted), String> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let options = match flavour {
            Some(flavour) => ScanOptions::parse_for_keys(&args, flavour),
            None => ScanOptions::parse(&args),
        };
        options.map(|o| (o.count, o.kind)).map_err(|error| error.to_string())
    }

    #[test]
    fn options() {
        let keys = Some(Flavour::REDIS);
        assert_eq!(parse("", keys), Ok((10, Wanted::Any)));
        let wanted = Ok((7, Wanted::Only(Type::List)));
        assert_eq!(parse("match a* COUNT 5 Type LIST count 7", keys), wanted);
        let syntax = Err("ERR syntax error".to_string());
        for bad in ["COUNT 0", "COUNT", "MATCH", "foo bar"] {
            assert_eq!(parse(bad, keys), syntax, "{bad}");
        }
        assert_eq!(parse("TYPE list", None), syntax);
        assert_eq!(parse("TYPE lists", keys), Ok((10, Wanted::Nothing)));
        assert_eq!(
            parse("TYPE lists", Some(Flavour::VALKEY)),
            Err("ERR unknown type name 'lists'".into())
        );
        assert_eq!(
            parse("COUNT x", keys),
            Err("ERR value is not an integer or out of range".into())
        );
    }
}
