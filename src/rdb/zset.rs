//! The sorted set type. It is written as a listpack or with binary scores; the older forms (a ziplist, scores as text)
//! are only read.

use super::error::Fault;
use super::format::value_type;
use super::reader::Reader;
use super::writer::Records;
use crate::ds::legacy::Ziplist;
use crate::ds::listpack::{INT_TEXT_MAX, Listpack};
use crate::ds::sorted_set::Builder;
use crate::util::number::parse_f64;
use crate::value::zset::{Zset, ZsetLimits};
use std::io;

/// Room is made for so many members of a set before they have been seen.
const MAX_EXPECTED: u64 = 1 << 16;

/// First bytes of a text score that stand for what they do not count.
mod text_score {
    pub const NAN: u8 = 253;
    pub const INFINITY: u8 = 254;
    pub const NEG_INFINITY: u8 = 255;
}

/// The type under which [`write`] writes a sorted set.
pub(super) fn value_type(zset: &Zset) -> u8 {
    match zset.listpack() {
        Some(_) => value_type::ZSET_LISTPACK,
        None => value_type::ZSET_2,
    }
}

pub(super) fn write(w: &mut impl Records, zset: &Zset) -> io::Result<()> {
    if let Some(listpack) = zset.listpack() {
        return w.string(listpack.as_bytes());
    }
    w.length(zset.len() as u64)?;
    // From the highest score down, as Redis does: its own skiplist is built faster so.
    for (member, score) in zset.iter().rev() {
        write_element(w, member.to_bytes(&mut [0; INT_TEXT_MAX]), score)?;
    }
    Ok(())
}

pub(super) fn write_element(w: &mut impl Records, member: &[u8], score: f64) -> io::Result<()> {
    w.string(member)?;
    w.raw(&score.to_le_bytes())
}

/// Reads members, each with a score of eight bytes.
pub(super) fn parse_binary(r: &mut Reader<'_>) -> Result<Zset, Fault> {
    parse_elements(r, |r| r.array().map(f64::from_le_bytes))
}

/// Reads members, each with its score as text.
pub(super) fn parse_text(r: &mut Reader<'_>) -> Result<Zset, Fault> {
    parse_elements(r, |r| {
        Ok(match r.byte()? {
            text_score::NAN => f64::NAN,
            text_score::INFINITY => f64::INFINITY,
            text_score::NEG_INFINITY => f64::NEG_INFINITY,
            len => parse_f64(r.bytes(len.into())?)
                .ok_or(Fault::corrupt("Zset score is not a number"))?,
        })
    })
}

