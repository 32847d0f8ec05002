//! The set type: members one by one, an intset, or a listpack.

use super::error::Fault;
use super::format::value_type;
use super::reader::Reader;
use super::writer::Records;
use crate::ds::intset::Intset;
use crate::ds::listpack::{INT_TEXT_MAX, ListpackRef};
use crate::value::set::{Set, SetLimits};
use std::io;
use std::ops::ControlFlow;

fn twice() -> Fault {
    Fault::corrupt("Duplicate set members detected")
}

/// The type byte under which [`write`] writes a set. The type for listpacks is newer than Redis 7.0.
pub(super) fn value_type(set: &Set) -> u8 {
    if set.intset().is_some() { value_type::SET_INTSET } else { value_type::SET }
}

pub(super) fn write(w: &mut impl Records, set: &Set) -> io::Result<()> {
    if let Some(intset) = set.intset() {
        return w.string(intset.as_bytes());
    }
    w.length(set.len() as u64)?;
    let mut result = Ok(());
    _ = set.try_for_each(|member| {
        result = w.string(member.to_bytes(&mut [0; INT_TEXT_MAX]));
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result
}

/// Bytes that a member takes at least, but for the few that are shorter.
const MIN_MEMBER: usize = 3;

/// Members one by one.
pub(super) fn parse(r: &mut Reader<'_>) -> Result<Set, Fault> {
    let len = r.length()?;
    if len == 0 {
        return Err(Fault::EMPTY);
    }
    let limits = SetLimits::default();
    let mut set = Set::default();
    for i in 0..len {
        let member = r.string()?;
        if i == 0 {
            set = Set::new(&member, r.at_most(len, MIN_MEMBER), &limits);
        }
        if !set.add(&member, &limits) {
            return Err(twice());
        }
    }
    Ok(set)
}

pub(super) fn parse_intset(r: &mut Reader<'_>) -> Result<Set, Fault> {
    let bytes = r.string()?.into_owned();
    let intset =
        Intset::from_bytes(bytes, true).ok_or(Fault::corrupt("Intset integrity check failed"))?;
    Ok(Set::from_intset(intset, &SetLimits::default()))
}

pub(super) fn parse_listpack(r: &mut Reader<'_>) -> Result<Set, Fault> {
    let bytes = r.string()?;
    let list = ListpackRef::from_bytes(&bytes, true)
        .ok_or(Fault::corrupt("Set listpack integrity check failed"))?;
    if list.is_empty() {
        return Err(Fault::EMPTY);
    }
    let limits = SetLimits::default();
    // Whatever its members are, it is no intset.
    let mut set = Set::new(b"", list.len(), &limits);
    for member in list.iter() {
        if !set.add_entry(member, &limits) {
            return Err(twice());
        }
    }
    Ok(set)
}
