//! Entries that go with regard to who still has them to acknowledge: XDELEX and XACKDEL of Redis 8.2, and its policies
//! of XADD and XTRIM.
//!
//! All are propagated as what they did, as XACK, XTRIM and XDEL, which every replica knows.

use super::id;
use crate::command::args::{self, is};
use crate::db::notify::Class;
use crate::resp::error::{CommandError, CommandResult};
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::value::stream::log::TrimTo;
use crate::value::stream::{Stream, StreamId};
use std::collections::BTreeMap;

/// What becomes of deliveries of a deleted entry that nobody has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum References {
    /// `KEEPREF`: they stay.
    Keep,
    /// `DELREF`: they go, in all groups.
    Delete,
    /// `ACKED`: there must be none, and every group must have had the entry.
    Acked,
}

impl References {
    pub(super) fn parse(arg: &[u8]) -> Option<References> {
        match arg {
            _ if is(arg, "KEEPREF") => Some(References::Keep),
            _ if is(arg, "DELREF") => Some(References::Delete),
            _ if is(arg, "ACKED") => Some(References::Acked),
            _ => None,
        }
    }
}

/// What is to be deleted, and how.
struct DeleteRequest<'a, 'b> {
    references: References,
    /// Not looked at unless there is something to look for.
    ids: &'b [&'a [u8]],
}

