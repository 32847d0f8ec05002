//! The typed values of the keyspace.
//!
//! [`Value`] owns a value outside the keyspace (loaded, restored, copied). Inside it lives in an
//! [`Entry`](crate::db::entry::Entry), and is seen there as [`ValueRef`] or [`ValueMut`].

pub mod hash;
pub(crate) mod list;
mod packed_index;
pub mod set;
pub mod stream;
pub(crate) mod string;
pub(crate) mod zset;

use crate::ds::quicklist::Quicklist;
use crate::ds::sorted_set::SortedSet;
use crate::ds::table::{Item, Table};
use crate::util::alloc::relocate::Relocator;
use crate::util::number::parse_i64;
use hash::{Hash, HashLimits};
use list::{List, ListLimits};
use set::{Set, SetLimits};
use stream::Stream;
use zset::{Zset, ZsetLimits};

/// As many bytes of a list or stream are as much work to be walked through as a bucket of elements.
const BUCKET_BYTES: usize = 4096;
/// A node of a list or stream is as much work as so many elements.
const NODE_ELEMENTS: usize = 100;

/// The type of a value, as `TYPE` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    List,
    Set,
    Hash,
    Zset,
    Stream,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::Hash => "hash",
            Type::Zset => "zset",
            Type::Stream => "stream",
        }
    }
}

/// A value that nobody shares.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(Vec<u8>),
    List(List),
    Set(Set),
    Hash(Hash),
    Zset(Zset),
    Stream(Stream),
}

impl Value {
    /// A string value in its smallest form.
    pub fn string(bytes: &[u8]) -> Value {
        match parse_i64(bytes) {
            Some(n) => Value::Int(n),
            None => Value::Str(bytes.to_vec()),
        }
    }
}

/// The limits that decide about the encodings of all types.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub list: ListLimits,
    pub set: SetLimits,
    pub hash: HashLimits,
    pub zset: ZsetLimits,
}

impl Value {
    /// Takes the encoding that suits these limits; for a value that was not made under them.
    pub fn adopt(&mut self, limits: &Limits) {
        match self {
            Value::Int(_) | Value::Str(_) | Value::Stream(_) => {}
            Value::List(list) => list.adopt(limits.list),
            Value::Set(set) => set.adopt(&limits.set),
            Value::Hash(hash) => hash.adopt(&limits.hash),
            Value::Zset(zset) => zset.adopt(&limits.zset),
        }
    }
}

