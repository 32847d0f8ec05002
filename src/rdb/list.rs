//! The list type. It is written as Redis does since version 7 (nodes that are listpacks, or one large element each);
//! the older forms (nodes that are ziplists, one ziplist, one element after the other) are only read.

use super::error::Fault;
use super::reader::Reader;
use super::writer::Records;
use crate::ds::legacy::Ziplist;
use crate::ds::listpack::Listpack;
use crate::ds::quicklist::{Container, NodeBytes, Quicklist};
use crate::value::list::{List, ListLimits};
use std::io;

/// Writes the nodes, which is the form [`parse_quicklist_2`] reads.
pub(super) fn write(w: &mut impl Records, list: &List) -> io::Result<()> {
    if let Some(listpack) = list.as_listpack() {
        w.length(1)?;
        w.length(Container::Packed as u64)?;
        return w.string(listpack.as_bytes());
    }
    let Some(quicklist) = list.as_quicklist() else { return Ok(()) };
    let mut nodes = quicklist.nodes();
    w.length(nodes.len() as u64)?;
    nodes.try_for_each(|(container, bytes)| write_node(w, container, bytes))
}

/// Writes one of the nodes of [`write`], which come after their number.
pub(super) fn write_node(
    w: &mut impl Records,
    container: Container,
    bytes: NodeBytes<'_>,
) -> io::Result<()> {
    w.length(container as u64)?;
    match bytes {
        NodeBytes::Raw(bytes) => w.string(bytes),
        NodeBytes::Lzf { compressed, raw_len } => w.lzf_string(compressed, raw_len),
    }
}

/// Reads nodes, each a listpack or an element.
pub(super) fn parse_quicklist_2(r: &mut Reader<'_>) -> Result<List, Fault> {
    const PLAIN: u64 = Container::Plain as u64;
    const PACKED: u64 = Container::Packed as u64;
    let mut nodes = empty();
    for _ in 0..r.length()? {
        let container = r.length()?;
        let bytes = r.string()?.into_owned();
        match container {
            PLAIN if bytes.is_empty() => {
                return Err(Fault::corrupt("A list node without an element"));
            }
            PLAIN => nodes.push_plain_node(bytes),
            PACKED => nodes.push_packed_node(
                Listpack::from_bytes(bytes, true)
                    .ok_or(Fault::corrupt("Listpack integrity check failed."))?,
            ),
            _ => return Err(Fault::corrupt("Quicklist integrity check failed.")),
        }
    }
    finish(nodes)
}

/// Reads nodes that are ziplists.
pub(super) fn parse_quicklist(r: &mut Reader<'_>) -> Result<List, Fault> {
    let mut nodes = empty();
    for _ in 0..r.length()? {
        nodes.push_packed_node(ziplist(r)?);
    }
    finish(nodes)
}

/// Reads one ziplist.
pub(super) fn parse_ziplist(r: &mut Reader<'_>) -> Result<List, Fault> {
    let mut nodes = empty();
    nodes.push_packed_node(ziplist(r)?);
    finish(nodes)
}

/// Reads the elements one by one.
pub(super) fn parse_linked(r: &mut Reader<'_>) -> Result<List, Fault> {
    let mut nodes = empty();
    for _ in 0..r.length()? {
        nodes.push_back(&r.string()?);
    }
    finish(nodes)
}

fn ziplist(r: &mut Reader<'_>) -> Result<Listpack, Fault> {
    let bytes = r.string()?;
    let listpack = Ziplist::from_bytes(&bytes).and_then(Ziplist::to_listpack);
    listpack.ok_or(Fault::corrupt("Ziplist integrity check failed."))
}

fn empty() -> Quicklist {
    let ListLimits { fill, depth } = ListLimits::default();
    Quicklist::new(fill, depth)
}

/// The list of these nodes. What the limits in force make of it is seen when it gets its place in the keyspace.
fn finish(nodes: Quicklist) -> Result<List, Fault> {
    if nodes.is_empty() {
        return Err(Fault::EMPTY);
    }
    let mut list = List::from_quicklist(nodes);
    list.adopt(ListLimits::default());
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::dump;
    use crate::rdb::writer::RdbVersion;
    use crate::value::list::End;
    use crate::value::{Value, ValueRef};
    use proptest::prelude::*;

    fn parsed(
        body: &[u8],
        parse: fn(&mut Reader<'_>) -> Result<List, Fault>,
    ) -> Option<Vec<Vec<u8>>> {
        let mut r = Reader::new(body);
        let list = parse(&mut r).ok()?;
        (r.pos() == body.len()).then(|| list.to_vecs())
    }

    /// Bodies of the older types, by hand.
    #[test]
    fn older_forms() {
        let expected = Some(vec![b"2".to_vec(), b"5".to_vec()]);
        let ziplist = b"\x10\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
        // The string's length is that of the ziplist: 15 bytes.
        let mut one = vec![15];
        one.extend_from_slice(&ziplist[1..]);
        let two: Vec<u8> = [b"\x01", one.as_slice()].concat();
        assert_eq!(parsed(&one, parse_ziplist), expected);
        assert_eq!(parsed(&two, parse_quicklist), expected);
        assert_eq!(parsed(b"\x02\x012\xc0\x05", parse_linked), expected);
        let packed = b"\x01\x02\x0b\x0b\0\0\0\x02\0\x02\x01\x05\x01\xff";
        assert_eq!(parsed(packed, parse_quicklist_2), expected);
        assert_eq!(parsed(b"\x02\x01\x012\x01\x015", parse_quicklist_2), expected);
    }

    #[test]
    fn hostile_bodies() {
        for body in [
            &b"\x00"[..],
            b"\x01\x02\x07\x07\0\0\0\0\0\xff",
            b"\x01\x03\x012",
            b"\x01\x02\x012",
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01\x012",
            b"\x01\x02\x0b\x0b\0\0\0\x03\0\x02\x01\x05\x01\xff",
        ] {
            assert_eq!(parsed(body, parse_quicklist_2), None, "{}", body.escape_ascii());
        }
        assert_eq!(parsed(b"\x00", parse_linked), None);
        assert_eq!(parsed(b"\x01\x03abc", parse_quicklist), None);
    }

    fn any_list() -> impl Strategy<Value = List> {
        let value = prop_oneof![
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..40),
            (0..3u8).prop_map(|n| vec![b'a' + n; 9000]),
        ];
        (prop::collection::vec(value, 1..60), 1..20i16, 0..3u16).prop_map(
            |(values, fill, depth)| {
                let mut list = List::new();
                for value in &values {
                    list.push(End::Tail, &[value], ListLimits { fill, depth });
                }
                list
            },
        )
    }

    proptest! {
        #[test]
        fn dumps_are_restored(list in any_list(), compress: bool) {
            let payload = dump::dump(ValueRef::List(&list), compress, RdbVersion::V12);
            prop_assert_eq!(dump::restore(&payload, true), Ok(Value::List(list)));
        }

        #[test]
        fn damaged_dumps_do_no_harm(
            list in any_list(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut payload = dump::dump(ValueRef::List(&list), true, RdbVersion::V12);
            for (at, byte) in damage {
                let len = payload.len();
                payload[at.index(len)] = byte;
            }
            if let Ok(Value::List(list)) = dump::restore(&payload, false) {
                prop_assert_eq!(list.to_vecs().len(), list.len());
            }
        }
    }
}
