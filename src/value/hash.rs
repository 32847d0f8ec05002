//! The hash value: a listpack of fields and values while there are few and short ones, else a hash table; in both,
//! each field may have a time when it expires.
//!
//! The listpack of a hash in which a field was given an expiry has three entries for each field: field, value, and
//! the expiry or 0. In a table it is part of the field's item, and the table marks those that have one.
//!
//! Methods get the time `now`, in milliseconds since 1970, and show no field whose time has come. Such fields stay
//! (and count in [`Hash::len`]) until they are overwritten, removed, or [reclaimed](Hash::reclaim); so a replica can
//! wait for its primary's word. With `now` [`FOREVER_YOUNG`] nothing is hidden.

use super::relocate_table;
use crate::ds::hash;
use crate::ds::listpack::{INT_TEXT_MAX, Listpack, ListpackEntry, ListpackRef, Pos};
use crate::ds::member::{Field, FieldRef, in_batches};
use crate::ds::packed::{Exclusive, Packed, PackedOr, Shared};
use crate::ds::table::{POSITIONS, Table, Visitor};
use crate::ds::walked::Heir;
use crate::util::alloc::relocate::Relocator;
use crate::util::alloc::size_class;
use std::ops::ControlFlow;

/// A time before everything that expires.
pub const FOREVER_YOUNG: i64 = i64::MIN;

/// Fields that stand for all others where the size of a table is estimated.
const SAMPLE: usize = 64;
/// Draws of a random field that turn out to have expired before giving up fairness.
const TRIES: usize = 100;

/// The sizes up to which a hash stays compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`, in fields.
    pub entries: u64,
    /// `hash-max-listpack-value`, in bytes, for fields as for values.
    pub value: u64,
}

impl Default for HashLimits {
    fn default() -> Self {
        HashLimits { entries: 512, value: 64 }
    }
}

impl HashLimits {
    fn fit(&self, text: &[u8]) -> bool {
        text.len() as u64 <= self.value
    }
}

/// A hash: one word, because so many are small.
pub struct Hash(PackedOr<Other>);

/// What is no plain listpack.
enum Other {
    Volatile(Volatile),
    Table(Fields),
}

/// A listpack of fields, values and expiries.
#[derive(Clone)]
struct Volatile {
    triples: Packed,
    /// No field expires earlier.
    earliest: i64,
}

struct Fields {
    table: Table<Field>,
    /// Where reclaiming goes on.
    cursor: u64,
}

/// Draws for each field that is wanted by chance, before all of them are looked at.
const DRAWS_FOR_EACH: usize = 16;

/// A field with its value, and the time when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub field: ListpackEntry<'a>,
    pub value: ListpackEntry<'a>,
    pub expire: Option<i64>,
}

impl Pair<'_> {
    #[inline]
    fn is_live(&self, now: i64) -> bool {
        !has_expired(self.expire, now)
    }
}

impl<'a> From<FieldRef<'a>> for Pair<'a> {
    #[inline]
    fn from(item: FieldRef<'a>) -> Self {
        Pair {
            field: ListpackEntry::Str(item.name()),
            value: ListpackEntry::Str(item.value()),
            expire: item.expire(),
        }
    }
}

#[inline]
fn has_expired(expire: Option<i64>, now: i64) -> bool {
    expire.is_some_and(|at| at < now)
}

impl From<Other> for Hash {
    fn from(other: Other) -> Self {
        Hash(PackedOr::other(other))
    }
}

impl Default for Hash {
    fn default() -> Self {
        Hash(Packed::default().into())
    }
}

impl Hash {
    /// A hash with a table for so many fields.
    pub fn with_capacity(fields: usize) -> Hash {
        let table = Table::with_capacity(hash::seed(), fields);
        Hash::from(Other::Table(Fields { table, cursor: 0 }))
    }

