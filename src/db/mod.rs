//! The keyspace: entries, lookup, expiry, access clocks, notifications.

pub mod blocked;
pub mod entry;
pub mod eviction_pool;
pub mod expire;
mod field_expire;
pub mod keyspace;
pub mod lru;
pub mod notify;
pub mod replica_keys;
mod volatile_hashes;

pub use entry::{Entry, EntryRef};
pub use keyspace::{Db, ExpiryRole, Keyspace};
