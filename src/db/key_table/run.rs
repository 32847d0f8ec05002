//! The keys of a run of neighbouring slots: in one table, which has the slot first, so that each slot's keys lie
//! together and take no more room than in a table without slots.
//!
//! Such a table can only divide its buckets evenly among its slots. One that has far more keys than the others, say by
//! a hash tag, would have long chains, so it gets a table of its own. Where keys come slot by slot, as from a file or
//! from another node, each slot has for a while more than the others. So tables are given up again, one at a time, when
//! what they have would be no more than a share.

use super::slot_keys::SlotKeys;
use crate::db::entry::{Entry, EntryRef};
use crate::db::order::{KeyOrder, RUN, slot_first};
use crate::ds::hash::{HashKeys, HashSeed};
use crate::ds::table::{POSITIONS, Table};
use crate::util::alloc::relocate::Relocator;
use crate::util::slot::key_slot;
use std::ops::Range;

/// A slot gets a table of its own when it has so many times the keys that it would have if all had as many, ...
const TIMES_ITS_SHARE: usize = 2;
/// ... and so many more.
const AND_MORE: usize = 64;

/// The tables of a run of slots.
pub(super) struct Run {
    shared: Table<Entry>,
    /// Those of slots that have one of their own.
    own: Option<Box<OwnTables>>,
    /// The keys that the shared table will have when the tables have been given up that are no longer needed; 0: there
    /// are none.
    due: usize,
}

type OwnTables = [Option<Box<Table<Entry>>>; RUN as usize];

impl Run {
    pub fn new(seed: HashSeed) -> Run {
        Run { shared: Table::one_of_some(KeyOrder::by_slot(seed)), own: None, due: 0 }
    }

    #[inline]
    pub fn own(&self, slot: u16) -> Option<&Table<Entry>> {
        self.own.as_ref()?[usize::from(slot % RUN)].as_deref()
    }

    /// The table of a slot, and the hash by which that knows a key with this hash.
    #[inline]
    pub fn table(&self, slot: u16, hash: u64) -> (&Table<Entry>, u64) {
        match self.own(slot) {
            None => (&self.shared, slot_first(slot, hash)),
            Some(table) => (table, hash),
        }
    }

    #[inline]
    pub fn table_mut(&mut self, slot: u16, hash: u64) -> (&mut Table<Entry>, u64) {
        let own = self.own.as_mut().and_then(|own| own[usize::from(slot % RUN)].as_deref_mut());
        match own {
            None => (&mut self.shared, slot_first(slot, hash)),
            Some(table) => (table, hash),
        }
    }

