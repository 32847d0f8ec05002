//! Histories: whose stream this server writes or follows, how far it has got, and who may go on in it.

use std::ops::RangeInclusive;

/// The id of no history.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// The history that this server writes or follows, and how far it has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    id: String,
    /// In bytes of the stream.
    offset: u64,
    /// The history before the last change of primary, which this one continues.
    before: Option<Past>,
}

/// A history up to some byte of it, counted from 1, that another one goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Past {
    id: String,
    up_to: u64,
}

/// Where in whose history a replica wants to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// `?`: it has none.
    pub id: &'a [u8],
    /// The first byte that it misses, counted from 1.
    pub offset: i64,
}

/// What of the stream there is for a replica.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    /// The offsets, counted from 0, from which on all is here; `None`: there is no backlog.
    pub backlog: Option<RangeInclusive<u64>>,
    /// Before this one there is what the replica can't read.
    pub readable_from: u64,
}

/// Why a replica can't go on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has not asked for it.
    NotAsked,
    OtherHistory,
    /// Its history was continued by ours before that offset, at `up_to` (-1: there was none).
    HistoryEnded {
        up_to: i64,
    },
    Unreadable,
    NoBacklog,
    /// Offsets count from 1.
    NoOffset,
    Ahead {
        end: u64,
    },
    /// The first and the last byte that there are, counted from 1.
    NotKept {
        first: u64,
        last: u64,
    },
}

impl History {
    pub fn new(id: String) -> History {
        History { id, offset: 0, before: None }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The history before.
    pub fn second_id(&self) -> &str {
        self.before.as_ref().map_or(NO_ID, |past| &past.id)
    }

    /// The byte, counted from 1, up to which a replica may go on from the history before; -1: there was none.
    pub fn second_offset(&self) -> i64 {
        self.before.as_ref().map_or(-1, |past| past.up_to as i64)
    }

    pub fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
    }

    /// Starts a new history; the old one can't be continued.
    pub fn change_id(&mut self, id: String) {
        self.id = id;
        self.before = None;
    }

    /// Starts a new history that continues the present one: replicas that have followed so far may go on.
    pub fn shift_id(&mut self, id: String) {
        let id = std::mem::replace(&mut self.id, id);
        self.before = Some(Past { id, up_to: self.offset + 1 });
    }

    /// Another server's data is ours, and its history, from an offset on: there is nothing before it.
    pub fn replace(&mut self, id: String, offset: u64) {
        *self = History { id, offset, before: None };
    }

    /// Another server's history is ours, from an offset on.
    pub fn adopt(&mut self, id: String, offset: u64) {
        self.id = id;
        self.offset = offset;
    }

    /// A history of an earlier life has got so far: who was in it may go on in ours.
    pub fn continues(&mut self, id: String, offset: u64) {
        self.before = Some(Past { id, up_to: offset + 1 });
        self.offset = offset;
    }

