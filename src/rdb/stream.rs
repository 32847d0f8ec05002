//! The stream type: its nodes, which are saved as they are, and its consumer groups.
//!
//! There are three versions. The first does not know how many entries there ever were, nor how many a group has
//! read; the third, which is only read, also tells when each consumer got something last.

use super::draft::Draft;
use super::error::Fault;
use super::format::value_type;
use super::loaded::Loaded;
use super::reader::Reader;
use super::writer::Records;
use crate::value::Value;
use crate::value::stream::group::Pending;
use crate::value::stream::log::LogInfo;
use crate::value::stream::{Group, Log, Stream, StreamId};
use std::io;

/// Where the files have a number for "nobody knows".
const UNKNOWN: u64 = u64::MAX;

/// Writes a stream as [`value_type::STREAM_LISTPACKS_2`].
pub(super) fn write(w: &mut impl Records, stream: &Stream) -> io::Result<()> {
    let log = &stream.log;
    w.length(log.node_count() as u64)?;
    log.nodes().try_for_each(|(master, listpack)| write_node(w, master, listpack))?;
    write_rest(w, stream)
}

fn write_node(w: &mut impl Records, master: StreamId, listpack: &[u8]) -> io::Result<()> {
    w.string(&master.to_be_bytes())?;
    w.string(listpack)
}

/// Writes what comes after the nodes.
fn write_rest(w: &mut impl Records, stream: &Stream) -> io::Result<()> {
    let log = &stream.log;
    w.length(log.len())?;
    for id in [log.last_id, log.first_id(), log.max_deleted_id] {
        write_id(w, id)?;
    }
    w.length(log.entries_added)?;
    w.length(stream.groups.len() as u64)?;
    for (name, group) in &stream.groups {
        w.string(name)?;
        write_group(w, group)?;
    }
    Ok(())
}

/// Writes a stream as [`write`] does, as it is now, but nodes only when it is handed them.
pub(super) struct Later<W: Records> {
    w: W,
    /// What comes after them, when this is dropped.
    rest: Draft,
}

impl<W: Records> Later<W> {
    pub(super) fn begin(mut w: W, stream: &Stream) -> io::Result<Later<W>> {
        w.length(stream.log.node_count() as u64)?;
        let mut rest = Draft::new(*w.options());
        write_rest(&mut rest, stream)?;
        Ok(Later { w, rest })
    }

    pub(super) fn node(&mut self, master: StreamId, listpack: &[u8]) -> io::Result<()> {
        write_node(&mut self.w, master, listpack)
    }
}

impl<W: Records> Drop for Later<W> {
    fn drop(&mut self) {
        // Who writes later has to see to errors.
        let _ = self.rest.write_to(&mut self.w);
    }
}

fn write_group(w: &mut impl Records, group: &Group) -> io::Result<()> {
    write_id(w, group.last_id)?;
    w.length(group.entries_read.unwrap_or(UNKNOWN))?;
    w.length(group.pending_len() as u64)?;
    for (id, pending) in group.pending_from(StreamId::MIN) {
        w.raw(&id.to_be_bytes())?;
        w.raw(&pending.delivered_ms.to_le_bytes())?;
        w.length(pending.deliveries)?;
    }
    w.length(group.consumers().len() as u64)?;
    for (_, consumer) in group.consumers() {
        w.string(&consumer.name)?;
        w.raw(&consumer.seen_ms.to_le_bytes())?;
        w.length(consumer.pending_len() as u64)?;
        for id in consumer.pending_from(StreamId::MIN) {
            w.raw(&id.to_be_bytes())?;
        }
    }
    Ok(())
}

fn write_id(w: &mut impl Records, id: StreamId) -> io::Result<()> {
    w.length(id.ms)?;
    w.length(id.seq)
}

/// Reads a stream of any version, which its type `t` tells.
pub(super) fn parse<'a>(t: u8, r: &mut Reader<'a>) -> Result<Loaded<'a>, Fault> {
    let mut stream = Stream::new();
    stream.log = parse_log(t, r)?;
    for _ in 0..r.length()? {
        let name = r.string()?;
        let group = parse_group(t, r, &stream.log)?;
        if stream.groups.insert(name.into(), group).is_some() {
            return Err(Fault::corrupt("Duplicated consumer group name"));
        }
    }
    Ok(Loaded::Other(Value::Stream(stream)))
}