    /// The keys of a slot that has so many.
    pub fn slot(&self, slot: u16, len: usize) -> SlotKeys<'_> {
        SlotKeys::new(self.table(slot, 0).0, slot, len)
    }

    /// Inserts a key of a slot that has so many keys with it.
    #[inline]
    pub fn insert_unique(&mut self, slot: u16, len: usize, hash: u64, entry: Entry, mark: bool) {
        let own = self.own.as_mut().and_then(|own| own[usize::from(slot % RUN)].as_mut());
        if let Some(table) = own {
            table.insert_unique(hash, entry, mark);
            return;
        }
        self.shared.insert_unique(slot_first(slot, hash), entry, mark);
        let share = self.shared.len().max(self.due) / usize::from(RUN);
        if len > AND_MORE + TIMES_ITS_SHARE * share {
            self.give_own(slot, len);
        }
    }

    /// Gives a slot that has so many keys a table of its own.
    #[cold]
    fn give_own(&mut self, slot: u16, len: usize) {
        let order = self.shared.hasher();
        let mut table = Box::new(Table::with_capacity(order.without_slots(), len));
        table.set_resize_allowed(self.shared.is_resize_allowed());
        self.shared.take_range(order.part(slot).all(), |entry, mark| {
            let hash = table.hash(entry.view().key());
            table.insert_unique(hash, entry, mark);
        });
        let places = self.own.get_or_insert_with(|| Box::new([const { None }; RUN as usize]));
        places[usize::from(slot % RUN)] = Some(table);
    }

    /// Gives up a slot's own table. Returns how many buckets that had.
    fn share(&mut self, slot: u16) -> usize {
        let place = self.own.as_mut().map(|own| &mut own[usize::from(slot % RUN)]);
        let Some(mut table) = place.and_then(Option::take) else { return 0 };
        let buckets = table.buckets();
        let order = table.hasher();
        table.take_range(order.part(slot).all(), |entry, mark| {
            let hash = slot_first(slot, order.hash(entry.view().key()));
            self.shared.insert_unique(hash, entry, mark);
        });
        buckets
    }

    /// The first slot whose own table is such a one.
    fn first_own(&self, is_one: impl Fn(&Table<Entry>) -> bool) -> Option<u16> {
        self.own_tables().find(|(_, table)| is_one(table)).map(|(slot, _)| slot)
    }

    /// Finds own tables that are no longer needed. Returns up to how many keys those have.
    fn find_unneeded(&mut self) -> usize {
        let lens: Vec<usize> = self.own_tables().map(|(_, table)| table.len()).collect();
        let mut due = self.shared.len() + lens.iter().sum::<usize>();
        // Less than what makes a slot leave, so that it does not come and go.
        let most = |due: usize| AND_MORE / 2 + due * (TIMES_ITS_SHARE + 1) / 2 / usize::from(RUN);
        // Those that stay away make the share of the others smaller.
        loop {
            let limit = most(due);
            let away: usize = lens.iter().filter(|&&len| len > limit).sum();
            let rest = self.shared.len() + lens.iter().sum::<usize>() - away;
            if rest == due {
                self.due = if lens.iter().all(|&len| len > limit) { 0 } else { due };
                return limit;
            }
            due = rest;
        }
    }

    /// Where a walk through the run's keys goes on, which takes the slots in turn.
    pub fn stretch(&self, slot: u16, position: u64) -> Stretch<'_> {
        if let Some(table) = self.own(slot) {
            let range = position..POSITIONS;
            return Stretch { table, range, slots: slot..slot + 1, is_own: true, is_all: true };
        }
        let order = self.shared.hasher();
        let run = slot / RUN * RUN;
        let next_own = self.own_tables().map(|(of_run, _)| run + of_run).find(|&own| own > slot);
        let end = next_own.map_or(POSITIONS, |own| order.part(own).all().start);
        Stretch {
            table: &self.shared,
            range: order.part(slot).range(&(position..POSITIONS)).start..end,
            slots: slot..next_own.unwrap_or(run + RUN),
            is_own: false,
            is_all: self.own.is_none(),
        }
    }

    /// See [`Table::relocate`]: a step from where a [`Stretch`] starts. Returns the position to go on from in the same
    /// table.
    pub fn relocate(
        &mut self,
        slot: u16,
        at: u64,
        relocator: &mut Relocator,
        mut relocate: impl FnMut(Entry, &mut Relocator) -> Entry,
    ) -> u64 {
        let own = self.own.as_mut().and_then(|own| own[usize::from(slot % RUN)].as_mut());
        let Some(table) = own else { return self.shared.relocate(at, relocator, relocate) };
        if at == 0 {
            relocator.boxed(table);
            if slot.is_multiple_of(RUN) {
                // It begins before the slot's, which is the first of the run.
                self.shared.relocate(0, relocator, &mut relocate);
            }
        }
        table.relocate(at, relocator, relocate)
    }

    /// All tables, that of the most slots first.
    pub fn tables(&self) -> impl Iterator<Item = &Table<Entry>> {
        [&self.shared].into_iter().chain(self.own_tables().map(|(_, table)| table))
    }

    /// Those that slots have of their own, and the number of each slot within the run.
    fn own_tables(&self) -> impl Iterator<Item = (u16, &Table<Entry>)> {
        let places = (0..RUN).zip(self.own.iter().flat_map(|own| own.iter()));
        places.filter_map(|(slot, table)| Some((slot, table.as_deref()?)))
    }

    fn tables_mut(&mut self) -> impl Iterator<Item = &mut Table<Entry>> {
        let own = self.own.iter_mut().flat_map(|own| own.iter_mut().flatten());
        [&mut self.shared].into_iter().chain(own.map(|table| &mut **table))
    }

    /// A key, each with the same chance if `n` is one of as many numbers as there are keys.
    pub fn random(&self, n: usize, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        match self.table_of_nth(n, Table::len) {
            Some(table) => table.random(rng),
            None => self.shared.random_among(longest_chain, rng),
        }
    }

    /// The same for keys that are marked, not with quite the same chance.
    pub fn random_marked(&self, n: usize, rng: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        self.table_of_nth(n, Table::len_marked).unwrap_or(&self.shared).random_marked(rng)
    }

    /// The slot's own table that has the `n`th of what is counted; `None`: the shared one has.
    fn table_of_nth(
        &self,
        n: usize,
        len: impl Fn(&Table<Entry>) -> usize,
    ) -> Option<&Table<Entry>> {
        let mut rest = n;
        self.own_tables().map(|(_, table)| table).find(|table| match rest.checked_sub(len(table)) {
            None => true,
            Some(less) => {
                rest = less;
                false
            }
        })
    }

    pub fn set_resize_allowed(&mut self, allowed: bool) {
        self.tables_mut().for_each(|table| table.set_resize_allowed(allowed));
    }

    /// Goes on with a resize, or with giving tables up that are no longer needed, by about so many buckets; `false`:
    /// there was nothing to do.
    pub fn tend(&mut self, buckets: usize) -> bool {
        if let Some(table) = self.tables_mut().find(|table| table.is_rehashing()) {
            table.rehash_step(buckets);
            return true;
        }
        if self.own.is_none() {
            return false;
        }
        let most = self.find_unneeded();
        self.shared.reserve(self.due);
        let (mut passed, mut shared) = (0, false);
        while passed < buckets
            && let Some(slot) = self.first_own(|table| table.len() <= most)
        {
            passed += self.share(slot);
            shared = true;
        }
        if self.own_tables().next().is_none() {
            (self.own, self.due) = (None, 0);
        }
        shared
    }

    /// Bytes beside its own and what the tables tell of themselves.
    pub fn overhead(&self) -> usize {
        let own = self.own.as_ref().map_or(0, |own| size_of_val(&**own));
        own + self.own_tables().count() * size_of::<Table<Entry>>()
    }
}

/// A table, or a part of one, that has the keys of some slots.
pub(super) struct Stretch<'a> {
    pub table: &'a Table<Entry>,
    /// Its positions that are still to come.
    pub range: Range<u64>,
    pub slots: Range<u16>,
    /// One slot has the table to itself.
    pub is_own: bool,
    /// All keys of the table that are still to come are of its slots.
    is_all: bool,
}

impl Stretch<'_> {
    /// Whether a key is one of those that are still to come, if it is in one of their buckets.
    pub fn has(&self, entry: EntryRef<'_>) -> bool {
        self.is_all || self.slots.contains(&key_slot(entry.key()))
    }

    /// The slot and the position to go on from, where `next` is that in the table, or 0; `None`: there is no more.
    pub fn place(&self, next: u64) -> Option<(u16, u64)> {
        (next != 0 && next < self.range.end)
            .then(|| self.table.hasher().place(self.slots.start, next))
    }
}

/// Entries in all but very few chains of a table in which no slot has more keys than it may, given their mean.
fn longest_chain(mean: usize) -> usize {
    let most = AND_MORE + TIMES_ITS_SHARE * mean;
    most + 3 * most.isqrt()
}
