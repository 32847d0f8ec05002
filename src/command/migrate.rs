//! `MIGRATE`: hands keys over to another server, which answers `RESTORE` for each, and deletes them here.
//!
//! The loop waits meanwhile, as Redis's does: while a key moves, nobody may see it in both places or in none. The
//! connections to other servers are kept for a while, in [`targets`](crate::server::targets).

use super::args::{int, is};
use crate::db::notify::Class;
use crate::rdb::dump::dump;
use crate::resp::encode::encode_command;
use crate::resp::error::{CommandError, CommandResult, ErrorCode};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::server::targets::{Address, Target};
use std::io::{self, ErrorKind};
use std::time::Duration;

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1000);

const CONNECT_FAILED: CommandError =
    CommandError::new(ErrorCode::IoErr, "error or timeout connecting to the client");
const WRITE_FAILED: CommandError =
    CommandError::new(ErrorCode::IoErr, "error or timeout writing to target instance");
const READ_FAILED: CommandError =
    CommandError::new(ErrorCode::IoErr, "error or timeout reading to target instance");
const KEYS_AND_KEY: CommandError = CommandError::err(
    "When using MIGRATE KEYS option, the key argument must be set to the empty string",
);

/// What the arguments say.
struct Migration<'a> {
    address: Address,
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    /// `AUTH`'s arguments.
    credentials: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Migration<'a> {
    fn parse(args: &[&'a [u8]]) -> CommandResult<Migration<'a>> {
        let (mut copy, mut replace) = (false, false);
        let mut credentials = Vec::new();
        let mut keys = vec![args[3]];
        let mut rest = &args[6..];
        while let [option, after @ ..] = rest {
            rest = after;
            if is(option, "COPY") {
                copy = true;
            } else if is(option, "REPLACE") {
                replace = true;
            } else if is(option, "AUTH") || is(option, "AUTH2") {
                let count = if is(option, "AUTH") { 1 } else { 2 };
                let (given, after) = rest.split_at_checked(count).ok_or(CommandError::SYNTAX)?;
                credentials = given.to_vec();
                rest = after;
            } else if is(option, "KEYS") {
                if !args[3].is_empty() {
                    return Err(KEYS_AND_KEY);
                }
                keys = std::mem::take(&mut rest).to_vec();
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        let timeout = int(args[5])?;
        let timeout = match u64::try_from(timeout) {
            Ok(ms @ 1..) => Duration::from_millis(ms),
            _ => DEFAULT_TIMEOUT,
        };
        let text = |arg: &[u8]| String::from_utf8_lossy(arg).into_owned();
        let address = (text(args[1]), text(args[2]));
        Ok(Migration { address, db: int(args[4])?, timeout, copy, replace, credentials, keys })
    }

    /// The requests for a target, and how many replies come before those to `RESTORE`.
    fn requests(
        &self,
        s: &Server,
        call: &Call,
        keys: &[&[u8]],
        target: &Target,
    ) -> (Vec<u8>, usize) {
        let mut requests = Vec::new();
        let mut before = 0;
        if !self.credentials.is_empty() {
            encode_command(&[&[&b"AUTH"[..]], &self.credentials[..]].concat(), &mut requests);
            before += 1;
        }
        // In a cluster the slot is yet another node's, from where the target stands.
        let restore: &[u8] = if s.cluster.is_some() { b"RESTORE-ASKING" } else { b"RESTORE" };
        let mut digits = itoa::Buffer::new();
        if target.db != Some(self.db) {
            encode_command(&[b"SELECT", digits.format(self.db).as_bytes()], &mut requests);
            before += 1;
        }
        for key in keys {
            let Some(entry) = s.ks.dbs[call.db].table.get(s.ks.hash(key), key) else { continue };
            let ttl = entry.expire().map_or(0, |at| (at - s.ks.now_ms).max(1));
            let version = s.config.expiring_fields_version();
            let payload = dump(entry.value(), s.config.rdbcompression, version);
            let ttl = digits.format(ttl).as_bytes();
            let mut request = vec![restore, key, ttl, &payload];
            if self.replace {
                request.push(b"REPLACE");
            }
            encode_command(&request, &mut requests);
        }
        (requests, before)
    }
}

/// What went wrong on the way.
enum Failure {
    Writing(io::Error),
    Reading(io::Error),
}

impl Failure {
    /// Whether another connection may do better: a kept one may have been closed meanwhile.
    fn is_timeout(&self) -> bool {
        let (Failure::Writing(error) | Failure::Reading(error)) = self;
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    }

    fn error(&self) -> CommandError {
        match self {
            Failure::Writing(_) => WRITE_FAILED,
            Failure::Reading(_) => READ_FAILED,
        }
    }
}

/// Redis finds out that a connection was refused when it writes.
fn connect_error(error: &io::Error) -> CommandError {
    match error.kind() {
        ErrorKind::ConnectionRefused => WRITE_FAILED,
        _ => CONNECT_FAILED,
    }
}

/// How a transfer went.
struct Transfer<'a> {
    /// The keys that arrived.
    moved: Vec<&'a [u8]>,
    /// The first error that the other server answered.
    refusal: Option<Vec<u8>>,
    /// Whether it answered a `RESTORE` at all.
    is_answered: bool,
    failure: Option<Failure>,
}

/// Sends keys to a target, and reads what it answers.
fn transfer<'a>(
    s: &Server,
    call: &Call,
    m: &Migration<'_>,
    keys: &[&'a [u8]],
    target: &mut Target,
) -> Transfer<'a> {
    let mut outcome =
        Transfer { moved: Vec::new(), refusal: None, is_answered: false, failure: None };
    let (requests, before) = m.requests(s, call, keys, target);
    if let Err(error) = target.send(&requests) {
        outcome.failure = Some(Failure::Writing(error));
        return outcome;
    }
    // Where AUTH or SELECT was refused, who knows where a RESTORE went: no key has arrived.
    let mut lost = false;
    for n in 0..before + keys.len() {
        match target.read_reply() {
            Ok(Ok(())) if n >= before && !lost => outcome.moved.push(keys[n - before]),
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => {
                lost |= n < before;
                outcome.refusal.get_or_insert(refusal);
            }
            Err(error) => {
                outcome.failure = Some(Failure::Reading(error));
                return outcome;
            }
        }
        outcome.is_answered |= n >= before;
    }
    outcome
}

/// Sends keys to the server that is meant, once more over a new connection if the one that was kept is of no use.
fn send<'a>(
    s: &mut Server,
    call: &Call,
    migration: &Migration<'_>,
    keys: &[&'a [u8]],
) -> CommandResult<Transfer<'a>> {
    let mut may_retry = true;
    loop {
        let target = s.net.targets_mut().take(&migration.address, migration.timeout);
        let mut target = target.map_err(|error| connect_error(&error))?;
        let outcome = transfer(s, call, migration, keys, &mut target);
        match &outcome.failure {
            None => {
                target.db = outcome.refusal.is_none().then_some(migration.db);
                target.last_use_ms = s.ks.clock.unix_ms();
                s.net.targets_mut().put(migration.address.clone(), target);
                return Ok(outcome);
            }
            Some(failure) if may_retry && !outcome.is_answered && !failure.is_timeout() => {
                may_retry = false;
            }
            Some(_) => return Ok(outcome),
        }
    }
}

/// MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key [key ...]]
fn migrate(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let migration = Migration::parse(args)?;
    let mut keys = migration.keys.clone();
    keys.retain(|key| s.ks.lookup_read(call.db, key).is_some());
    if keys.is_empty() {
        call.reply.simple("NOKEY");
        return Ok(());
    }
    let outcome = send(s, call, &migration, &keys)?;
    if !migration.copy && !outcome.moved.is_empty() {
        for key in &outcome.moved {
            if let Some(entry) = s.ks.delete(call.db, key) {
                s.memory.free_entry(entry, false);
            }
            s.ks.changes.write(Class::GENERIC, "del", call.db, key);
        }
        propagate::propagate_instead(s, call, &[&[&b"DEL"[..]], &outcome.moved[..]].concat());
    }
    match (outcome.refusal, outcome.failure) {
        (Some(refusal), _) => Err(CommandError::err_with(
            [b"Target instance replied with error: ", &refusal[..]].concat(),
        )),
        (None, Some(failure)) => Err(failure.error()),
        (None, None) => {
            call.reply.ok();
            Ok(())
        }
    }
}

pub const COMMANDS: &[Row] = &[("migrate", migrate)];