    /// The hash whose fields and values are in a listpack, which must have no field twice.
    pub fn from_listpack(list: Listpack, limits: &HashLimits) -> Hash {
        let mut fits = list.len() as u64 / 2 <= limits.entries;
        if fits && list.bytes() as u64 > limits.value {
            fits = list.iter().all(|entry| entry.text_len() as u64 <= limits.value);
        }
        let mut hash = Hash(Packed::from(list).into());
        if !fits {
            hash.convert_to_table(0);
        }
        hash
    }

    /// Turns a compact hash into a table if these fields and values in turn would make it one anyway.
    pub fn reserve(&mut self, pairs: &[&[u8]], limits: &HashLimits) {
        if self.table().is_some() {
            return;
        }
        if pairs.len() as u64 / 2 > limits.entries {
            self.convert_to_table(pairs.len() / 2);
        } else if !pairs.iter().all(|text| limits.fit(text)) {
            self.convert_to_table(0);
        }
    }

    /// The number of fields, with those that have expired and are still there.
    #[inline]
    pub fn len(&self) -> usize {
        match self.packed() {
            Some((list, stride)) => list.len() / stride,
            None => self.table().map_or(0, Table::len),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match self.packed() {
            Some((list, _)) => list.is_empty(),
            None => self.table().is_none_or(Table::is_empty),
        }
    }

    /// Shows its allocations to the relocator; see [`ValueMut::relocate`](super::ValueMut::relocate).
    pub fn relocate(&mut self, from: u64, elements: usize, relocator: &mut Relocator) -> u64 {
        if from == 0 {
            self.0.relocate(relocator);
        }
        match self.0.get_mut() {
            Exclusive::Listpack(_) => 0,
            Exclusive::Other(Other::Volatile(volatile)) => {
                volatile.triples.relocate(relocator);
                0
            }
            Exclusive::Other(Other::Table(Fields { table, .. })) => {
                relocate_table(table, from, elements, relocator, Field::relocated)
            }
        }
    }

    /// The encoding, as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        match self.0.get() {
            Shared::Listpack(_) => "listpack",
            Shared::Other(Other::Volatile(_)) => "listpackex",
            Shared::Other(Other::Table(_)) => "hashtable",
        }
    }

    /// Memory behind the value itself, in bytes; estimated for a table, from a sample of its fields.
    pub fn heap_bytes(&self) -> usize {
        let inner = match self.0.get() {
            Shared::Listpack(list) => return list.heap_bytes(),
            Shared::Other(Other::Volatile(volatile)) => volatile.triples.heap_bytes(),
            Shared::Other(Other::Table(Fields { table, .. })) => {
                let sizes = table.iter().take(SAMPLE).map(|field| size_class(field.size()));
                let (sampled, bytes) = sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
                table.memory() + bytes * table.len() / sampled.max(1)
            }
        };
        PackedOr::<Other>::OTHER_BYTES + inner
    }

    /// The hash table, if the hash has one.
    #[inline]
    pub fn table(&self) -> Option<&Table<Field>> {
        match self.0.get() {
            Shared::Other(Other::Table(fields)) => Some(&fields.table),
            _ => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut Table<Field>> {
        match self.0.get_mut() {
            Exclusive::Other(Other::Table(fields)) => Some(&mut fields.table),
            _ => None,
        }
    }

    /// Has its table hand all fields to `visit`, as they are now (see [`Table::begin_walk`]); `false`: it has none.
    pub fn begin_walk(&mut self, visit: Visitor<Field>, heir: Heir) -> bool {
        self.table_mut().map(|table| table.begin_walk(visit, heir)).is_some()
    }

    /// Takes the encoding that suits these limits; for a hash that was made under the default ones.
    pub fn adopt(&mut self, limits: &HashLimits) {
        if *limits == HashLimits::default()
            || (self.table().is_some() && self.len() as u64 > limits.entries)
        {
            return;
        }
        let mut new = Hash::default();
        self.for_each(FOREVER_YOUNG, |pair| {
            let (mut field, mut value) = ([0; INT_TEXT_MAX], [0; INT_TEXT_MAX]);
            let (field, value) = (pair.field.to_bytes(&mut field), pair.value.to_bytes(&mut value));
            new.set(field, value, pair.expire, limits, FOREVER_YOUNG);
        });
        *self = new;
    }

    /// The listpack of fields and values, if the hash is one.
    pub fn listpack(&self) -> Option<ListpackRef<'_>> {
        match self.0.get() {
            Shared::Listpack(list) => Some(list.view()),
            Shared::Other(_) => None,
        }
    }

    /// Whether a field by chance is found by going through those before it.
    pub fn is_compact(&self) -> bool {
        self.packed().is_some()
    }

    /// The listpack, and how many entries it has for each field.
    #[inline]
    fn packed(&self) -> Option<(ListpackRef<'_>, usize)> {
        match self.0.get() {
            Shared::Listpack(list) => Some((list.view(), 2)),
            Shared::Other(Other::Volatile(volatile)) => Some((volatile.triples.view(), 3)),
            Shared::Other(Other::Table(_)) => None,
        }
    }

    /// A field, unless it has expired.
    #[inline]
    pub fn find(&self, field: &[u8], now: i64) -> Option<Pair<'_>> {
        let pair = match self.packed() {
            Some((list, stride)) => pair_at(list, stride, locate(list, stride, field)?)?,
            None => {
                let table = self.table()?;
                Pair::from(table.get(table.hash(field), field)?)
            }
        };
        pair.is_live(now).then_some(pair)
    }

    /// A field's value.
    #[inline]
    pub fn get(&self, field: &[u8], now: i64) -> Option<ListpackEntry<'_>> {
        self.find(field, now).map(|pair| pair.value)
    }

    /// Gives a field a value, and an expiry or none; `true` if the field is new (or had expired).
    #[inline]
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        expire: Option<i64>,
        limits: &HashLimits,
        now: i64,
    ) -> bool {
        if expire.is_some() {
            self.convert_to_volatile();
        }
        if !(limits.fit(field) && limits.fit(value)) {
            self.convert_to_table(0);
        }
        let full = self.len() as u64 >= limits.entries;
        let done = match self.0.get_mut() {
            Exclusive::Listpack(list) => set_packed(list, 2, field, value, None, full),
            Exclusive::Other(Other::Volatile(volatile)) => {
                volatile.earliest = volatile.earliest.min(expire.unwrap_or(i64::MAX));
                set_packed(&mut volatile.triples, 3, field, value, expire, full)
            }
            Exclusive::Other(Other::Table(fields)) => {
                Some(set_in_table(&mut fields.table, field, value, expire))
            }
        };
        match done {
            Some(Before::Nothing) => true,
            Some(Before::Field(expire)) => has_expired(expire, now),
            None => {
                self.convert_to_table(1);
                self.set(field, value, expire, limits, now)
            }
        }
    }

    /// Changes when a field expires. Does nothing if there is no such field.
    pub fn set_expire(&mut self, field: &[u8], expire: Option<i64>) {
        if expire.is_some() {
            self.convert_to_volatile();
        }
        let Exclusive::Other(other) = self.0.get_mut() else { return };
        match other {
            Other::Volatile(volatile) => {
                volatile.earliest = volatile.earliest.min(expire.unwrap_or(i64::MAX));
                volatile.triples.edit(|list| {
                    let place = locate(list.view(), 3, field)
                        .and_then(|pos| list.next(pos))
                        .and_then(|pos| list.next(pos));
                    place.is_some_and(|pos| list.replace(pos, expire.unwrap_or(0)))
                });
            }
            Other::Table(Fields { table, .. }) => {
                let Some(mut found) = table.find(table.hash(field), field) else { return };
                let done = expire.is_some_and(|at| found.get_mut().set_expire(at));
                if !done && found.is_marked() != expire.is_some() {
                    found.update(|item| Field::new(field, item.view().value(), expire));
                    found.set_mark(expire.is_some());
                }
            }
        }
    }

    /// Removes a field; `true` if it was there and had not expired. One that has expired stays for expiry to remove,
    /// which tells the replicas.
    #[inline]
    pub fn remove(&mut self, field: &[u8], now: i64) -> bool {
        if self.volatile_fields() && self.get(field, now).is_none() {
            return false;
        }
        match self.0.get_mut() {
            Exclusive::Listpack(list) => remove_packed(list, 2, field),
            Exclusive::Other(Other::Volatile(volatile)) => {
                remove_packed(&mut volatile.triples, 3, field)
            }
            Exclusive::Other(Other::Table(Fields { table, .. })) => {
                table.remove(table.hash(field), field).is_some()
            }
        }
    }

    /// Removes a field if it has expired; whether it had.
    pub fn remove_expired(&mut self, field: &[u8], now: i64) -> bool {
        let expired = self.find(field, FOREVER_YOUNG).is_some_and(|pair| !pair.is_live(now));
        expired && self.remove(field, FOREVER_YOUNG)
    }

    /// A field by chance, each with the same one.
    pub fn random(&self, rng: &mut impl FnMut() -> u64, now: i64) -> Option<Pair<'_>> {
        let len = self.len();
        let draw = |rng: &mut dyn FnMut() -> u64| match self.packed() {
            Some((list, stride)) => {
                let index = below(rng(), len) * stride;
                pair_at(list, stride, list.seek(index as isize)?)
            }
            None => self.table()?.random(&mut || rng()).map(Pair::from),
        };
        for _ in 0..TRIES {
            let pair = draw(rng)?;
            if pair.is_live(now) {
                return Some(pair);
            }
        }
        let mut any = None;
        _ = self.try_for_each(now, |pair| {
            any = Some(pair);
            ControlFlow::Break(())
        });
        any
    }

    /// Visits `count` different fields by chance, in no particular order, and all of them if there are no more.
    /// Answers how many it has visited.
    pub fn sample(
        &self,
        count: usize,
        rng: &mut impl FnMut() -> u64,
        now: i64,
        mut visit: impl FnMut(Pair<'_>),
    ) -> usize {
        let len = self.len();
        if let Some(table) = self.table()
            && count < len / 3
        {
            // Few out of many: draw until they are enough. Each draw is new with a chance of two thirds at least, if
            // not too many have expired.
            let mut seen = super::set::Set::with_capacity(count);
            let mut drawn: Vec<Pair<'_>> = Vec::with_capacity(count);
            for _ in 0..DRAWS_FOR_EACH * count + DRAWS_FOR_EACH {
                if drawn.len() == count {
                    break;
                }
                let Some(item) = table.random(rng) else { break };
                let pair = Pair::from(item);
                if pair.is_live(now) && seen.add(item.name(), &super::set::SetLimits::NONE) {
                    drawn.push(pair);
                }
            }
            if drawn.len() == count {
                drawn.into_iter().for_each(visit);
                return count;
            }
        }
        // Going through all, take each with the chance that leaves as many as wanted.
        let mut left = if self.volatile_fields() { self.count_live(now) } else { len };
        let mut wanted = count.min(left);
        let chosen = wanted;
        _ = self.try_for_each(now, |pair| {
            if below(rng(), left) < wanted {
                visit(pair);
                wanted -= 1;
            }
            left -= 1;
            if wanted == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        chosen
    }

    /// The number of fields that have not expired.
    pub fn count_live(&self, now: i64) -> usize {
        if !self.volatile_fields() {
            return self.len();
        }
        let mut live = 0;
        self.for_each(now, |_| live += 1);
        live
    }

    /// Visits all fields until `visit` breaks.
    #[inline]
    pub fn try_for_each<'a>(
        &'a self,
        now: i64,
        mut visit: impl FnMut(Pair<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut visit_live = |pair: Pair<'a>| {
            if pair.is_live(now) { visit(pair) } else { ControlFlow::Continue(()) }
        };
        match self.0.get() {
            Shared::Listpack(list) => {
                let pairs = list.view().pairs();
                pairs
                    .map(|(field, value)| Pair { field, value, expire: None })
                    .try_for_each(visit_live)
            }
            Shared::Other(Other::Volatile(volatile)) => {
                triples(volatile.triples.view()).try_for_each(visit_live)
            }
            Shared::Other(Other::Table(Fields { table, .. })) => {
                in_batches(table.iter(), FieldRef::prefetch, |batch| {
                    batch.iter().try_for_each(|&item| visit_live(item.into()))
                })
            }
        }
    }

    /// Visits all fields.
    #[inline]
    pub fn for_each<'a>(&'a self, now: i64, mut visit: impl FnMut(Pair<'a>)) {
        _ = self.try_for_each(now, |pair| {
            visit(pair);
            ControlFlow::Continue(())
        });
    }

    /// Visits the fields of a part of the hash, and returns the cursor for the next part, 0 after the last.
    /// A compact hash is one part.
    pub fn scan(&self, cursor: u64, now: i64, mut visit: impl FnMut(Pair<'_>)) -> u64 {
        let Some(table) = self.table() else {
            self.for_each(now, visit);
            return 0;
        };
        table.scan(cursor, |item, _| {
            let pair = Pair::from(item);
            if pair.is_live(now) {
                visit(pair);
            }
        })
    }

    /// Whether any field may expire.
    pub fn volatile_fields(&self) -> bool {
        self.may_have_expired(i64::MAX)
    }

    /// Whether the time of a field may have come by `now`.
    pub fn may_have_expired(&self, now: i64) -> bool {
        match self.0.get() {
            Shared::Listpack(_) => false,
            Shared::Other(Other::Volatile(volatile)) => volatile.earliest < now,
            Shared::Other(Other::Table(fields)) => fields.table.len_marked() > 0,
        }
    }

    /// Whether any field expires: exactly, where [`volatile_fields`](Self::volatile_fields) may be true of a hash that
    /// has been one of that kind.
    pub fn has_expiring_field(&self) -> bool {
        let is_table = matches!(self.0.get(), Shared::Other(Other::Table(_)));
        self.volatile_fields()
            && (is_table
                || self
                    .try_for_each(FOREVER_YOUNG, |pair| match pair.expire {
                        Some(_) => ControlFlow::Break(()),
                        None => ControlFlow::Continue(()),
                    })
                    .is_break())
    }

    /// The earliest time at which a field expires.
    pub fn earliest_expire(&self) -> Option<i64> {
        if !self.volatile_fields() {
            return None;
        }
        let mut earliest = None;
        self.for_each(FOREVER_YOUNG, |pair| {
            if let Some(at) = pair.expire {
                earliest = Some(earliest.map_or(at, |earliest: i64| earliest.min(at)));
            }
        });
        earliest
    }

    /// Removes fields that have expired, and returns their names: all of a compact hash, and of a table those in the
    /// next `buckets` buckets.
    pub fn reclaim(&mut self, now: i64, buckets: usize) -> Vec<Vec<u8>> {
        let Exclusive::Other(other) = self.0.get_mut() else { return Vec::new() };
        let mut expired: Vec<Vec<u8>> = Vec::new();
        match other {
            Other::Volatile(volatile) if volatile.earliest < now => {
                let list = volatile.triples.view();
                let due = |pair: &Pair<'_>| !pair.is_live(now);
                expired.extend(triples(list).filter(due).map(|pair| pair.field.to_vec()));
                volatile.earliest = triples(list)
                    .filter(|pair| !due(pair))
                    .filter_map(|pair| pair.expire)
                    .min()
                    .unwrap_or(i64::MAX);
            }
            Other::Volatile(_) => {}
            Other::Table(fields) => {
                let mut left = buckets;
                while left > 0 {
                    let (next, passed) =
                        fields.table.scan_marked(fields.cursor..POSITIONS, left, |item| {
                            if has_expired(item.expire(), now) {
                                expired.push(item.name().to_vec());
                            }
                        });
                    fields.cursor = next;
                    left = left.saturating_sub(passed);
                    if next == 0 {
                        break;
                    }
                }
            }
        }
        for field in &expired {
            self.remove(field, FOREVER_YOUNG);
        }
        expired
    }

    /// Makes a plain listpack one with expiries.
    #[inline]
    fn convert_to_volatile(&mut self) {
        let Shared::Listpack(list) = self.0.get() else { return };
        let mut triples =
            Listpack::with_capacity(list.view().as_bytes().len() + 2 * list.view().len());
        for (field, value) in list.view().pairs() {
            triples.push_back(field);
            triples.push_back(value);
            triples.push_back(0);
        }
        let volatile = Volatile { triples: triples.into(), earliest: i64::MAX };
        *self = Hash::from(Other::Volatile(volatile));
    }

    /// Turns the hash into a table, with room for `more` fields.
    #[cold]
    fn convert_to_table(&mut self, more: usize) {
        if self.table().is_some() {
            return;
        }
        let mut table = Table::with_capacity(hash::seed(), self.len() + more);
        self.for_each(FOREVER_YOUNG, |pair| {
            let (mut name, mut value) = ([0; INT_TEXT_MAX], [0; INT_TEXT_MAX]);
            let name = pair.field.to_bytes(&mut name);
            let item = Field::new(name, pair.value.to_bytes(&mut value), pair.expire);
            table.insert_unique(table.hash(name), item, pair.expire.is_some());
        });
        *self = Hash::from(Other::Table(Fields { table, cursor: 0 }));
    }
}

#[inline]
fn locate(list: ListpackRef<'_>, stride: usize, field: &[u8]) -> Option<Pos> {
    list.find(field, list.first()?, stride - 1)
}

#[inline]
fn pair_at(list: ListpackRef<'_>, stride: usize, field: Pos) -> Option<Pair<'_>> {
    let mut entries = list.iter_from(field);
    let (field, value) = (entries.next()?, entries.next()?);
    let expire = if stride == 3 { expire_of(entries.next()?) } else { None };
    Some(Pair { field, value, expire })
}

fn expire_of(entry: ListpackEntry<'_>) -> Option<i64> {
    entry.as_int().filter(|&at| at != 0)
}

fn triples(list: ListpackRef<'_>) -> impl Iterator<Item = Pair<'_>> {
    let mut entries = list.iter();
    std::iter::from_fn(move || {
        let (field, value) = (entries.next()?, entries.next()?);
        Some(Pair { field, value, expire: expire_of(entries.next()?) })
    })
}

/// What was there before a field was set.
enum Before {
    Nothing,
    /// The field, with this expiry.
    Field(Option<i64>),
}

/// Sets a field in a listpack; `None` and no change if there is no room: it is `full`, or too long.
#[inline]
fn set_packed(
    list: &mut Packed,
    stride: usize,
    field: &[u8],
    value: &[u8],
    expire: Option<i64>,
    full: bool,
) -> Option<Before> {
    let view = list.view();
    if let Some(pos) = locate(view, stride, field) {
        let old = pair_at(view, stride, pos)?.expire;
        let value_pos = view.next(pos)?;
        let room = list.edit(|list| {
            let done = list.safe_to_add(value.len()) && list.replace(value_pos, value);
            if done
                && stride == 3
                && let Some(pos) = list.next(value_pos)
            {
                list.replace(pos, expire.unwrap_or(0));
            }
            done
        });
        return room.then_some(Before::Field(old));
    }
    if full {
        return None;
    }
    let room = list.edit(|list| {
        let room = list.safe_to_add(field.len() + value.len());
        if room {
            list.push_back(field);
            list.push_back(value);
            if stride == 3 {
                list.push_back(expire.unwrap_or(0));
            }
        }
        room
    });
    room.then_some(Before::Nothing)
}

#[inline]
fn set_in_table(
    table: &mut Table<Field>,
    field: &[u8],
    value: &[u8],
    expire: Option<i64>,
) -> Before {
    let hash = table.hash(field);
    let Some(mut found) = table.find(hash, field) else {
        table.insert_unique(hash, Field::new(field, value, expire), expire.is_some());
        return Before::Nothing;
    };
    let old = found.get().expire();
    let in_place = old.is_some() == expire.is_some() && found.get_mut().overwrite(value);
    if !in_place {
        drop(found.replace(Field::new(field, value, expire)));
        found.set_mark(expire.is_some());
    } else if let Some(at) = expire {
        found.get_mut().set_expire(at);
    }
    Before::Field(old)
}

fn remove_packed(list: &mut Packed, stride: usize, field: &[u8]) -> bool {
    let Some(pos) = locate(list.view(), stride, field) else { return false };
    list.edit(|list| list.delete_from(pos, stride));
    true
}

/// A number below `bound`, made of a random `word`.
#[inline]
fn below(word: u64, bound: usize) -> usize {
    ((u128::from(word) * bound as u128) >> 64) as usize
}

impl Clone for Hash {
    fn clone(&self) -> Self {
        match self.0.get() {
            Shared::Listpack(list) => Hash(list.clone().into()),
            Shared::Other(Other::Volatile(volatile)) => {
                Hash::from(Other::Volatile(volatile.clone()))
            }
            Shared::Other(Other::Table(fields)) => {
                Hash::from(Other::Table(Fields { table: copy(&fields.table), cursor: 0 }))
            }
        }
    }
}

/// A copy of a table. The order of the buckets is that of the hashes, so that both tables are gone through in order.
fn copy(table: &Table<Field>) -> Table<Field> {
    let mut new = Table::with_capacity(hash::seed(), table.len());
    _ = in_batches(table.iter(), FieldRef::prefetch, |batch| {
        for item in batch {
            let copy = Field::new(item.name(), item.value(), item.expire());
            new.insert_unique(new.hash(item.name()), copy, item.expire().is_some());
        }
        ControlFlow::Continue(())
    });
    new
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        let subset = || {
            self.try_for_each(FOREVER_YOUNG, |pair| {
                let field = pair.field.to_vec();
                let same = other.find(&field, FOREVER_YOUNG).is_some_and(|theirs| {
                    theirs.expire == pair.expire && theirs.value.eq_bytes(&pair.value.to_vec())
                });
                if same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        };
        self.len() == other.len() && subset().is_continue()
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.get() {
            Shared::Listpack(list) => list.fmt(f),
            Shared::Other(Other::Volatile(volatile)) => volatile.triples.fmt(f),
            Shared::Other(Other::Table(fields)) => {
                f.debug_set().entries(fields.table.iter().map(Pair::from)).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const LIMITS: HashLimits = HashLimits { entries: 8, value: 12 };
    const YOUNG: i64 = FOREVER_YOUNG;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn contents(hash: &Hash, now: i64) -> Model {
        let mut all = Model::new();
        hash.for_each(now, |pair| {
            let old = all.insert(pair.field.to_vec(), (pair.value.to_vec(), pair.expire));
            assert_eq!(old, None);
        });
        all
    }

    #[test]
    fn a_small_hash_is_small() {
        assert_eq!(size_of::<Hash>(), 8);
        let mut hash = Hash::default();
        (0..5).for_each(|n| {
            hash.set(format!("field{n}").as_bytes(), b"0123456789", None, &LIMITS, YOUNG);
        });
        assert_eq!(hash.listpack().unwrap().as_bytes().len(), 7 + 5 * (8 + 12));
        assert_eq!(hash.heap_bytes(), 112);
    }

    #[test]
    fn encodings_change_where_redis_changes_them() {
        let mut hash = Hash::default();
        (0..8).for_each(|n: u8| assert!(hash.set(&[b'a' + n], b"1", None, &LIMITS, YOUNG)));
        assert_eq!(hash.encoding(), "listpack");
        assert!(!hash.set(b"a", b"2", None, &LIMITS, YOUNG));
        assert_eq!(hash.encoding(), "listpack");
        hash.set_expire(b"b", Some(5));
        assert_eq!((hash.encoding(), hash.find(b"b", 5).unwrap().expire), ("listpackex", Some(5)));
        assert!(hash.find(b"b", 6).is_none());
        hash.set(b"x", b"2", None, &LIMITS, YOUNG);
        assert_eq!((hash.encoding(), hash.find(b"b", 5).unwrap().expire), ("hashtable", Some(5)));

        let mut hash = Hash::default();
        hash.set(b"f", b"twelve bytes", None, &LIMITS, YOUNG);
        assert_eq!(hash.encoding(), "listpack");
        hash.set(b"f", b"more than twelve bytes", None, &LIMITS, YOUNG);
        assert_eq!(hash.encoding(), "hashtable");
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0..14i64).prop_map(|n| n.to_string().into_bytes()),
            4 => (0..14).prop_map(|n| format!("f{n}").into_bytes()),
            1 => prop::collection::vec(any::<u8>(), 0..14),
        ]
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(Vec<u8>, Vec<u8>, Option<i64>),
        Expire(Vec<u8>, Option<i64>),
        Remove(Vec<u8>),
        Reclaim,
    }

    fn op() -> impl Strategy<Value = Op> {
        let expire = || prop::option::weighted(0.3, 1..60i64);
        prop_oneof![
            6 => (text(), text()).prop_map(|(f, v)| Op::Set(f, v, None)),
            2 => (text(), text(), expire()).prop_map(|(f, v, at)| Op::Set(f, v, at)),
            2 => (text(), expire()).prop_map(|(f, at)| Op::Expire(f, at)),
            4 => text().prop_map(Op::Remove),
            1 => Just(Op::Reclaim),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec(op(), 1..90)) {
            let mut hash = Hash::default();
            let mut model = Model::new();
            for (now, op) in (0i64..).zip(ops) {
                let live = |model: &Model, f: &Vec<u8>| model.get(f).is_some_and(|(_, at)| !has_expired(*at, now));
                match op {
                    Op::Set(f, v, at) => {
                        prop_assert_eq!(hash.set(&f, &v, at, &LIMITS, now), !live(&model, &f));
                        model.insert(f, (v, at));
                    }
                    Op::Expire(f, at) => {
                        hash.set_expire(&f, at);
                        if let Some(found) = model.get_mut(&f) {
                            found.1 = at;
                        }
                    }
                    Op::Remove(f) => {
                        let removed = live(&model, &f);
                        prop_assert_eq!(hash.remove(&f, now), removed);
                        if removed {
                            model.remove(&f);
                        }
                    }
                    Op::Reclaim => {
                        let gone: Vec<_> = hash.reclaim(now, usize::MAX);
                        gone.iter().for_each(|f| assert!(model.remove(f).is_some_and(|(_, at)| has_expired(at, now))));
                        prop_assert!(model.values().all(|(_, at)| !has_expired(*at, now)));
                    }
                }
                prop_assert_eq!(hash.len(), model.len());
                prop_assert_eq!(&contents(&hash, YOUNG), &model);
                model.keys().for_each(|f| assert_eq!(hash.find(f, now).is_some(), live(&model, f)));
                prop_assert!(!model.values().any(|(_, at)| at.is_some()) || hash.volatile_fields());
                prop_assert_eq!(&hash.clone(), &hash);
                prop_assert_eq!(hash.count_live(now), contents(&hash, now).len());
                let mut rng = { let mut n = now as u64; move || { n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1; n } };
                prop_assert_eq!(hash.random(&mut rng, now).is_some(), hash.count_live(now) > 0);
                let mut seen = Model::new();
                let n = hash.sample(3, &mut rng, now, |p| {
                    seen.insert(p.field.to_vec(), (p.value.to_vec(), p.expire));
                });
                prop_assert_eq!((seen.len(), n), (n, hash.count_live(now).min(3)));
            }
        }
    }
}
