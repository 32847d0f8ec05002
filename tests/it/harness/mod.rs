//! What every test over the wire needs: a real server process, and ways to speak to it.
//!
//! * [`Server`]: the process, on a port of its own in a directory of its own, killed when it goes out of scope.
//! * [`Raw`]: a plain connection, for what must be checked byte for byte.
//! * [`replication`]: the other side of replication, played by the test.
//! * [`certificates`]: for encrypted connections.
//! * [`errors`]: texts of errors that many commands return.
//! * [`identity`]: which program is tested, and who answers on a port.
//!
//! Two more are included by path where they are wanted: `peers.rs` finds the servers of others, and `memory.rs` gives a
//! directory on no disk.

pub mod certificates;
pub mod errors;
mod identity;
mod raw;
pub mod replication;
mod server;

pub use identity::{free_port, program};
pub use raw::{PATIENCE, Raw, encoded, wait_for};
pub use server::{Server, send_signal, text};
