//! Redis's RDB format, as files, as replication streams and as `DUMP` payloads: encoder and
//! decoder. No I/O of its own beyond a `Write` that it is given, no global state.
//!
//! * [`mod@format`]: the numbers of the format (opcodes, types, length prefixes).
//! * [`error`]: what can be wrong with an RDB, and where.
//! * [`writer`]: [`writer::RdbWriter`], buffers, checksums and writes records.
//! * [`draft`]: records that another thread will write.
//! * `reader`: a cursor over one record's bytes: lengths, strings, integers.
//! * `object`: which code writes and reads the value of which type; `string` is the first such
//!   type.
//! * `loaded`: a value on its way from the parser to the keyspace.
//! * `layout`: the shape of every record, to find the end of one that arrives in pieces.
//! * [`parser`]: [`parser::RdbParser`], turns bytes into events.
//! * [`mod@check`]: what `redis-check-rdb` does, with a [`bar`] while that takes long.
//! * [`dump`]: one value with a footer, for `DUMP` and `RESTORE`.

pub(crate) mod bar;
pub mod check;
pub(crate) mod draft;
pub(crate) mod dump;
pub(crate) mod error;
pub(crate) mod format;
mod hash;
mod layout;
mod list;
mod loaded;
mod object;
pub(crate) mod parser;
mod reader;
mod set;
mod stream;
mod string;
#[cfg(test)]
mod vectors;
pub(crate) mod writer;
mod zset;

pub use error::{ErrorKind, RdbError};
pub use loaded::Loaded;
pub use object::{KeyFacts, write_elements_later, write_entry, write_key};
pub use parser::{Event, RdbParser};
pub use writer::RdbWriter;
