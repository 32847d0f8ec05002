//! Which waits have an end, and how many clients wait for keys.

use crate::server::token::Noted;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Waits {
    /// When waits end: time in milliseconds since 1970, client.
    deadlines: BTreeSet<(i64, Noted)>,
    /// Clients that wait for keys.
    for_keys: usize,
    /// The deadline of the command that is executed again.
    resumed: Option<Option<i64>>,
}

impl Waits {
    /// A client begins to wait until `deadline_ms`, in milliseconds since 1970; `None`: for ever.
    pub fn begin(&mut self, client: Noted, for_keys: bool, deadline_ms: Option<i64>) {
        self.for_keys += usize::from(for_keys);
        self.deadlines.extend(deadline_ms.map(|at| (at, client)));
    }

    /// Its wait is over. The arguments are those that it began with.
    pub fn end(&mut self, client: Noted, for_keys: bool, deadline_ms: Option<i64>) {
        self.for_keys -= usize::from(for_keys);
        if let Some(at) = deadline_ms {
            self.deadlines.remove(&(at, client));
        }
    }

    /// A command that a client blocked with is executed again: should it block again, it has this deadline.
    pub fn begin_resuming(&mut self, deadline_ms: Option<i64>) {
        self.resumed = Some(deadline_ms);
    }

    pub fn end_resuming(&mut self) {
        self.resumed = None;
    }

    /// Whether the command that runs is one that a client blocked with: it has been seen before.
    #[inline]
    pub fn is_resuming(&self) -> bool {
        self.resumed.is_some()
    }

    /// The deadline of a command that blocks: the one that it asks for, unless it has blocked before.
    pub fn deadline_ms(&self, asked_for: Option<i64>) -> Option<i64> {
        self.resumed.unwrap_or(asked_for)
    }

    /// Whose time is over, the first first: the deadline's millisecond too, because the one in which the wait began had
    /// begun before it.
    pub fn late(&self, now_ms: i64) -> Vec<Noted> {
        let late = self.deadlines.iter().take_while(|(at, _)| *at < now_ms);
        late.map(|(_, client)| *client).collect()
    }

    /// When the first wait's time is over, in milliseconds since 1970.
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How many waits have a deadline.
    pub fn with_deadline(&self) -> usize {
        self.deadlines.len()
    }

    /// How many clients wait for keys.
    pub fn for_keys(&self) -> usize {
        self.for_keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_in_the_order_of_their_deadlines() {
        let mut waits = Waits::default();
        waits.begin((1, 10), true, Some(300));
        waits.begin((2, 20), false, Some(100));
        waits.begin((3, 30), true, None);
        assert_eq!((waits.for_keys(), waits.with_deadline()), (2, 2));
        assert_eq!((waits.next_deadline(), waits.late(100)), (Some(100), vec![]));
        assert_eq!(waits.late(301), [(2, 20), (1, 10)]);
        waits.end((2, 20), false, Some(100));
        waits.end((3, 30), true, None);
        assert_eq!((waits.for_keys(), waits.next_deadline()), (1, Some(300)));
    }

    #[test]
    fn a_command_that_goes_on_keeps_its_deadline() {
        let mut waits = Waits::default();
        assert_eq!(waits.deadline_ms(Some(5)), Some(5));
        waits.begin_resuming(None);
        assert!(waits.is_resuming());
        assert_eq!(waits.deadline_ms(Some(5)), None);
        waits.end_resuming();
        assert_eq!(waits.deadline_ms(Some(5)), Some(5));
    }
}