fn parse_log(t: u8, r: &mut Reader<'_>) -> Result<Log, Fault> {
    let mut log = Log::default();
    for _ in 0..r.length()? {
        let key = r.string()?;
        let key: [u8; 16] = (&*key)
            .try_into()
            .map_err(|_| Fault::corrupt("Stream node key entry is not the size of a stream ID"))?;
        let listpack = r.string()?;
        if !log.load_node(StreamId::from_be_bytes(key), listpack.into()) {
            return Err(Fault::corrupt("Stream listpack integrity check failed."));
        }
    }
    let mut info = LogInfo { len: r.length()?, last_id: parse_id(r)?, ..LogInfo::default() };
    if t != value_type::STREAM_LISTPACKS {
        // The first ID, which is known from the nodes.
        parse_id(r)?;
        info.max_deleted_id = parse_id(r)?;
        info.entries_added = Some(r.length()?);
    }
    if !log.load_info(info) {
        return Err(Fault::corrupt("Stream length inconsistent with its entries"));
    }
    Ok(log)
}

fn parse_group(t: u8, r: &mut Reader<'_>, log: &Log) -> Result<Group, Fault> {
    let last_id = parse_id(r)?;
    let entries_read = match t {
        value_type::STREAM_LISTPACKS => log.entries_up_to(last_id),
        _ => Some(r.length()?).filter(|&n| n != UNKNOWN),
    };
    let mut group = Group::new(last_id, entries_read);
    // First what is pending, in the order of the IDs, and only then for whom.
    let mut all: Vec<(StreamId, i64, u64)> = Vec::new();
    for _ in 0..r.length()? {
        let id = StreamId::from_be_bytes(r.array()?);
        if all.last().is_some_and(|(before, ..)| *before >= id) {
            return Err(Fault::corrupt(
                "Duplicated global PEL entry loading stream consumer group",
            ));
        }
        all.push((id, i64::from_le_bytes(r.array()?), r.length()?));
    }
    for _ in 0..r.length()? {
        let name = r.string()?;
        let seen_ms = i64::from_le_bytes(r.array()?);
        let consumer = group
            .add_consumer(&name, seen_ms)
            .ok_or(Fault::corrupt("Duplicate stream consumer detected."))?;
        group.consumer_mut(consumer).active_ms = match t {
            value_type::STREAM_LISTPACKS_3 => i64::from_le_bytes(r.array()?),
            // The best guess that there is.
            _ => seen_ms,
        };
        for _ in 0..r.length()? {
            let id = StreamId::from_be_bytes(r.array()?);
            let found = all.binary_search_by_key(&id, |(id, ..)| *id);
            let Ok(at) = found else {
                return Err(Fault::corrupt("Consumer entry not found in group global PEL"));
            };
            if group.pending(id).is_some() {
                return Err(Fault::corrupt(
                    "Duplicated consumer PEL entry loading a stream consumer group",
                ));
            }
            let (_, delivered_ms, deliveries) = all[at];
            group.deliver(id, Pending { consumer, delivered_ms, deliveries });
        }
    }
    if group.pending_len() != all.len() {
        return Err(Fault::corrupt("Stream CG PEL entry without consumer"));
    }
    Ok(group)
}

fn parse_id(r: &mut Reader<'_>) -> Result<StreamId, Fault> {
    Ok(StreamId::new(r.length()?, r.length()?))
}

#[cfg(test)]
mod tests {
    use super::super::dump::{dump, restore};
    use super::super::error::ErrorKind;
    use super::*;
    use crate::rdb::writer::RdbVersion;
    use crate::value::ValueRef;
    use crate::value::stream::log::NodeLimits;
    use proptest::prelude::*;

