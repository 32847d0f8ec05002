//! Reading from a socket into memory that has not been written to.

use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::AsFd;

/// Appends to `buf` what the socket has, at most `room` bytes: answers how many. The buffer grows once, and is not
/// zeroed.
///
/// # Errors
/// What recv(2) reports.
pub fn read_append(socket: &impl AsFd, buf: &mut Vec<u8>, room: usize) -> io::Result<usize> {
    buf.reserve_exact(room);
    let spare = &mut buf.spare_capacity_mut()[..room];
    let (_, got) = recv(socket, spare, RecvFlags::empty())?;
    // SAFETY: so many bytes behind the length have just been written.
    unsafe { buf.set_len(buf.len() + got) };
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::read_append;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_appends_what_has_come_and_no_more_than_there_is_room_for() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"abcdef").unwrap();
        let mut buf = b"0".to_vec();
        assert_eq!(read_append(&there, &mut buf, 4).unwrap(), 4);
        assert_eq!(read_append(&there, &mut buf, 100).unwrap(), 2);
        assert_eq!(buf, b"0abcdef");
        drop(here);
        assert_eq!(read_append(&there, &mut buf, 1).unwrap(), 0);
    }
}
