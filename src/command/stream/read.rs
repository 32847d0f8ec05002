//! XREAD and XREADGROUP: what has come after an ID, from several streams, waiting for it if need be.

use super::pending::{Claim, note_consumer, propagate_claim};
use super::{
    group_position, id, limit, no_group, propagate_group_position, reply_entries, reply_entry,
    reply_id,
};
use crate::command::args::{self, Unit, is};
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::{Deferred, Reply};
use crate::server::Server;
use crate::server::blocking;
use crate::server::blocking::KeyInterest;
use crate::server::call::Call;
use crate::server::propagate;
use crate::value::Type;
use crate::value::stream::group::{ConsumerId, Pending};
use crate::value::stream::{Group, Log, Parts, Stream, StreamId};

const EMPTY_FULL_ID: &str = "ID is meaningless in the context of XREADGROUP: you want to read the history of this \
     consumer by specifying a proper ID, or use the > ID to get new messages. The";
const NEW_WITHOUT_GROUP: CommandError = CommandError::err(
    "The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
);

/// The arguments of both commands.
struct ReadRequest<'a> {
    command: &'a [&'a [u8]],
    /// The name of the group and of its consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    count: usize,
    /// Present if the client wants to wait, until when (`None`: for ever).
    block: Option<Option<i64>>,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

/// Whether `BLOCK` may be given, though it may mean nothing.
fn may_ask_to_block(s: &Server, call: &Call) -> bool {
    !call.in_script || s.config.flavour.scripts_may_ask_to_block
}

fn no_block_in_scripts(command: &[u8]) -> CommandError {
    let text = [command, b" command is not allowed with BLOCK option from scripts"].concat();
    CommandError::err_with(text)
}

/// From where on a stream is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// What follows this ID; of a consumer: what it got and has not acknowledged.
    After(StreamId),
    /// `>`: what nobody of the group has got yet.
    New,
}