impl<'a, 'b> DeleteRequest<'a, 'b> {
    /// `[KEEPREF | DELREF | ACKED] IDS <numids> <id>...`; of several lists the last counts.
    fn parse(args: &'b [&'a [u8]]) -> CommandResult<DeleteRequest<'a, 'b>> {
        let (mut references, mut ids, mut rest) = (None, None, args);
        while let Some((&arg, behind)) = rest.split_first() {
            rest = behind;
            if is(arg, "IDS") {
                let (&count, behind) = rest.split_first().ok_or(CommandError::SYNTAX)?;
                let count = args::int(count).ok().and_then(|n| usize::try_from(n).ok());
                let count = count
                    .filter(|n| *n > 0)
                    .ok_or(CommandError::err("Number of IDs must be a positive integer"))?;
                let (own, behind) = behind.split_at_checked(count).ok_or(CommandError::err(
                    "The `numids` parameter must match the number of arguments",
                ))?;
                (ids, rest) = (Some(own), behind);
            } else if references.is_none() {
                references = Some(References::parse(arg).ok_or(CommandError::SYNTAX)?);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        let ids = ids.ok_or(CommandError::SYNTAX)?;
        Ok(DeleteRequest { references: references.unwrap_or(References::Keep), ids })
    }

    fn ids(&self) -> CommandResult<Vec<StreamId>> {
        self.ids.iter().map(|arg| id(arg, 0)).collect()
    }
}

/// What was done to a stream.
#[derive(Debug, Default)]
pub(super) struct Effects {
    acknowledged: BTreeMap<Vec<u8>, Vec<StreamId>>,
    /// All entries before this one were removed from the front.
    trimmed_to: Option<StreamId>,
    /// Entries that were removed from anywhere.
    deleted: Vec<StreamId>,
}

impl Effects {
    fn acknowledge(&mut self, stream: &mut Stream, group: &[u8], id: StreamId) -> bool {
        let done = stream.groups.get_mut(group).is_some_and(|group| group.acknowledge(id));
        if done {
            self.acknowledged.entry(group.to_vec()).or_default().push(id);
        }
        done
    }

    /// Deletes an entry if its references allow that; returns whether they do.
    fn delete(&mut self, stream: &mut Stream, id: StreamId, references: References) -> bool {
        if !self.release(stream, id, references) {
            return false;
        }
        if stream.log.delete(id) {
            self.deleted.push(id);
        }
        true
    }

    /// Whether the references to an entry let it go; they are gone then, if they are to be deleted.
    fn release(&mut self, stream: &mut Stream, id: StreamId, references: References) -> bool {
        match references {
            References::Keep => true,
            References::Delete => {
                for (name, group) in &mut stream.groups {
                    if group.acknowledge(id) {
                        self.acknowledged.entry(name.to_vec()).or_default().push(id);
                    }
                }
                true
            }
            References::Acked => {
                let mut groups = stream.groups.iter();
                groups.all(|(_, g)| id <= g.last_id && g.pending(id).is_none())
            }
        }
    }

    /// Removes the oldest entries whose references allow that, until the stream is as short as it is to be; returns how
    /// many.
    pub(super) fn trim(&mut self, stream: &mut Stream, to: TrimTo, references: References) -> u64 {
        let (mut left, before) = (stream.log.len(), stream.log.len());
        let is_due = |id, left| match to {
            TrimTo::MaxLen(max) => left > max,
            TrimTo::MinId(min) => id < min,
        };
        let (mut after, mut kept_any) = (Some(StreamId::MIN), false);
        while let Some(next) = after
            && let Some(item) = stream.log.range(next, StreamId::MAX).next()
            && is_due(item.id, left)
        {
            let id = item.id;
            after = id.next();
            if !self.release(stream, id, references) {
                kept_any = true;
                continue;
            }
            left -= 1;
            if kept_any {
                // It leaves a gap, as XDEL does.
                stream.log.delete(id);
                self.deleted.push(id);
            } else {
                self.trimmed_to = after;
            }
        }
        if let Some(min) = self.trimmed_to {
            stream.log.trim(TrimTo::MinId(min), false, 0);
        }
        before - left
    }

    /// Propagates what was done.
    pub(super) fn propagate(&self, s: &mut Server, call: &mut Call, key: &[u8]) {
        let texts = |ids: &[StreamId]| -> Vec<_> { ids.iter().map(|id| id.text()).collect() };
        for (group, ids) in &self.acknowledged {
            let ids = texts(ids);
            let mut command: Vec<&[u8]> = vec![b"XACK", key, group];
            command.extend(ids.iter().map(|id| &id[..]));
            propagate::propagate_instead(s, call, &command);
        }
        if let Some(min) = self.trimmed_to {
            propagate::propagate_instead(s, call, &[b"XTRIM", key, b"MINID", b"=", &min.text()]);
        }
        if !self.deleted.is_empty() {
            let ids = texts(&self.deleted);
            let mut command: Vec<&[u8]> = vec![b"XDEL", key];
            command.extend(ids.iter().map(|id| &id[..]));
            propagate::propagate_instead(s, call, &command);
        }
    }
}

pub(super) fn xdelex(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let key = args[1];
    let stream = s.ks.write::<Stream>(call.db, key)?;
    let request = DeleteRequest::parse(&args[2..])?;
    let mut effects = Effects::default();
    let mut outcomes = vec![-1; request.ids.len()];
    if let Some(stream) = stream {
        for (id, outcome) in request.ids()?.into_iter().zip(&mut outcomes) {
            let there = stream.log.get(id).is_some();
            *outcome = match effects.delete(stream, id, request.references) {
                // Even if there is no entry of this ID: it was not read or not acknowledged yet.
                false => 2,
                true if there => 1,
                true => -1,
            };
        }
    }
    answer(s, call, key, &outcomes, &effects);
    Ok(())
}

pub(super) fn xackdel(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let (key, group) = (args[1], args[2]);
    let stream = s.ks.read_to_change::<Stream>(call.db, key)?;
    let request = DeleteRequest::parse(&args[3..])?;
    let mut effects = Effects::default();
    let mut outcomes = vec![-1; request.ids.len()];
    if let Some(stream) = stream.filter(|stream| stream.groups.contains_key(group)) {
        for (id, outcome) in request.ids()?.into_iter().zip(&mut outcomes) {
            *outcome = match effects.acknowledge(stream, group, id) {
                false => -1,
                true if effects.delete(stream, id, request.references) => 1,
                true => 2,
            };
        }
    }
    answer(s, call, key, &outcomes, &effects);
    Ok(())
}

/// Answers what became of each ID (-1: nothing, there is no such entry), and has others know what was done.
fn answer(s: &mut Server, call: &mut Call, key: &[u8], outcomes: &[i64], effects: &Effects) {
    call.reply.array(outcomes.len());
    outcomes.iter().for_each(|outcome| call.reply.int(*outcome));
    if !effects.deleted.is_empty() {
        s.ks.changes.write(Class::STREAM, "xdel", call.db, key);
    }
    let acknowledged: usize = effects.acknowledged.values().map(Vec::len).sum();
    s.ks.changes.dirty += acknowledged as u64;
    effects.propagate(s, call, key);
}