    /// Whether a replica may go on where it stopped: from which offset, counted from 0.
    ///
    /// # Errors
    /// Why it may not.
    pub fn resume(&self, wanted: Wanted<'_>, kept: &Retained) -> Result<u64, Refusal> {
        let offset = u64::try_from(wanted.offset).unwrap_or(0);
        let is = |id: &str| wanted.id.eq_ignore_ascii_case(id.as_bytes());
        if !is(&self.id) {
            match &self.before {
                Some(past) if is(&past.id) && offset <= past.up_to => {}
                _ if wanted.id == b"?" => return Err(Refusal::NotAsked),
                _ if is(self.second_id()) => {
                    return Err(Refusal::HistoryEnded { up_to: self.second_offset() });
                }
                _ => return Err(Refusal::OtherHistory),
            }
        }
        // Offsets on the wire count from 1; the stream's from 0.
        let from = offset.wrapping_sub(1);
        if from < kept.readable_from {
            return Err(Refusal::Unreadable);
        }
        match &kept.backlog {
            None => Err(Refusal::NoBacklog),
            Some(_) if offset == 0 => Err(Refusal::NoOffset),
            Some(backlog) if from > *backlog.end() => Err(Refusal::Ahead { end: *backlog.end() }),
            Some(backlog) if from < *backlog.start() => {
                Err(Refusal::NotKept { first: backlog.start() + 1, last: *backlog.end() })
            }
            Some(_) => Ok(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const BEFORE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const OTHER: &str = "cccccccccccccccccccccccccccccccccccccccc";

    /// Ours since offset 100, at 200 now; before it was another's.
    fn history() -> History {
        let mut history = History::new(BEFORE.to_string());
        history.advance(100);
        history.shift_id(OURS.to_string());
        history.advance(100);
        history
    }

    #[test]
    fn who_may_go_on() {
        let last = Retained { backlog: Some(50..=200), readable_from: 0 };
        let none = Retained { backlog: None, readable_from: 0 };
        let newer = Retained { backlog: Some(50..=200), readable_from: 150 };
        let upper = OURS.to_uppercase();
        let not_kept = Err(Refusal::NotKept { first: 51, last: 200 });
        let ended = Err(Refusal::HistoryEnded { up_to: 101 });
        for (id, offset, kept, expected) in [
            // In our history: all that is kept, its end included.
            (OURS, 201, &last, Ok(200)),
            (OURS, 200, &last, Ok(199)),
            (OURS, 51, &last, Ok(50)),
            (&upper, 51, &last, Ok(50)),
            (OURS, 50, &last, not_kept.clone()),
            (OURS, 1, &last, not_kept.clone()),
            (OURS, 202, &last, Err(Refusal::Ahead { end: 200 })),
            (OURS, i64::MAX, &last, Err(Refusal::Ahead { end: 200 })),
            (OURS, 0, &last, Err(Refusal::NoOffset)),
            (OURS, -1, &last, Err(Refusal::NoOffset)),
            (OURS, i64::MIN, &last, Err(Refusal::NoOffset)),
            (OURS, 201, &none, Err(Refusal::NoBacklog)),
            (OURS, 0, &none, Err(Refusal::NoBacklog)),
            // In the one before: up to where ours begins.
            (BEFORE, 101, &last, Ok(100)),
            (BEFORE, 51, &last, Ok(50)),
            (BEFORE, 50, &last, not_kept),
            (BEFORE, 102, &last, ended.clone()),
            (BEFORE, 201, &none, ended),
            (BEFORE, 101, &none, Err(Refusal::NoBacklog)),
            // In another, or none.
            (OTHER, 201, &last, Err(Refusal::OtherHistory)),
            ("", 201, &last, Err(Refusal::OtherHistory)),
            (NO_ID, 201, &last, Err(Refusal::OtherHistory)),
            ("?", -1, &last, Err(Refusal::NotAsked)),
            ("?", 201, &none, Err(Refusal::NotAsked)),
            // What comes first that it can't read.
            (OURS, 151, &newer, Ok(150)),
            (OURS, 150, &newer, Err(Refusal::Unreadable)),
            (OURS, 10, &newer, Err(Refusal::Unreadable)),
            (BEFORE, 101, &newer, Err(Refusal::Unreadable)),
        ] {
            let wanted = Wanted { id: id.as_bytes(), offset };
            assert_eq!(history().resume(wanted, kept), expected, "{id} {offset} {kept:?}");
        }
    }

    #[test]
    fn a_history_without_a_past_is_continued_by_nobody_else() {
        let mut history = history();
        history.change_id(OTHER.to_string());
        let kept = Retained { backlog: Some(0..=200), readable_from: 0 };
        for (id, expected) in [
            (OURS, Err(Refusal::OtherHistory)),
            (BEFORE, Err(Refusal::OtherHistory)),
            (NO_ID, Err(Refusal::HistoryEnded { up_to: -1 })),
            (OTHER, Ok(100)),
        ] {
            let wanted = Wanted { id: id.as_bytes(), offset: 101 };
            assert_eq!(history.resume(wanted, &kept), expected, "{id}");
        }
        assert_eq!((history.second_id(), history.second_offset()), (NO_ID, -1));
    }

    #[test]
    fn a_restarted_primary_continues_what_its_file_says() {
        let mut history = History::new(OURS.to_string());
        history.continues(BEFORE.to_string(), 70);
        assert_eq!((history.id(), history.offset()), (OURS, 70));
        assert_eq!((history.second_id(), history.second_offset()), (BEFORE, 71));
        history.adopt(OTHER.to_string(), 90);
        assert_eq!((history.id(), history.offset(), history.second_id()), (OTHER, 90, BEFORE));
    }
}