impl<'a> ReadRequest<'a> {
    /// `now_ms`: milliseconds since 1970. `grouped`: of XREADGROUP. `may_block`: whether `BLOCK` is taken at all.
    fn parse(
        command: &'a [&'a [u8]],
        now_ms: i64,
        grouped: bool,
        may_block: bool,
    ) -> CommandResult<ReadRequest<'a>> {
        let only_grouped = |option: &str| {
            CommandError::err_with(format!(
                "The {option} option is only supported by XREADGROUP. You called XREAD instead."
            ))
        };
        let (keys, ids): (&[&[u8]], &[&[u8]]) = (&[], &[]);
        let mut request = ReadRequest {
            command,
            group: None,
            no_ack: false,
            count: limit(0),
            block: None,
            keys,
            ids,
        };
        let mut at = 1;
        while at < command.len() {
            let more = command.len() - 1 - at;
            let arg = command[at];
            if is(arg, "BLOCK") && more > 0 {
                if !may_block {
                    return Err(no_block_in_scripts(command[0]));
                }
                at += 1;
                request.block = Some(args::timeout(command[at], Unit::Milliseconds, now_ms)?);
            } else if is(arg, "COUNT") && more > 0 {
                at += 1;
                request.count = limit(args::int(command[at])?.max(0));
            } else if is(arg, "STREAMS") && more > 0 {
                let streams = &command[at + 1..];
                if streams.len() % 2 == 1 {
                    let (name, symbol) = if grouped { ("xreadgroup", '>') } else { ("xread", '$') };
                    return Err(CommandError::err_with(format!(
                        "Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be \
                         specified."
                    )));
                }
                (request.keys, request.ids) = streams.split_at(streams.len() / 2);
                break;
            } else if is(arg, "GROUP") && more >= 2 {
                if !grouped {
                    return Err(only_grouped("GROUP"));
                }
                request.group = Some((command[at + 1], command[at + 2]));
                at += 2;
            } else if is(arg, "NOACK") {
                if !grouped {
                    return Err(only_grouped("NOACK"));
                }
                request.no_ack = true;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        if request.keys.is_empty() {
            return Err(CommandError::SYNTAX);
        }
        if grouped && request.group.is_none() {
            return Err(CommandError::err("Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    /// Where each stream is to be read from. An error if a key holds something else, or has no such group.
    fn positions(&self, s: &mut Server, call: &mut Call) -> CommandResult<Vec<From>> {
        let mut positions = Vec::with_capacity(self.keys.len());
        for (&key, &arg) in self.keys.iter().zip(self.ids) {
            let stream = s.ks.read::<Stream>(call.db, key)?;
            if let Some((group, _)) = self.group
                && stream.is_none_or(|stream| !stream.groups.contains_key(group))
            {
                return Err(no_group(key, group, b" in XREADGROUP with GROUP option"));
            }
            let log = stream.map(|stream| &stream.log);
            positions.push(match arg {
                b">" if self.group.is_some() => From::New,
                b">" => return Err(NEW_WITHOUT_GROUP),
                b"$" | b"+" if self.group.is_some() => {
                    let sign = char::from(arg[0]);
                    return Err(CommandError::err_with(format!(
                        "The {sign} {EMPTY_FULL_ID} {sign} ID would just return an empty result set."
                    )));
                }
                b"$" => From::After(log.map_or(StreamId::MIN, |log| log.last_id)),
                b"+" => From::After(log.map_or(StreamId::MIN, before_last)),
                _ => match id(arg, 0)? {
                    // To a group, `>` is another name for the last ID there is.
                    StreamId::MAX if self.group.is_some() => From::New,
                    id => From::After(id),
                },
            });
        }
        Ok(positions)
    }

    /// Waits for any of the streams, with the present's IDs in place of `$`.
    fn block(&self, s: &mut Server, call: &mut Call, positions: &[From], deadline_ms: Option<i64>) {
        let resolved: Vec<_> = positions
            .iter()
            .zip(self.ids)
            .map(|(position, &arg)| match position {
                From::After(id) if arg == b"$" => Some(id.text()),
                _ => None,
            })
            .collect();
        let mut command = self.command.to_vec();
        let first = command.len() - self.ids.len();
        for (arg, id) in command[first..].iter_mut().zip(&resolved) {
            if let Some(id) = id {
                *arg = id;
            }
        }
        // A reader of a group has to learn when the group is gone.
        let interest = KeyInterest { kind: Type::Stream, on_no_key: self.group.is_some() };
        blocking::block_for_keys(s, call, &command, self.keys, interest, deadline_ms);
        if let Some((group, _)) = self.group
            && positions.iter().all(|position| *position == From::New)
        {
            blocking::wait_for_news_of(s, call.client, group);
        }
    }
}

/// The ID after which there is only the last entry.
fn before_last(log: &Log) -> StreamId {
    log.last_entry_id().and_then(StreamId::prev).unwrap_or(log.last_id)
}

pub(super) fn xread(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let request = ReadRequest::parse(args, s.ks.now_ms, false, may_ask_to_block(s, call))?;
    let positions = request.positions(s, call)?;
    let mut found = Found::new(&mut call.reply);
    for (&key, &position) in request.keys.iter().zip(&positions) {
        if call.reply.is_given_up() {
            break;
        }
        let From::After(after) = position else { continue };
        let Some(stream) = s.ks.read::<Stream>(call.db, key)? else { continue };
        // Most readers are up to date, which their last ID alone tells.
        let Some(start) = after.next().filter(|_| after < stream.log.last_id) else { continue };
        let mut items = stream.log.range(start, StreamId::MAX).take(request.count).peekable();
        if items.peek().is_some() {
            found.add(&mut call.reply, key);
            reply_entries(&mut call.reply, items);
        }
    }
    finish(s, call, &request, &positions, found);
    Ok(())
}

pub(super) fn xreadgroup(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let request = ReadRequest::parse(args, s.ks.now_ms, true, may_ask_to_block(s, call))?;
    let Some((group, consumer)) = request.group else { return Err(CommandError::SYNTAX) };
    let positions = request.positions(s, call)?;
    // What it does goes to replicas, and not how it came to it.
    call.propagate_nothing();
    let mut found = Found::new(&mut call.reply);
    for (&key, &position) in request.keys.iter().zip(&positions) {
        read_for_group(s, call, &request, (key, group, consumer), position, &mut found)?;
    }
    finish(s, call, &request, &positions, found);
    Ok(())
}

/// Reads one stream for a consumer of a group.
fn read_for_group(
    s: &mut Server,
    call: &mut Call,
    request: &ReadRequest<'_>,
    (key, group_name, consumer_name): (&[u8], &[u8], &[u8]),
    position: From,
    found: &mut Found,
) -> CommandResult {
    let (now, is_propagated) = (s.ks.now_ms, propagate::is_propagated(s));
    let Some(stream) = s.ks.write::<Stream>(call.db, key)? else { return Ok(()) };
    let Parts { log, groups } = &mut **stream;
    let Some(group) = groups.get_mut(group_name) else { return Ok(()) };
    let known = group.find_consumer(consumer_name);
    let Some(consumer) = known.or_else(|| group.add_consumer(consumer_name, now)) else {
        return Ok(());
    };
    group.consumer_mut(consumer).seen_ms = now;
    let mut delivered = Vec::new();
    let mut moved = false;
    let served = match position {
        From::After(after) => {
            found.add(&mut call.reply, key);
            reply_history(&mut call.reply, log, group, consumer, after, request.count, now);
            true
        }
        From::New => {
            let start = group.last_id.next().filter(|_| group.last_id < log.last_id);
            let items = start.into_iter().flat_map(|start| log.range(start, StreamId::MAX));
            let mut items = items.take(request.count).peekable();
            moved = items.peek().is_some();
            if moved {
                found.add(&mut call.reply, key);
                let at = call.reply.deferred();
                let mut n = 0;
                for item in items {
                    let id = item.id;
                    reply_entry(&mut call.reply, item);
                    n += 1;
                    advance(group, log, id);
                    if !request.no_ack {
                        let delivery = Pending { consumer, delivered_ms: now, deliveries: 1 };
                        group.deliver(id, delivery);
                        if is_propagated {
                            let consumer = consumer_name.into();
                            delivered.push(Claim { id, consumer, pending: delivery });
                        }
                    }
                }
                call.reply.set_array(at, n);
                if !request.no_ack {
                    group.consumer_mut(consumer).active_ms = now;
                }
            }
            moved
        }
    };
    let position = group_position(group);
    s.ks.changes.dirty += u64::from(served);
    if known.is_none() {
        note_consumer(s, call, [key, group_name, consumer_name], &delivered);
    }
    for claim in &delivered {
        // With the entry goes the position that the group had when it was delivered.
        propagate_claim(s, call, key, group_name, claim, claim.id);
    }
    if moved {
        propagate_group_position(s, call, key, group_name, position);
    }
    Ok(())
}

/// Moves a group on to an entry that was just delivered. Where entries behind its place have been trimmed or deleted
/// unread, it has read more than it counted.
fn advance(group: &mut Group, log: &Log, id: StreamId) {
    let gapless = group.last_id >= log.first_id() && !log.has_gaps_after(group.last_id);
    group.entries_read = match group.entries_read {
        Some(read) if gapless => Some(read.wrapping_add(1)),
        _ => log.entries_up_to(id),
    };
    group.last_id = id;
}

/// What a consumer got and has not acknowledged; counts as delivering it once more.
fn reply_history(
    reply: &mut Reply,
    log: &Log,
    group: &mut Group,
    consumer: ConsumerId,
    after: StreamId,
    count: usize,
    now: i64,
) {
    let at = reply.deferred();
    let mut n = 0;
    let mut start = after.next();
    while n < count
        && let Some(from) = start
    {
        let next = group.consumer(consumer).pending_from(from).next();
        let Some(id) = next else { break };
        start = id.next();
        n += 1;
        match log.get(id) {
            Some(item) => {
                reply_entry(reply, item);
                if let Some(pending) = group.pending(id) {
                    let deliveries = pending.deliveries.wrapping_add(1);
                    group.deliver(id, Pending { delivered_ms: now, deliveries, ..pending });
                }
            }
            None => {
                // It was deleted: the consumer is to know, and to acknowledge it.
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        }
    }
    reply.set_array(at, n);
}

/// The streams in a reply: pairs of key and entries.
struct Found {
    at: Deferred,
    streams: usize,
}

impl Found {
    fn new(reply: &mut Reply) -> Found {
        Found { at: reply.deferred(), streams: 0 }
    }

    /// Starts another stream's part: its entries follow.
    fn add(&mut self, reply: &mut Reply, key: &[u8]) {
        self.streams += 1;
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key);
    }
}

/// Completes the reply, or waits.
fn finish(
    s: &mut Server,
    call: &mut Call,
    request: &ReadRequest<'_>,
    positions: &[From],
    found: Found,
) {
    let Found { at, streams } = found;
    match request.block {
        _ if streams > 0 && call.reply.is_resp3() => call.reply.set_map(at, streams),
        _ if streams > 0 => call.reply.set_array(at, streams),
        Some(deadline_ms) if blocking::may_block(s, call) => {
            request.block(s, call, positions, deadline_ms)
        }
        _ => call.reply.null_array(),
    }
}
