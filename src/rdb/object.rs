//! Which code writes and reads the value of which type.

use super::error::{ErrorKind, Fault};
use super::format::{VALKEY_VERSION, opcode, value_type};
use super::list;
use super::loaded::Loaded;
use super::reader::Reader;
use super::stream;
use super::writer::{RdbVersion, Records};
use super::{hash, set, string, zset};
use crate::ds::quicklist::NodeBytes;
use crate::ds::walked::{Heir, KeptBytes};
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
/// through; then `w` is dropped. If the value goes meanwhile, `heir` gets it; what has to be kept of it is counted. For
/// values that are [walkable](ValueRef::walkable).
///
/// # Errors
/// What writing reports.
pub fn write_elements_later(
    mut w: impl Records + Send + 'static,
    value: ValueMut<'_>,
    heir: Heir,
    kept: KeptBytes,
) -> io::Result<()> {
    // From here on there is nobody to hear of an error: who writes later has to see to it.
    match value {
        ValueMut::Set(set) => {
            w.length(set.len() as u64)?;
            set.begin_walk(Box::new(move |member| _ = w.string(member.bytes())), heir);
        }
        ValueMut::Hash(hash) => {
            let form = hash::Form::of(hash, w.options().version);
            form.begin(&mut w, hash)?;
            hash.begin_walk(Box::new(move |field| _ = form.write(&mut w, field.into())), heir);
        }
        ValueMut::Zset(zset) => {
            w.length(zset.len() as u64)?;
            let visit = move |member: &[u8], score| _ = zset::write_element(&mut w, member, score);
            zset.begin_walk(visit, heir);
        }
        ValueMut::List(list) => {
            if let Some(list) = list.quicklist_mut() {
                w.length(list.node_count() as u64)?;
                let visit = move |container, bytes: NodeBytes<'_>| {
                    _ = list::write_node(&mut w, container, bytes);
                };
                list.begin_walk(Box::new(visit), heir, kept);
            }
        }
        ValueMut::Stream(stream) => {
            let mut later = stream::Later::begin(w, stream)?;
            let visit = move |master, listpack: &[u8]| _ = later.node(master, listpack);
            stream.log.begin_walk(Box::new(visit), heir, kept);
        }
        ValueMut::String => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::walked::Rest;
    use crate::rdb::writer::WriterOptions;
    use crate::value::Value;
    use crate::value::hash::{Hash, HashLimits};
    use crate::value::list::{End, List, ListLimits};
    use crate::value::set::{Set, SetLimits};
    use crate::value::stream::log::{NodeLimits, TrimTo};
    use crate::value::stream::{Log, Stream, StreamId};
    use crate::value::zset::{Zset, ZsetLimits};
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    const LIST: ListLimits = ListLimits { fill: 3, depth: 1 };
    const STREAM: NodeLimits = NodeLimits { max_bytes: 0, max_entries: 5 };

    /// Notes what is written.
    #[derive(Clone)]
    struct Notes(WriterOptions, Arc<Mutex<Vec<u8>>>);

    impl Records for Notes {
        fn options(&self) -> &WriterOptions {
            &self.0
        }

        fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }

        fn long_string(&mut self, text: &[u8]) -> io::Result<()> {
            self.raw_string(text)
        }
    }

    fn view(value: &mut Value) -> ValueMut<'_> {
        match value {
            Value::Int(_) | Value::Str(_) => ValueMut::String,
            Value::List(list) => ValueMut::List(list),
            Value::Set(set) => ValueMut::Set(set),
            Value::Hash(hash) => ValueMut::Hash(hash),
            Value::Zset(zset) => ValueMut::Zset(zset),
            Value::Stream(stream) => ValueMut::Stream(stream),
        }
    }

    /// A value with more elements than are kept in one piece.
    fn large(kind: u8) -> Value {
        let mut value = match kind {
            0 => Value::List(List::new()),
            1 => Value::Set(Set::with_capacity(0)),
            2 => Value::Hash(Hash::with_capacity(0)),
            3 => Value::Zset(Zset::new(1000, 1, &ZsetLimits::default())),
            _ => Value::Stream(Stream::new()),
        };
        (0..600).for_each(|n| change(&mut value, 1, n));
        value
    }

    fn change(value: &mut Value, what: u8, n: u16) {
        let text = n.to_string();
        let text = text.as_bytes();
        match value {
            Value::Int(_) | Value::Str(_) => {}
            Value::List(list) => change_list(list, what, n, text),
            Value::Stream(stream) => change_stream(stream, what, n, text),
            Value::Set(set) if what > 3 => _ = set.remove(text),
            Value::Set(set) => _ = set.add(text, &SetLimits::default()),
            Value::Hash(hash) if what > 3 => _ = hash.remove(text, 0),
            Value::Hash(hash) => {
                let expire = (what > 1).then_some(9_000_000 + i64::from(n));
                hash.set(text, &[what; 70], expire, &HashLimits::default(), 0);
            }
            Value::Zset(zset) if what > 3 => _ = zset.remove(text),
            Value::Zset(zset) => {
                zset.update(text, &ZsetLimits::default(), |_| Some(what.into()));
            }
        }
    }

    fn change_list(list: &mut List, what: u8, n: u16, text: &[u8]) {
        let at = usize::from(n) % list.len().max(1);
        match what {
            0 => list.push(End::Head, &[text], LIST),
            1 => list.push(End::Tail, &[text], LIST),
            2 => list.pop(End::Head, at % 9, LIST, |_| {}),
            3 => list.pop(End::Tail, at % 9, LIST, |_| {}),
            4 => _ = list.set(at as i64, text, LIST),
            5 => _ = list.insert(text, n.is_multiple_of(2), &[b'x'; 3000], LIST),
            6 => _ = list.remove(i64::from(n % 3) - 1, text, LIST),
            7 => _ = list.remove(0, b"7", LIST),
            8 => _ = list.trim(at / 4, list.len() - at / 2, LIST),
            _ => _ = list.set(at as i64, &[b'y'; 9000], LIST),
        }
    }

    fn change_stream(stream: &mut Stream, what: u8, n: u16, text: &[u8]) {
        let log = &mut stream.log;
        match what {
            0..=3 => {
                let id = log.last_id.next().unwrap();
                log.append(id, &[b"field", text], STREAM);
            }
            4 | 5 => _ = log.delete(StreamId::new(0, n.into())),
            6 => {
                // The last node goes, and its ID is used again.
                let last_node = |log: &Log| log.nodes().last().map(|(id, _)| id);
                let Some(node) = last_node(log) else { return };
                while last_node(log) == Some(node) {
                    log.last_entry_id().map(|last| log.delete(last));
                }
                log.last_id = StreamId::from_bits(node.to_bits() - 1);
            }
            _ => {
                let keep = log.len() - u64::from(n) % log.len().max(1) / 3;
                log.trim(TrimTo::MaxLen(keep), n.is_multiple_of(2), 0);
            }
        }
    }

    /// The value that is written there.
    fn read(notes: &Notes, value_type: u8) -> Value {
        let bytes = notes.1.lock().unwrap();
        let mut r = Reader::new(&bytes);
        let value = parse(value_type, notes.0.version as u16, &mut r).unwrap().into();
        assert_eq!(r.pos(), bytes.len());
        value
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However a value changes while it is walked through, and whether it is there to the end or not.
        #[test]
        fn what_is_written_later_is_what_there_was(
            kind in 0..5u8,
            before in prop::collection::vec((0..10u8, 0..600u16), 0..40),
            during in prop::collection::vec((0..10u8, 0..600u16, 0..4u8), 0..150),
            is_dropped: bool,
        ) {
            let mut value = large(kind);
            before.into_iter().for_each(|(what, n)| change(&mut value, what, n));
            let version = RdbVersion::V12;
            let value_type = value_type((&value).into(), version);
            let options = WriterOptions { version, ..WriterOptions::default() };
            let (mut at_once, notes) = (Notes(options, Arc::default()), Notes(options, Arc::default()));
            write(&mut at_once, (&value).into()).unwrap();
            let kept = KeptBytes::default();
            let left: Arc<Mutex<Option<Rest>>> = Arc::default();
            let heir = {
                let left = Arc::clone(&left);
                Box::new(move |rest| *left.lock().unwrap() = Some(rest))
            };
            write_elements_later(notes.clone(), view(&mut value), heir, kept.clone()).unwrap();
            for (what, n, steps) in during {
                change(&mut value, what, n);
                (0..steps).for_each(|_| _ = view(&mut value).walk_on(1));
            }
            if is_dropped {
                drop(value);
                if let Some(mut rest) = left.lock().unwrap().take() {
                    while rest() {}
                }
            } else {
                while view(&mut value).walk_on(1) {}
            }
            prop_assert_eq!((kept.get(), Arc::strong_count(&notes.1)), (0, 1));
            prop_assert_eq!(read(&notes, value_type), read(&at_once, value_type));
        }
    }
}
