//! Which program is tested, and whether the server that answers on a port is the one that was started: between choosing
//! a free port and binding it, another test's server may have taken it.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// The program under test: this build's, or another build of it that `AEOLIS_PROGRAM` names.
pub fn program() -> PathBuf {
    env::var_os("AEOLIS_PROGRAM").map_or(env!("CARGO_BIN_EXE_aeolis").into(), PathBuf::from)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Asks who listens on `port`. `None`: nobody does, or another process than `pid`. A server that wants a password first
/// does not tell, and is believed.
pub fn is_there(port: u16, pid: u32) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"INFO server\r\n").ok()?;
    let (mut reply, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut buf) {
        reply.extend_from_slice(&buf[..n]);
        let text = String::from_utf8_lossy(&reply);
        if text.starts_with('-') {
            return Some(());
        }
        if let Some((id, _)) = text.split_once("process_id:").and_then(|(_, t)| t.split_once('\r'))
        {
            return (id.parse() == Ok(pid)).then_some(());
        }
    }
    None
}
