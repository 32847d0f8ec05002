//! `SCAN`, and what its relatives share with it: the options, and for keys what is visited.

use super::args::{self, is};
use super::keys::is_expired;
use crate::db::EntryRef;
use crate::db::keyspace::ExpiryRole;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
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
        ScanOptions::parse_with(args, |_, _, _| Err(CommandError::SYNTAX))
    }

    /// Parses what follows the cursor of a scan whose elements are keys, which have a type. `rejects_unknown_type`: one
    /// that there is not is an error; `other` parses the pairs that not all such scans have.
    pub fn parse_for_keys(
        args: &[&'a [u8]],
        rejects_unknown_type: bool,
        mut other: impl FnMut(&[u8], &[u8]) -> CommandResult,
    ) -> CommandResult<ScanOptions<'a>> {
        ScanOptions::parse_with(args, |options, name, value| {
            if !is(name, "TYPE") {
                return other(name, value);
            }
            options.kind = match TYPES.into_iter().find(|known| is(value, known.name())) {
                Some(known) => Wanted::Only(known),
                None if rejects_unknown_type => {
                    let text = [b"unknown type name '", value, b"'"].concat();
                    return Err(CommandError::err_with(text));
                }
                None => Wanted::Nothing,
            };
            Ok(())
        })
    }

    /// `other` parses the pairs that not all have.
    fn parse_with(
        args: &[&'a [u8]],
        mut other: impl FnMut(&mut ScanOptions<'a>, &[u8], &[u8]) -> CommandResult,
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
                [name, value] => other(&mut options, name, value)?,
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(options)
    }

    pub fn matches(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, element, false))
    }

    /// In a cluster: the slot of all keys that match, if they have the same.
    pub fn pattern_slot(&self) -> Option<u16> {
        self.pattern.and_then(pattern_slot)
    }
}

/// A step of a scan of keys: what it looks for, and what it has found.
pub struct KeyScan<'a> {
    options: ScanOptions<'a>,
    now_ms: i64,
    role: ExpiryRole,
    /// Expired keys of other types than the wanted one are left alone.
    expires_wanted_type_only: bool,
    found: Reply,
    n: usize,
    expired: Vec<Box<[u8]>>,
    visited: u64,
    /// How many more buckets may be visited: a table that is nearly empty must not keep everybody waiting.
    buckets: u64,
}

impl<'a> KeyScan<'a> {
    pub fn new(s: &Server, call: &Call, options: ScanOptions<'a>) -> KeyScan<'a> {
        KeyScan {
            options,
            now_ms: s.ks.now_ms,
            role: s.ks.role,
            expires_wanted_type_only: s.config.flavour.scan_expires_wanted_type_only,
            found: call.reply.part(),
            n: 0,
            expired: Vec::new(),
            visited: 0,
            buckets: options.count.saturating_mul(10),
        }
    }

    pub fn visit(&mut self, entry: EntryRef<'_>) {
        self.visited += 1;
        let key = entry.key();
        if !self.options.matches(key) {
            return;
        }
        let wanted = self.options.kind.includes(entry.value().kind());
        let is_expired = is_expired(entry, self.now_ms, self.role);
        if is_expired && (wanted || !self.expires_wanted_type_only) {
            self.expired.push(key.into());
        } else if wanted && !is_expired {
            self.found.bulk(key);
            self.n += 1;
        }
    }

    /// A bucket has been visited; whether that was enough of them.
    pub fn ends_with_bucket(&mut self) -> bool {
        self.buckets -= 1;
        self.buckets == 0 || self.visited >= self.options.count
    }

    /// Replies with what was found, and where to go on.
    pub fn reply(self, s: &mut Server, call: &mut Call, cursor: &str) {
        for key in self.expired {
            // Looking at an expired key deletes it.
            s.ks.peek(call.db, &key);
        }
        reply_scan_to(&mut call.reply, cursor, self.n, self.found);
    }
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut cursor = args::cursor(args[1])?;
    let options = ScanOptions::parse_for_keys(
        &args[2..],
        s.config.flavour.scan_rejects_unknown_type,
        |_, _| Err(CommandError::SYNTAX),
    )?;
    let mut scan = KeyScan::new(s, call, options);
    let table = &s.ks.dbs[call.db].table;
    // In a cluster a pattern may be one of keys that all have the same slot.
    let slot = options.pattern_slot().filter(|_| s.cluster.is_some());
    loop {
        let visit = |entry: EntryRef<'_>| scan.visit(entry);
        cursor = match slot {
            Some(slot) => table.scan_slot(slot, cursor, visit),
            None => table.scan(cursor, visit),
        };
        if scan.ends_with_bucket() || cursor == 0 {
            break;
        }
    }
    scan.reply(s, call, itoa::Buffer::new().format(cursor));
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
    reply_scan_to(reply, itoa::Buffer::new().format(cursor), n, found);
}

fn reply_scan_to(reply: &mut Reply, cursor: &str, n: usize, found: Reply) {
    reply.array(2);
    reply.bulk_str(cursor);
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
    use crate::server::flavour::Flavour;

    fn parse(line: &str, flavour: Option<Flavour>) -> Result<(u64, Wanted), String> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let options = match flavour {
            Some(flavour) => {
                let rejects = flavour.scan_rejects_unknown_type;
                ScanOptions::parse_for_keys(&args, rejects, |_, _| Err(CommandError::SYNTAX))
            }
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
