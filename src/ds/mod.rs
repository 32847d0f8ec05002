//! Data structures, pure: they know no keys, clients or clocks.

pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub(crate) mod legacy;
pub mod listpack;
pub(crate) mod member;
pub(crate) mod packed;
pub mod quicklist;
pub mod sorted_set;
pub mod table;
pub(crate) mod walked;
