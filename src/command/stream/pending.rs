//! What was delivered and not yet acknowledged: XACK, XPENDING, XCLAIM, XAUTOCLAIM.

use super::{
    group_position, id, no_group, propagate_group_position, range_end, range_start, reply_entry,
    reply_id,
};
use crate::command::args::{self, is};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::value::stream::group::{ConsumerId, Pending};
use crate::value::stream::{Group, Parts, Stream, StreamId};

/// XAUTOCLAIM looks at so many deliveries for each that it may claim.
const ATTEMPTS: i64 = 10;

pub(super) fn xack(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let stream = s.ks.read_to_change::<Stream>(call.db, args[1])?;
    let mut acknowledged = 0;
    if let Some(group) = stream.and_then(|stream| stream.groups.get_mut(args[2])) {
        // All or nothing: nothing is acknowledged if an ID is wrong.
        for arg in &args[3..] {
            id(arg, 0)?;
        }
        for arg in &args[3..] {
            acknowledged += u64::from(group.acknowledge(id(arg, 0)?));
        }
    }
    s.ks.changes.dirty += acknowledged;
    call.reply.int(acknowledged as i64);
    Ok(())
}

/// The part of XPENDING that asks for single deliveries.
struct PendingQuery<'a> {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> PendingQuery<'a> {
    /// `[IDLE <ms>] <start> <end> <count> [<consumer>]`
    fn parse(args: &[&'a [u8]]) -> CommandResult<PendingQuery<'a>> {
        if !(3..=6).contains(&args.len()) {
            return Err(CommandError::SYNTAX);
        }
        let (min_idle, range) = match *args {
            [idle, ms, ref range @ ..] if is(idle, "IDLE") => (args::int(ms)?, range),
            _ => (0, args),
        };
        let (start, end, count, consumer) = match *range {
            [start, end, count] => (start, end, count, None),
            // Words behind the consumer are overlooked, as Redis overlooks them.
            [start, end, count, consumer, ..] => (start, end, count, Some(consumer)),
            _ => return Err(CommandError::SYNTAX),
        };
        let count = args::int(count)?.max(0);
        Ok(PendingQuery {
            min_idle,
            start: range_start(start)?,
            end: range_end(end)?,
            count,
            consumer,
        })
    }
}

pub(super) fn xpending(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, name, now) = (args[1], args[2], s.ks.now_ms);
    let query = if args.len() == 3 { None } else { Some(PendingQuery::parse(&args[3..])?) };
    let stream = s.ks.read::<Stream>(call.db, key)?;
    let group = stream.and_then(|stream| stream.groups.get(name));
    let group = group.ok_or_else(|| no_group(key, name, b""))?;
    let reply = &mut call.reply;
    let Some(query) = query else {
        reply.array(4);
        reply.int(group.pending_len() as i64);
        let mut all = group.pending_from(StreamId::MIN);
        let Some((first, _)) = all.next() else {
            reply.null();
            reply.null();
            reply.null_array();
            return Ok(());
        };
        reply_id(reply, first);
        reply_id(reply, all.next_back().map_or(first, |(last, _)| last));
        let at = reply.deferred();
        let mut n = 0;
        for (_, consumer) in group.consumers().filter(|(_, c)| c.pending_len() > 0) {
            reply.array(2);
            reply.bulk(&consumer.name);
            reply.bulk_int(consumer.pending_len() as i64);
            n += 1;
        }
        reply.set_array(at, n);
        return Ok(());
    };
    let consumer = match query.consumer.map(|name| group.find_consumer(name)) {
        Some(None) => {
            reply.array(0);
            return Ok(());
        }
        Some(Some(consumer)) => Some(group.consumer(consumer)),
        None => None,
    };
    let own = consumer.into_iter().flat_map(|consumer| {
        consumer.pending_from(query.start).filter_map(|id| Some((id, group.pending(id)?)))
    });
    let all = consumer.is_none().then(|| group.pending_from(query.start));
    let idle = |pending: &Pending| now.saturating_sub(pending.delivered_ms);
    let shown = own
        .chain(all.into_iter().flatten())
        .take_while(|(id, _)| *id <= query.end)
        .filter(|(_, pending)| query.min_idle == 0 || idle(pending) >= query.min_idle)
        .take(usize::try_from(query.count).unwrap_or(usize::MAX));
    let at = reply.deferred();
    let mut n = 0;
    for (id, pending) in shown {
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(&group.consumer(pending.consumer).name);
        reply.int(idle(&pending).max(0));
        reply.int(pending.deliveries as i64);
        n += 1;
    }
    reply.set_array(at, n);
    Ok(())
}

/// A delivery as replicas are told of it.
pub(super) struct Claim {
    pub(super) id: StreamId,
    pub(super) consumer: Box<[u8]>,
    pub(super) pending: Pending,
}

impl Claim {
    fn new(group: &Group, id: StreamId, pending: Pending) -> Claim {
        Claim { id, consumer: group.consumer(pending.consumer).name.clone(), pending }
    }
}

/// Propagates a delivery, whose group has got to `last_id`. A replica that does not have the entry any more forgets
/// the delivery.
pub(super) fn propagate_claim(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    group: &[u8],
    claim: &Claim,
    last_id: StreamId,
) {
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    propagate::propagate_instead(
        s,
        call,
        &[
            b"XCLAIM",
            key,
            group,
            &claim.consumer,
            b"0",
            &claim.id.text(),
            b"TIME",
            time.format(claim.pending.delivered_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(claim.pending.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &last_id.text(),
        ],
    );
}

/// The options of XCLAIM, and its IDs.
struct ClaimOptions {
    min_idle: i64,
    /// How many arguments from `args[5]` on are IDs.
    ids: usize,
    delivered_ms: i64,
    retry_count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    /// How often an entry counts as delivered that is pending as `before`, if at all; `None`: it is not claimed.
    fn deliveries(&self, before: Option<Pending>, now_ms: i64) -> Option<u64> {
        let so_far = match before {
            Some(pending) if now_ms.saturating_sub(pending.delivered_ms) < self.min_idle => {
                return None;
            }
            Some(pending) => pending.deliveries,
            None if self.force => 1,
            None => return None,
        };
        Some(self.retry_count.unwrap_or(so_far.wrapping_add(u64::from(!self.just_id))))
    }

    fn parse(args: &[&[u8]], now: i64) -> CommandResult<ClaimOptions> {
        let int = |arg: &[u8], what: &str| {
            args::int(arg)
                .map_err(|_| CommandError::err_with(format!("Invalid {what} argument for XCLAIM")))
        };
        let min_idle = int(args[4], "min-idle-time")?.max(0);
        let ids = args[5..].iter().take_while(|arg| StreamId::parse(arg, 0).is_some()).count();
        let mut options = ClaimOptions {
            min_idle,
            ids,
            delivered_ms: now,
            retry_count: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        };
        let mut rest = args[5 + ids..].iter();
        while let Some(arg) = rest.next() {
            if is(arg, "FORCE") {
                options.force = true;
                continue;
            } else if is(arg, "JUSTID") {
                options.just_id = true;
                continue;
            }
            let known =
                ["IDLE", "TIME", "RETRYCOUNT", "LASTID"].into_iter().find(|name| is(arg, name));
            let (Some(name), Some(value)) = (known, rest.next()) else {
                let text = [b"Unrecognized XCLAIM option '", *arg, b"'"].concat();
                return Err(CommandError::err_with(text));
            };
            match name {
                "IDLE" => options.delivered_ms = now.saturating_sub(int(value, "IDLE option")?),
                "TIME" => options.delivered_ms = int(value, "TIME option")?,
                "RETRYCOUNT" => {
                    options.retry_count = u64::try_from(int(value, "RETRYCOUNT option")?).ok();
                }
                _ => options.last_id = id(value, 0)?,
            }
        }
        if !(0..=now).contains(&options.delivered_ms) {
            // Clients compute times by their own clocks: no reason to fail.
            options.delivered_ms = now;
        }
        Ok(options)
    }
}

/// The consumer of this name, made if there is none; and whether it was.
fn consumer_or_new(group: &mut Group, name: &[u8], now: i64) -> (ConsumerId, bool) {
    let known = group.find_consumer(name);
    let added = group.add_consumer(name, now);
    let consumer = known.or(added).expect("either it was there or it is new");
    group.consumer_mut(consumer).seen_ms = now;
    (consumer, added.is_some())
}

/// Notes a consumer (key, group, name) that was made because it asked. `claims`: what is propagated of what it got; a
/// claim in its name makes it everywhere.
pub(super) fn note_consumer(s: &mut Server, call: &mut Call, args: [&[u8]; 3], claims: &[Claim]) {
    let [key, group, name] = args;
    s.ks.changes.dirty += 1;
    s.ks.changes.notifications.push(Class::STREAM, "xgroup-createconsumer", call.db, key);
    if claims.iter().all(|claim| *claim.consumer != *name) {
        propagate::propagate_instead(s, call, &[b"XGROUP", b"CREATECONSUMER", key, group, name]);
    }
}

pub(super) fn xclaim(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, name, now) = (args[1], args[2], s.ks.now_ms);
    let is_propagated = propagate::is_propagated(s);
    let stream = s.ks.read_to_change::<Stream>(call.db, key)?;
    let (log, group) = match stream.map(|stream| &mut **stream) {
        Some(Parts { log, groups }) => (log, groups.get_mut(name)),
        None => return Err(no_group(key, name, b"")),
    };
    let group = group.ok_or_else(|| no_group(key, name, b""))?;
    let options = ClaimOptions::parse(args, now)?;
    let mut moved = options.last_id > group.last_id;
    group.last_id = group.last_id.max(options.last_id);
    let (consumer, is_new) = consumer_or_new(group, args[3], now);
    let mut claims = Vec::new();
    let mut changes = 0;
    let at = call.reply.deferred();
    let mut n = 0;
    for arg in &args[5..5 + options.ids] {
        let id = id(arg, 0)?;
        let before = group.pending(id);
        let Some(item) = log.get(id) else {
            if let Some(pending) = before {
                // The entry is gone: there is nothing to be acknowledged.
                if is_propagated {
                    claims.push(Claim::new(group, id, pending));
                }
                group.acknowledge(id);
                changes += 1;
            }
            continue;
        };
        let Some(deliveries) = options.deliveries(before, now) else { continue };
        let pending = Pending { consumer, delivered_ms: options.delivered_ms, deliveries };
        group.deliver(id, pending);
        group.consumer_mut(consumer).active_ms = now;
        if options.just_id {
            reply_id(&mut call.reply, id);
        } else {
            reply_entry(&mut call.reply, item);
        }
        n += 1;
        changes += 1;
        if is_propagated {
            claims.push(Claim::new(group, id, pending));
        }
    }
    call.reply.set_array(at, n);
    let position = group_position(group);
    moved &= changes == 0;
    s.ks.changes.dirty += changes + u64::from(moved);
    call.propagate_nothing();
    if is_new {
        note_consumer(s, call, [key, name, args[3]], &claims);
    }
    for claim in &claims {
        propagate_claim(s, call, key, name, claim, position.0);
    }
    if moved {
        propagate_group_position(s, call, key, name, position);
    }
    Ok(())
}

/// The options of XAUTOCLAIM.
struct AutoClaimOptions {
    min_idle: i64,
    start: StreamId,
    count: i64,
    just_id: bool,
}

impl AutoClaimOptions {
    fn parse(args: &[&[u8]]) -> CommandResult<AutoClaimOptions> {
        const MAX_COUNT: i64 = i64::MAX / 16;
        let min_idle = args::int(args[4])
            .map_err(|_| CommandError::err("Invalid min-idle-time argument for XAUTOCLAIM"))?;
        let mut options = AutoClaimOptions {
            min_idle: min_idle.max(0),
            start: range_start(args[5])?,
            count: 100,
            just_id: false,
        };
        let mut rest = args[6..].iter();
        while let Some(arg) = rest.next() {
            if is(arg, "JUSTID") {
                options.just_id = true;
            } else if is(arg, "COUNT")
                && let Some(n) = rest.next()
            {
                let message = Some("COUNT must be > 0");
                options.count = args::int_between(n, 1, MAX_COUNT, message)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }
}

pub(super) fn xautoclaim(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, name, now) = (args[1], args[2], s.ks.now_ms);
    let is_propagated = propagate::is_propagated(s);
    // The key is looked up, and expires, even if the arguments are wrong.
    s.ks.lookup_no_touch(call.db, key);
    let options = AutoClaimOptions::parse(args)?;
    let stream = s.ks.write::<Stream>(call.db, key)?.ok_or_else(|| no_group(key, name, b""))?;
    let Parts { log, groups } = &mut **stream;
    let group = groups.get_mut(name).ok_or_else(|| no_group(key, name, b""))?;
    let (consumer, is_new) = consumer_or_new(group, args[3], now);

    let (mut claimed, mut deleted) = (Vec::new(), Vec::new());
    let mut deliveries = group.pending_from(options.start);
    let mut attempts = options.count.saturating_mul(ATTEMPTS);
    while attempts > 0
        && ((claimed.len() + deleted.len()) as i64) < options.count
        && let Some((id, pending)) = deliveries.next()
    {
        attempts -= 1;
        if log.get(id).is_none() {
            deleted.push((id, pending));
        } else if now.saturating_sub(pending.delivered_ms) >= options.min_idle {
            let deliveries = pending.deliveries.wrapping_add(u64::from(!options.just_id));
            claimed.push((id, Pending { consumer, delivered_ms: now, deliveries }));
        }
    }
    let cursor = deliveries.next().map_or(StreamId::MIN, |(id, _)| id);
    drop(deliveries);

    let reply = &mut call.reply;
    reply.array(3);
    reply_id(reply, cursor);
    reply.array(claimed.len());
    for &(id, pending) in &claimed {
        group.deliver(id, pending);
        match log.get(id) {
            Some(item) if !options.just_id => reply_entry(reply, item),
            _ => reply_id(reply, id),
        }
    }
    if !claimed.is_empty() {
        group.consumer_mut(consumer).active_ms = now;
    }
    reply.array(deleted.len());
    for &(id, _) in &deleted {
        reply_id(reply, id);
    }
    let mut claims = Vec::new();
    if is_propagated {
        let all = deleted.iter().chain(&claimed);
        claims.extend(all.map(|&(id, pending)| Claim::new(group, id, pending)));
    }
    for &(id, _) in &deleted {
        group.acknowledge(id);
    }
    let last_id = group.last_id;
    s.ks.changes.dirty += (claimed.len() + deleted.len()) as u64;
    call.propagate_nothing();
    if is_new {
        note_consumer(s, call, [key, name, args[3]], &claims);
    }
    for claim in &claims {
        propagate_claim(s, call, key, name, claim, last_id);
    }
    Ok(())
}