    fn stream(entries: u64, readers: u64) -> Stream {
        let mut stream = Stream::new();
        for n in 1..=entries {
            let value = n.to_string();
            let limits = NodeLimits { max_bytes: 4096, max_entries: 5 };
            stream.log.append(StreamId::new(n, 0), &[b"field", value.as_bytes()], limits);
        }
        stream.log.delete(StreamId::new(3, 0));
        for group in 0..readers.min(2) {
            let mut readers_of =
                Group::new(StreamId::new(entries, 0), Some(entries).filter(|_| group > 0));
            for reader in 0..readers {
                let consumer =
                    readers_of.add_consumer(format!("consumer{reader}").as_bytes(), 77).unwrap();
                readers_of.consumer_mut(consumer).active_ms = 77;
                for n in (reader + 1..=entries).step_by(readers as usize + 1) {
                    let pending = Pending { consumer, delivered_ms: n as i64, deliveries: reader };
                    readers_of.deliver(StreamId::new(n, 0), pending);
                }
            }
            stream.groups.insert(format!("group{group}").as_bytes().into(), readers_of);
        }
        stream
    }

    /// A payload of `body` whose checksum nobody looks at.
    fn payload(body: &[u8]) -> Vec<u8> {
        [body, &[10, 0], &[0; 8]].concat()
    }

    proptest! {
        #[test]
        fn what_is_dumped_is_restored(entries in 0..60u64, readers in 0..4u64) {
            let stream = stream(entries, readers);
            let back = restore(&dump(ValueRef::Stream(&stream), true, RdbVersion::V12), true);
            prop_assert_eq!(back, Ok(Value::Stream(stream)));
        }

        #[test]
        fn corrupt_payloads_do_no_harm(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let good = dump(ValueRef::Stream(&stream(12, 2)), false, RdbVersion::V12);
            let mut bad = good[..good.len() - 10].to_vec();
            *at.get_mut(&mut bad[1..]) = byte;
            drop(restore(&payload(&bad), false));
            drop(restore(&payload(&bad[..cut.index(bad.len())]), false));
        }
    }

    /// What Redis 7.0.15 (version 2) and Valkey 9.1.2 (version 3) answer to `DUMP` of the same stream: two entries,
    /// one of them delivered to the consumer `c` of the group `g`.
    #[test]
    fn payloads_of_real_servers() {
        let nodes: &[u8] = b"\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01((\0\0\0\x0f\0\x02\x01\0\x01\x01\x01\x81f\
            \x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\x02\x01\x01\x01\0\x01\x81v\x02\x04\x01\xff\
            \x02\x02\x01\x01\x01\0\0\x02\x01\x01g\x02\x01\x02\x02";
        let time: &[u8] = b"\x08^\xf6\x03\xa2\x01\0\0";
        let (one, two): (&[u8], &[u8]) =
            (b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01", b"\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01");
        let pending = [one, time, b"\x01", two, time, b"\x01"].concat();
        let version_2 = [b"\x13", nodes, &pending, b"\x01\x01c", time, b"\x02", one, two].concat();
        let version_3 =
            [b"\x15", nodes, &pending, b"\x01\x01c", time, time, b"\x02", one, two].concat();
        let Ok(Value::Stream(from_2)) = restore(&payload(&version_2), false) else {
            panic!("not read")
        };
        assert_eq!(restore(&payload(&version_3), false), Ok(Value::Stream(from_2.clone())));
        assert_eq!(from_2.log.len(), 2);
        assert_eq!(from_2.groups[&b"g"[..]].pending_len(), 2);
        let again = dump(ValueRef::Stream(&from_2), false, RdbVersion::V12);
        assert_eq!(again[..again.len() - 10], version_2[..]);
    }

    #[test]
    fn contradictions_are_refused() {
        let why = |body: &[u8]| restore(&payload(body), false).unwrap_err().kind;
        // No node, and yet a length; a group with a pending entry of nobody; twice the same group.
        let empty = |len: u8| [0x13, 0, len, 5, 5, 0, 0, 0, 0, 9];
        assert_eq!(
            why(&[&empty(1)[..], b"\0"].concat()),
            ErrorKind::Corrupt("Stream length inconsistent with its entries")
        );
        let orphan = [&empty(0)[..], b"\x01\x01g\x01\x01\x01\x01", &[0; 24], b"\x01\0"].concat();
        assert_eq!(why(&orphan), ErrorKind::Corrupt("Stream CG PEL entry without consumer"));
        let twice =
            [&empty(0)[..], b"\x02", b"\x01g\x01\x01\x01\0\0", b"\x01g\x01\x01\x01\0\0"].concat();
        assert_eq!(why(&twice), ErrorKind::Corrupt("Duplicated consumer group name"));
    }
}
