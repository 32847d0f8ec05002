//! Which code writes and reads the value of which type.

use super::error::{ErrorKind, Fault};
use super::format::{VALKEY_VERSION, opcode, value_type};
use super::list;
use super::loaded::Loaded;
use super::reader::Reader;
use super::stream;
use super::writer::{RdbVersion, Records};
use super::{hash, set, string, zset};
use crate::value::{Collection, ValueMut, ValueRef};
use std::io;

/// What is said of a key beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its expiry as Unix time in ms.
    pub expire_ms: Option<i64>,
    /// Its idle time in seconds, where the eviction policy goes by that (LRU).
    pub idle_secs: Option<u64>,
    /// Its access frequency, where the policy goes by that (LFU).
    pub freq: Option<u8>,
}

/// Writes a key with its value.
///
/// # Errors
/// What writing reports.
pub fn write_entry(
    w: &mut impl Records,
    key: &[u8],
    value: ValueRef<'_>,
    facts: KeyFacts,
) -> io::Result<()> {
    write_key(w, key, value, facts)?;
    write(w, value)
}

/// Writes what comes before the value of [`write_entry`].
///
/// # Errors
/// What writing reports.
pub fn write_key(
    w: &mut impl Records,
    key: &[u8],
    value: ValueRef<'_>,
    facts: KeyFacts,
) -> io::Result<()> {
    if let Some(ms) = facts.expire_ms {
        w.byte(opcode::EXPIRETIME_MS)?;
        w.raw(&ms.to_le_bytes())?;
    }
    if let Some(secs) = facts.idle_secs {
        w.byte(opcode::IDLE)?;
        w.length(secs)?;
    }
    if let Some(freq) = facts.freq {
        w.raw(&[opcode::FREQ, freq])?;
    }
    w.byte(value_type(value, w.options().version))?;
    w.string(key)
}

/// Writes the number of elements of a value, and has the value hand them to `w`, as they are now, while it is walked
/// through; then `w` is dropped. For values that are [walkable](ValueRef::walkable).
///
/// # Errors
/// What writing reports.
pub fn write_elements_later(
    mut w: impl Records + Send + 'static,
    value: ValueMut<'_>,
) -> io::Result<()> {
    // From here on there is nobody to hear of an error: who writes later has to see to it.
    match value {
        ValueMut::Set(set) => {
            w.length(set.len() as u64)?;
            set.begin_walk(Box::new(move |member| _ = w.string(member.bytes())));
        }
        ValueMut::Hash(hash) => {
            let form = hash::Form::of(hash, w.options().version);
            form.begin(&mut w, hash)?;
            hash.begin_walk(Box::new(move |field| _ = form.write(&mut w, field.into())));
        }
        ValueMut::Zset(zset) => {
            w.length(zset.len() as u64)?;
            zset.begin_walk(move |member, score| _ = zset::write_element(&mut w, member, score));
        }
        ValueMut::String | ValueMut::List(_) | ValueMut::Stream(_) => {}
    }
    Ok(())
}

/// The type byte under which [`write`] writes `value` in a file of this version.
pub(super) fn value_type(value: ValueRef<'_>, version: RdbVersion) -> u8 {
    match value {
        ValueRef::Int(_) | ValueRef::Str(_) => value_type::STRING,
        ValueRef::Stream(_) => value_type::STREAM_LISTPACKS_2,
        ValueRef::List(_) => value_type::LIST_QUICKLIST_2,
        ValueRef::Set(set) => set::value_type(set),
        ValueRef::Hash(hash) => hash::value_type(hash, version),
        ValueRef::Zset(zset) => zset::value_type(zset),
    }
}

/// Writes `value` without its type.
pub(super) fn write(w: &mut impl Records, value: ValueRef<'_>) -> io::Result<()> {
    match value {
        ValueRef::Int(n) => w.int(n),
        ValueRef::Str(s) => w.string(s),
        ValueRef::Stream(value) => stream::write(w, value),
        ValueRef::List(list) => list::write(w, list),
        ValueRef::Set(set) => set::write(w, set),
        ValueRef::Hash(hash) => hash::write(w, hash),
        ValueRef::Zset(zset) => zset::write(w, zset),
    }
}

/// Reads a value of type `t` from a file or payload of this version.
pub(super) fn parse<'a>(t: u8, version: u16, r: &mut Reader<'a>) -> Result<Loaded<'a>, Fault> {
    match t {
        value_type::STRING => string::parse(r),
        value_type::STREAM_LISTPACKS
        | value_type::STREAM_LISTPACKS_2
        | value_type::STREAM_LISTPACKS_3 => stream::parse(t, r),
        value_type::SET => set::parse(r).map(other),
        value_type::SET_INTSET => set::parse_intset(r).map(other),
        value_type::SET_LISTPACK => set::parse_listpack(r).map(other),
        value_type::HASH => hash::parse(r).map(other),
        value_type::HASH_ZIPMAP => hash::parse_zipmap(r).map(other),
        value_type::HASH_ZIPLIST => hash::parse_ziplist(r).map(other),
        value_type::HASH_LISTPACK => hash::parse_listpack(r).map(other),
        value_type::HASH_VALKEY_EXPIRY if version == VALKEY_VERSION => {
            hash::parse_valkey_expiry(r).map(other)
        }
        value_type::HASH_METADATA => hash::parse_metadata(r).map(other),
        value_type::HASH_LISTPACK_EX => hash::parse_listpack_ex(r).map(other),
        value_type::LIST => list::parse_linked(r).map(other),
        value_type::LIST_ZIPLIST => list::parse_ziplist(r).map(other),
        value_type::LIST_QUICKLIST => list::parse_quicklist(r).map(other),
        value_type::LIST_QUICKLIST_2 => list::parse_quicklist_2(r).map(other),
        value_type::ZSET => zset::parse_text(r).map(other),
        value_type::ZSET_2 => zset::parse_binary(r).map(other),
        value_type::ZSET_ZIPLIST => zset::parse_ziplist(r).map(other),
        value_type::ZSET_LISTPACK => zset::parse_listpack(r).map(other),
        _ => Err(Fault::Bad(not_loadable(t))),
    }
}

fn other<'a, T: Collection>(value: T) -> Loaded<'a> {
    Loaded::Other(value.into_value())
}

/// Why a record that starts with `t` can't be read.
pub(super) fn not_loadable(t: u8) -> ErrorKind {
    match value_type::name(t) {
        Some(_) => ErrorKind::UnsupportedType(t),
        None => ErrorKind::UnknownType(t),
    }
}
