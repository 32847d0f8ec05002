//! The hash type: fields and values one by one, a listpack, or what older servers had in its place; with the expiry of
//! fields as Redis since 7.4 and Valkey since 9.0 write it.
//!
//! A hash without such expiry is written so that Redis 7.0 can read it; for one with it there is no such way.

use super::error::Fault;
use super::format::value_type;
use super::reader::Reader;
use super::writer::{RdbVersion, Records};
use crate::ds::legacy::{Ziplist, Zipmap};
use crate::ds::listpack::{INT_TEXT_MAX, Listpack, ListpackEntry, ListpackRef};
use crate::value::hash::{FOREVER_YOUNG, Hash, HashLimits, Pair};
use std::io;
use std::ops::ControlFlow;

/// Bytes that a field and its value take at least, but for the few that are shorter.
const MIN_PAIR: usize = 4;

/// In the place of an expiry, for Valkey: there is none.
const VALKEY_NO_EXPIRY: i64 = -1;

fn twice() -> Fault {
    Fault::corrupt("Duplicate hash fields detected")
}

fn bad_expiry() -> Fault {
    Fault::corrupt("Invalid expiry of a hash field")
}

/// The type byte under which [`write`] writes a hash in a file of this version.
pub(super) fn value_type(hash: &Hash, version: RdbVersion) -> u8 {
    if hash.listpack().is_some() {
        value_type::HASH_LISTPACK
    } else if !hash.has_expiring_field() {
        value_type::HASH
    } else if version == RdbVersion::Valkey80 {
        value_type::HASH_VALKEY_EXPIRY
    } else {
        value_type::HASH_METADATA
    }
}