/// Reads members with scores. What the limits in force make of it is seen when it gets its place in the keyspace.
fn parse_elements(
    r: &mut Reader<'_>,
    score: impl Fn(&mut Reader<'_>) -> Result<f64, Fault>,
) -> Result<Zset, Fault> {
    let len = r.length()?;
    let mut elements = Builder::with_capacity(len.min(MAX_EXPECTED) as usize);
    for _ in 0..len {
        let member = r.string()?;
        let score = score(r)?;
        if score.is_nan() {
            return Err(Fault::corrupt("Zset with NAN score detected"));
        }
        if !elements.merge(&member, |_| score) {
            return Err(Fault::corrupt("Zset with duplicate members detected"));
        }
    }
    if elements.is_empty() {
        return Err(Fault::EMPTY);
    }
    Ok(Zset::from_builder(elements, &ZsetLimits::default()))
}

/// Reads one listpack of members and scores by turns.
pub(super) fn parse_listpack(r: &mut Reader<'_>) -> Result<Zset, Fault> {
    let listpack = Listpack::from_bytes(r.string()?.into_owned(), true);
    from_listpack(listpack, "Zset listpack integrity check failed.")
}

/// Reads one ziplist of members and scores by turns.
pub(super) fn parse_ziplist(r: &mut Reader<'_>) -> Result<Zset, Fault> {
    let bytes = r.string()?;
    let listpack = Ziplist::from_bytes(&bytes).and_then(Ziplist::to_listpack);
    from_listpack(listpack, "Zset ziplist integrity check failed.")
}

/// The sorted set of a listpack; where there is none, or not of a sorted set, `otherwise` is what is wrong.
fn from_listpack(listpack: Option<Listpack>, otherwise: &'static str) -> Result<Zset, Fault> {
    let listpack = listpack.ok_or(Fault::corrupt(otherwise))?;
    if listpack.is_empty() {
        return Err(Fault::EMPTY);
    }
    Zset::from_listpack(listpack).ok_or(Fault::corrupt(otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::dump::{dump, restore};
    use crate::rdb::writer::RdbVersion;
    use crate::value::{Value, ValueRef};
    use proptest::prelude::*;

    type Parse = fn(&mut Reader<'_>) -> Result<Zset, Fault>;

    fn parsed(body: &[u8], parse: Parse) -> Option<Vec<(Vec<u8>, f64)>> {
        let mut r = Reader::new(body);
        let zset = parse(&mut r).ok()?;
        let elements = zset.iter().map(|(member, score)| (member.to_vec(), score));
        (r.pos() == body.len()).then(|| elements.collect())
    }

    #[test]
    fn bodies_of_every_type() {
        let expected = Some(vec![(b"n".to_vec(), f64::NEG_INFINITY), (b"m".to_vec(), 1.5)]);
        for (body, parse) in [
            (&b"\x02\x01m\0\0\0\0\0\0\xf8?\x01n\0\0\0\0\0\0\xf0\xff"[..], parse_binary as Parse),
            (b"\x02\x01m\x031.5\x01n\xff", parse_text),
            (b"\x18\x18\0\0\0\x04\0\x81n\x02\x84-inf\x05\x81m\x02\x831.5\x04\xff", parse_listpack),
            (
                b"\x1c\x1c\0\0\0\x16\0\0\0\x04\0\0\x01n\x03\x04-inf\x06\x01m\x03\x031.5\xff",
                parse_ziplist,
            ),
        ] {
            assert_eq!(parsed(body, parse), expected, "{body:?}");
        }
        let infinity = Some(vec![(b"m".to_vec(), f64::INFINITY)]);
        assert_eq!(parsed(b"\x01\x01m\xfe", parse_text), infinity);
    }

    #[test]
    fn hostile_bodies() {
        for (body, parse) in [
            (&b"\0"[..], parse_binary as Parse),
            (b"\x01\x01m\0\0\0\0\0\0\xf8\x7f", parse_binary),
            (b"\x02\x01m\0\0\0\0\0\0\xf8?\x01m\0\0\0\0\0\0\xf8?", parse_binary),
            (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01m\0\0\0\0\0\0\xf8?", parse_binary),
            (b"\x01\x01m\xfd", parse_text),
            (b"\x01\x01m\x03nan", parse_text),
            (b"\x01\x01m\x01x", parse_text),
            (b"\x07\x07\0\0\0\0\0\xff", parse_listpack),
            (b"\x0a\x0a\0\0\0\x01\0\x81m\x02\xff", parse_listpack),
            (b"\x0d\x0d\0\0\0\x02\0\x81m\x02\x81x\x02\xff", parse_listpack),
        ] {
            assert_eq!(parsed(body, parse), None, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn dump_and_restore(
            elements in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 0..70),
                any::<f64>().prop_filter("a number", |score| !score.is_nan()),
                1..200,
            )
        ) {
            let mut zset = Zset::default();
            for (member, score) in &elements {
                zset.update(member, &ZsetLimits::default(), |_| Some(*score));
            }
            let payload = dump(ValueRef::Zset(&zset), true, RdbVersion::V12);
            prop_assert_eq!(restore(&payload, true), Ok(Value::Zset(zset)));
        }

        #[test]
        fn broken_payloads_are_refused_or_read(
            count in 1usize..150,
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut zset = Zset::default();
            for n in 0..count {
                zset.update(n.to_string().as_bytes(), &ZsetLimits::default(), |_| Some(n as f64 / 3.0));
            }
            let mut payload = dump(ValueRef::Zset(&zset), false, RdbVersion::V12);
            for (index, byte) in noise {
                let len = payload.len() - 10;
                payload[index.index(len)] = byte;
            }
            if let Ok(Value::Zset(zset)) = restore(&payload, false) {
                prop_assert!(!zset.is_empty());
                prop_assert_eq!(zset.iter().count(), zset.len());
            }
        }
    }
}
