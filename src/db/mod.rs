//! The keyspace: entries, lookup, expiry, access clocks, notifications.

pub(crate) mod blocked;
pub(crate) mod entry;
pub(crate) mod eviction_pool;
pub(crate) mod expire;
mod field_expire;
pub(crate) mod key_table;
pub(crate) mod keyspace;
pub(crate) mod lent;
pub(crate) mod lru;
pub(crate) mod notify;
pub mod order;
pub(crate) mod relocation;
pub(crate) mod replica_keys;
mod volatile_hashes;

pub use entry::{Entry, EntryRef};
pub use keyspace::{Db, ExpiryRole, Keyspace};