pub(super) fn write(w: &mut impl Records, hash: &Hash) -> io::Result<()> {
    if let Some(list) = hash.listpack() {
        return w.string(list.as_bytes());
    }
    let form = Form::of(hash, w.options().version);
    form.begin(w, hash)?;
    let mut result = Ok(());
    _ = hash.try_for_each(FOREVER_YOUNG, |pair| {
        result = form.write(w, pair);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result
}

/// How a hash that is no listpack is written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    value_type: u8,
    /// When the first field expires, where that is told.
    earliest: i64,
}

impl Form {
    pub(super) fn of(hash: &Hash, version: RdbVersion) -> Form {
        let value_type = value_type(hash, version);
        let earliest = match value_type {
            value_type::HASH_METADATA => hash.earliest_expire().unwrap_or(0),
            _ => 0,
        };
        Form { value_type, earliest }
    }

    /// Writes what comes before the fields.
    pub(super) fn begin(self, w: &mut impl Records, hash: &Hash) -> io::Result<()> {
        if self.value_type == value_type::HASH_METADATA {
            w.raw(&self.earliest.to_le_bytes())?;
        }
        w.length(hash.len() as u64)
    }

    /// Writes a field.
    pub(super) fn write(self, w: &mut impl Records, pair: Pair<'_>) -> io::Result<()> {
        if self.value_type == value_type::HASH_METADATA {
            w.length(pair.expire.map_or(0, |at| at.abs_diff(self.earliest) + 1))?;
        }
        w.string(pair.field.to_bytes(&mut [0; INT_TEXT_MAX]))?;
        w.string(pair.value.to_bytes(&mut [0; INT_TEXT_MAX]))?;
        if self.value_type == value_type::HASH_VALKEY_EXPIRY {
            w.raw(&pair.expire.unwrap_or(VALKEY_NO_EXPIRY).to_le_bytes())?;
        }
        Ok(())
    }
}

/// Fields and values one by one.
pub(super) fn parse(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let len = r.length()?;
    let mut builder = Builder::new(r, len)?;
    for _ in 0..len {
        let (field, value) = (r.string()?, r.string()?);
        builder.add(&field, &value, None)?;
    }
    Ok(builder.hash)
}

pub(super) fn parse_zipmap(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let bytes = r.string()?;
    let map = Zipmap::from_bytes(&bytes).ok_or(Fault::corrupt("Zipmap integrity check failed"))?;
    from_listpack(map.to_listpack(), "Zipmap integrity check failed")
}

pub(super) fn parse_ziplist(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let bytes = r.string()?;
    let list = Ziplist::from_bytes(&bytes).and_then(Ziplist::to_listpack);
    from_listpack(list, "Hash ziplist integrity check failed")
}

pub(super) fn parse_listpack(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let list = Listpack::from_bytes(r.string()?.into_owned(), true);
    from_listpack(list, "Hash listpack integrity check failed")
}

/// The hash of fields and values in turn; where they are none, `otherwise` is what is wrong.
fn from_listpack(list: Option<Listpack>, otherwise: &'static str) -> Result<Hash, Fault> {
    let list = list.ok_or(Fault::corrupt(otherwise))?;
    let (limits, entries) = (HashLimits::default(), list.len());
    if entries == 0 {
        return Err(Fault::EMPTY);
    }
    if !entries.is_multiple_of(2) {
        return Err(Fault::corrupt("A hash field without a value"));
    }
    if entries as u64 / 2 <= limits.entries {
        // Few enough to compare each field with all that follow.
        return match has_duplicates(list.view()) {
            true => Err(Fault::corrupt(otherwise)),
            false => Ok(Hash::from_listpack(list, &limits)),
        };
    }
    let mut builder = Builder { hash: Hash::with_capacity(entries / 2), limits };
    for (field, value) in list.pairs() {
        builder.add_entries(field, value, None)?;
    }
    Ok(builder.hash)
}

fn has_duplicates(list: ListpackRef<'_>) -> bool {
    let mut at = list.first();
    while let Some(field) = at {
        let next = list.next(field).and_then(|value| list.next(value));
        if let (Some(next), Some(text)) = (next, list.get(field))
            && list.find(text.to_bytes(&mut [0; INT_TEXT_MAX]), next, 1).is_some()
        {
            return true;
        }
        at = next;
    }
    false
}

/// Valkey: field, value, expiry or -1.
pub(super) fn parse_valkey_expiry(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let len = r.length()?;
    let mut builder = Builder::new(r, len)?;
    for _ in 0..len {
        let (field, value) = (r.string()?, r.string()?);
        let expire = match i64::from_le_bytes(r.array()?) {
            VALKEY_NO_EXPIRY => None,
            at if at >= 0 => Some(at),
            _ => return Err(bad_expiry()),
        };
        builder.add(&field, &value, expire)?;
    }
    Ok(builder.hash)
}

/// Redis: the earliest expiry; then distance from it plus one or 0, field, value.
pub(super) fn parse_metadata(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let earliest = i64::from_le_bytes(r.array()?);
    let len = r.length()?;
    let mut builder = Builder::new(r, len)?;
    for _ in 0..len {
        let expire = match r.length()? {
            0 => None,
            distance => Some(
                earliest
                    .checked_add_unsigned(distance - 1)
                    .filter(|&at| at >= 0)
                    .ok_or(bad_expiry())?,
            ),
        };
        let (field, value) = (r.string()?, r.string()?);
        builder.add(&field, &value, expire)?;
    }
    Ok(builder.hash)
}

/// Redis: the earliest expiry; then field, value, expiry or 0 as a listpack.
pub(super) fn parse_listpack_ex(r: &mut Reader<'_>) -> Result<Hash, Fault> {
    let _earliest: [u8; 8] = r.array()?;
    let bytes = r.string()?;
    let list = ListpackRef::from_bytes(&bytes, true);
    let list = list.ok_or(Fault::corrupt("Hash listpackex integrity check failed"))?;
    let entries = list.len();
    if !entries.is_multiple_of(3) {
        return Err(Fault::corrupt("A hash field without a value or expiry"));
    }
    let mut builder = Builder::new(r, entries as u64 / 3)?;
    let mut rest = list.iter();
    while let (Some(field), Some(value), Some(expire)) = (rest.next(), rest.next(), rest.next()) {
        let expire = match expire {
            ListpackEntry::Int(0) => None,
            ListpackEntry::Int(at) if at > 0 => Some(at),
            _ => return Err(bad_expiry()),
        };
        builder.add_entries(field, value, expire)?;
    }
    Ok(builder.hash)
}

/// A hash that is made field by field.
struct Builder {
    hash: Hash,
    limits: HashLimits,
}

impl Builder {
    /// For `len` fields, which a length that lies may claim.
    fn new(r: &Reader<'_>, len: u64) -> Result<Builder, Fault> {
        let limits = HashLimits::default();
        let hash = match len {
            0 => return Err(Fault::EMPTY),
            _ if len <= limits.entries => Hash::default(),
            _ => Hash::with_capacity(r.at_most(len, MIN_PAIR)),
        };
        Ok(Builder { hash, limits })
    }

    fn add(&mut self, field: &[u8], value: &[u8], expire: Option<i64>) -> Result<(), Fault> {
        match self.hash.set(field, value, expire, &self.limits, FOREVER_YOUNG) {
            true => Ok(()),
            false => Err(twice()),
        }
    }

    fn add_entries(
        &mut self,
        field: ListpackEntry<'_>,
        value: ListpackEntry<'_>,
        expire: Option<i64>,
    ) -> Result<(), Fault> {
        let (mut a, mut b) = ([0; INT_TEXT_MAX], [0; INT_TEXT_MAX]);
        self.add(field.to_bytes(&mut a), value.to_bytes(&mut b), expire)
    }
}