/// A value seen in place.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
    List(&'a List),
    Set(&'a Set),
    Hash(&'a Hash),
    Zset(&'a Zset),
    Stream(&'a Stream),
}

/// A collection of the keyspace that may be changed in place. Strings are replaced instead.
#[derive(Debug)]
pub enum ValueMut<'a> {
    String,
    List(&'a mut List),
    Set(&'a mut Set),
    Hash(&'a mut Hash),
    Zset(&'a mut Zset),
    Stream(&'a mut Stream),
}

impl ValueMut<'_> {
    /// Shows the allocations of a collection to the relocator: from this position on, 0 first, until about so many
    /// `elements` are done. Returns the position to go on from, or 0 when all are done. The collection may be changed
    /// in between; what is added to it may be left out then.
    pub fn relocate(self, from: u128, elements: usize, relocator: &mut Relocator) -> u128 {
        let at = from as u64;
        match self {
            ValueMut::String => 0,
            ValueMut::List(list) => list.relocate(at, elements, relocator).into(),
            ValueMut::Set(set) => set.relocate(at, elements, relocator).into(),
            ValueMut::Hash(hash) => hash.relocate(at, elements, relocator).into(),
            ValueMut::Zset(zset) => zset.relocate(at, elements, relocator).into(),
            ValueMut::Stream(stream) => stream.relocate(from, elements, relocator),
        }
    }

    /// Goes on with a walk through the elements by so many buckets (see [`Table::walk_on`](crate::ds::table)), or by as
    /// much of what has none. Returns whether there are more.
    pub fn walk_on(self, buckets: usize) -> bool {
        let bytes = buckets.saturating_mul(BUCKET_BYTES);
        match self {
            ValueMut::Set(set) => set.table_mut().is_some_and(|table| table.walk_on(buckets)),
            ValueMut::Hash(hash) => hash.table_mut().is_some_and(|table| table.walk_on(buckets)),
            ValueMut::Zset(zset) => zset.sorted_mut().is_some_and(|set| set.walk_on(buckets)),
            ValueMut::List(list) => list.quicklist_mut().is_some_and(|list| list.walk_on(bytes)),
            ValueMut::Stream(stream) => stream.log.walk_on(bytes),
            ValueMut::String => false,
        }
    }

    /// Ends such a walk, wherever it is.
    pub fn end_walk(self) {
        match self {
            ValueMut::Set(set) => _ = set.table_mut().map(Table::end_walk),
            ValueMut::Hash(hash) => _ = hash.table_mut().map(Table::end_walk),
            ValueMut::Zset(zset) => _ = zset.sorted_mut().map(SortedSet::end_walk),
            ValueMut::List(list) => _ = list.quicklist_mut().map(Quicklist::end_walk),
            ValueMut::Stream(stream) => stream.log.end_walk(),
            ValueMut::String => {}
        }
    }
}

/// Shows the allocations of a collection's table to the relocator, as [`ValueMut::relocate`] does.
fn relocate_table<T: Item>(
    table: &mut Table<T>,
    from: u64,
    elements: usize,
    relocator: &mut Relocator,
    relocate: impl Fn(T, &mut Relocator) -> T,
) -> u64 {
    let mut done = 0;
    let mut at = from;
    loop {
        at = table.relocate(at, relocator, |item, relocator| {
            done += 1;
            relocate(item, relocator)
        });
        // An empty bucket is some work, too.
        done += 1;
        if at == 0 || done >= elements {
            return at;
        }
    }
}

impl ValueRef<'_> {
    /// Whether a walk through the elements has not come to its end.
    #[inline]
    pub fn is_walked(&self) -> bool {
        match self {
            ValueRef::Int(_) | ValueRef::Str(_) => false,
            ValueRef::List(list) => list.as_quicklist().is_some_and(Quicklist::is_walked),
            ValueRef::Stream(stream) => stream.log.is_walked(),
            ValueRef::Set(set) => set.table().is_some_and(Table::is_walked),
            ValueRef::Hash(hash) => hash.table().is_some_and(Table::is_walked),
            ValueRef::Zset(zset) => zset.sorted().is_some_and(SortedSet::is_walked),
        }
    }

    /// Starts to load elements that are to be looked for. Only hash tables are worth it: what is compact has come with
    /// its first line.
    #[inline]
    pub fn prefetch<'e>(&self, elements: impl Iterator<Item = &'e [u8]>) {
        match self {
            ValueRef::Int(_) | ValueRef::Str(_) | ValueRef::List(_) | ValueRef::Stream(_) => {}
            ValueRef::Set(set) => _ = set.table().map(|table| table.prefetch_keys(elements)),
            ValueRef::Hash(hash) => _ = hash.table().map(|table| table.prefetch_keys(elements)),
            ValueRef::Zset(zset) => _ = zset.sorted().map(|sorted| sorted.prefetch(elements)),
        }
    }

    /// How many elements there are that can be walked through while they change, or how many would be as much work;
    /// 0: they can't.
    pub fn walkable(&self) -> usize {
        match self {
            ValueRef::Int(_) | ValueRef::Str(_) => 0,
            ValueRef::List(list) => match list.as_quicklist() {
                Some(list) => list.len().max(list.node_count() * NODE_ELEMENTS),
                None => 0,
            },
            ValueRef::Stream(stream) => stream.log.node_count() * NODE_ELEMENTS,
            ValueRef::Set(set) => set.table().map_or(0, Table::len),
            ValueRef::Hash(hash) => hash.table().map_or(0, Table::len),
            ValueRef::Zset(zset) => zset.sorted().map_or(0, SortedSet::len),
        }
    }

    pub fn kind(&self) -> Type {
        match self {
            ValueRef::Int(_) | ValueRef::Str(_) => Type::String,
            ValueRef::List(_) => Type::List,
            ValueRef::Set(_) => Type::Set,
            ValueRef::Hash(_) => Type::Hash,
            ValueRef::Zset(_) => Type::Zset,
            ValueRef::Stream(_) => Type::Stream,
        }
    }

    /// A copy of the value.
    pub fn to_value(&self) -> Value {
        match *self {
            ValueRef::Int(n) => Value::Int(n),
            ValueRef::Str(bytes) => Value::Str(bytes.to_vec()),
            ValueRef::List(list) => Value::List(list.clone()),
            ValueRef::Set(set) => Value::Set(set.clone()),
            ValueRef::Hash(hash) => Value::Hash(hash.clone()),
            ValueRef::Zset(zset) => Value::Zset(zset.clone()),
            ValueRef::Stream(stream) => Value::Stream(stream.clone()),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Int(n) => ValueRef::Int(*n),
            Value::Str(bytes) => ValueRef::Str(bytes),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::Zset(zset) => ValueRef::Zset(zset),
            Value::Stream(stream) => ValueRef::Stream(stream),
        }
    }
}

/// A type of value that commands read and change in place.
pub trait Collection: Sized {
    fn of(value: ValueRef<'_>) -> Option<&Self>;
    fn of_mut(value: ValueMut<'_>) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    /// Whether nothing is left, so that the key has to go.
    fn is_empty(&self) -> bool;
    /// The encoding, as `OBJECT ENCODING` names it.
    fn encoding(&self) -> &'static str;
    /// Memory behind the value itself, in bytes.
    fn heap_bytes(&self) -> usize;
}

macro_rules! collection {
    ($type:ident) => {
        impl Collection for $type {
            fn of(value: ValueRef<'_>) -> Option<&Self> {
                if let ValueRef::$type(it) = value { Some(it) } else { None }
            }

            fn of_mut(value: ValueMut<'_>) -> Option<&mut Self> {
                if let ValueMut::$type(it) = value { Some(it) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$type(self)
            }

            fn is_empty(&self) -> bool {
                $type::is_empty(self)
            }

            fn encoding(&self) -> &'static str {
                $type::encoding(self)
            }

            fn heap_bytes(&self) -> usize {
                $type::heap_bytes(self)
            }
        }
    };
}

collection!(List);
collection!(Set);
collection!(Hash);
collection!(Zset);
collection!(Stream);
